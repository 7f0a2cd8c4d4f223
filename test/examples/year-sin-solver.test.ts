import { yearTests } from '#test/examples/year-tests';

await yearTests('sin-solver', 3);
