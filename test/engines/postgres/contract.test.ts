import { engineContract } from '#test/contracts/engine';
import { postgresKit } from '#test/engines/postgres/kit';

engineContract('postgres, dump mode,', postgresKit());
