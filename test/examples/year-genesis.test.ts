import { yearTests } from '#test/examples/year-tests';

await yearTests('genesis', 366);
