import { yearTests } from '#test/examples/year-tests';

await yearTests('elspeth', 8);
