import { yearTests } from '#test/examples/year-tests';

await yearTests('archon72', 6);
