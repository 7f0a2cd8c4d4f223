import type { StreamingEngine } from '#core/ports';
import { asking, capturePostgres, reaching } from '#engines/postgres/capture';
import { checkPostgres } from '#engines/postgres/check';
import { loadPostgres } from '#engines/postgres/load';
import { lookAtPostgresTarget, restorePostgres } from '#engines/postgres/restore';
import { bytesOfAll, readIdentity, readServer } from '#engines/postgres/server';

/** PostgreSQL by pg_dump, in a snapshot that the dump, the content digest and the probes share. */
export const postgres: StreamingEngine = {
  name: 'postgres',
  inspect: (source, run) =>
    reaching(source, run, ({ access, psql, settings }) =>
      asking(access, psql, run, async (session) => {
        const facts = await readServer(session);
        const bytes = settings.databases === 'all' ? await bytesOfAll(session) : facts.bytes;
        return { identity: await readIdentity(session, facts), version: facts.version, bytes };
      }),
    ),
  check: checkPostgres,
  capture: (source, run) => capturePostgres(source, run),
  load: loadPostgres,
  restore: restorePostgres,
  lookAtTarget: lookAtPostgresTarget,
};
