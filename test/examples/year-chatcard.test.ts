import { yearTests } from '#test/examples/year-tests';

yearTests('chatcard', 2);
