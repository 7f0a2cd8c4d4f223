import { yearTests } from '#test/examples/year-tests';

yearTests('archon72', 6);
