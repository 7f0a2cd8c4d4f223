import { yearTests } from '#test/examples/year-tests';

yearTests('elspeth', 8);
