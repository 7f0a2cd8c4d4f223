import { yearTests } from '#test/examples/year-tests';

yearTests('sin-solver', 3);
