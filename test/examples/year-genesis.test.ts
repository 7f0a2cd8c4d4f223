import { yearTests } from '#test/examples/year-tests';

yearTests('genesis', 366);
