import { yearTests } from '#test/examples/year-tests';

await yearTests('chatcard', 2);
