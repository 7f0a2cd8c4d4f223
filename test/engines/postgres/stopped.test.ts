import { strict as assert } from 'node:assert';
import { after, before, describe, test } from 'node:test';
import { Cancelled } from '#core/errors';
import type { RunContext, SourceRef } from '#core/ports';
import { postgres } from '#engines/postgres/engine';
import { openRun } from '#test/contracts/run-context';
import type { StoredBackup } from '#test/contracts/stored-backup';
import { withBackup } from '#test/engines/postgres/backups';
import { newServer, sourceOf } from '#test/engines/postgres/kit';
import { freshDatabase, type PostgresServer } from '#test/servers/postgres';
import { until } from '#test/until';

/** Long enough to be stopped in, on any machine: the load waits in it. */
const SLOW = `create function slow(n int) returns int language sql immutable as 'select n from pg_catalog.pg_sleep(30)';
  create table waiting (n int);
  insert into waiting values (1);
  alter table waiting add constraint waits check (slow(n) > 0) not valid`;

describe('postgres: Ctrl-C takes away what a run made on somebody’s server', () => {
  let server: PostgresServer;
  let other: PostgresServer;
  let source: SourceRef;
  before(async () => {
    [server, other] = await Promise.all([newServer(), newServer()]);
    const database = await freshDatabase(server);
    await server.sql('postgres', 'create role app nologin');
    await server.sql(database, `${SLOW}; alter table waiting owner to app`);
    // Validated without being asked, so that only the load waits.
    await server.sql(database, `update pg_constraint set convalidated = true where conname = 'waits'`);
    source = sourceOf({ url: server.url(database) }, { prove: { with: { url: other.url('postgres') } } });
  });
  after(() => Promise.all([server.stop(), other.stop()]));

  const beside = (): Promise<string> =>
    other.sql('postgres', `select string_agg(datname, ',') from pg_database where datname like '%holdfast%'`);
  const loading = `select count(*) from pg_stat_activity where datname like '%holdfast%' and query ilike 'copy%'`;

  async function stopped(
    work: (stored: StoredBackup, run: RunContext) => Promise<unknown>,
  ): Promise<readonly string[]> {
    return withBackup(source, async (stored) => {
      const { run, lines, abort, close } = await openRun();
      try {
        const working = work(stored, run);
        working.catch(() => undefined);
        await until(async () => (await other.sql('postgres', loading)) !== '0', 'the load');
        assert.match(await beside(), /holdfast/);
        const began = performance.now();
        abort();
        await assert.rejects(working, Cancelled);
        assert.ok(performance.now() - began < 10_000, `${performance.now() - began} ms`);
        return lines.filter((line) => line.startsWith('warn'));
      } finally {
        await close();
      }
    });
  }

  test('a restore leaves no database beside', async () => {
    const warned = await stopped((stored, run) => {
      const request = { target: other.url('mine'), only: [], overwrite: false };
      return postgres.restore(stored.backup(run, { through: 'child' }), request, source, run);
    });
    assert.deepEqual(warned, []);
    assert.equal(await beside(), '');
    assert.equal(await other.sql('postgres', `select count(*) from pg_database where datname = 'mine'`), '0');
  });

  test('a proof on a prover of the user’s own leaves neither database nor role', async () => {
    await other.sql('postgres', 'drop role if exists app');
    const warned = await stopped((stored, run) => postgres.load(stored.backup(run, { through: 'child' }), source, run));
    assert.deepEqual(warned, []);
    assert.equal(await beside(), '');
    assert.equal(await other.sql('postgres', `select count(*) from pg_roles where rolname = 'app'`), '0');
  });
});
