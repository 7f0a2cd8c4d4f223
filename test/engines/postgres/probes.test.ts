import { strict as assert } from 'node:assert';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { differences, sqlAt, withBackup } from '#test/engines/postgres/backups';
import { newServer, sourceOf } from '#test/engines/postgres/kit';
import { freshDatabase, type PostgresServer } from '#test/servers/postgres';

describe('postgres: probes with an expectation of their own', () => {
  let server: PostgresServer;
  before(async () => {
    server = await newServer();
  });
  after(() => server.stop());

  test('peers 3H: "rows of the last seconds" does not disprove a backup that has grown old, and still tells a copy that differs', async () => {
    const name = await freshDatabase(server);
    await server.sql(
      name,
      'create table runs (id int, at timestamptz default now()); insert into runs values (1), (2)',
    );
    const query = "select count(*) from runs where at > now() - interval '3 seconds'";
    const plan = sourceOf({ url: server.url(name) }, { probes: { recent: { query, expect: { atLeast: 1 } } } });
    await withBackup(plan, async (stored, run) => {
      await sleep(3500);
      assert.deepEqual(await differences(stored, plan, run), []);
      const changed = await differences(stored, plan, run, async (copy) => {
        await sqlAt(copy.where, 'delete from runs where id = 2');
      });
      assert.equal(changed.length, 2);
      assert.match(changed.join('\n'), /public\.runs: 2 rows, restored 1/);
      assert.match(changed.join('\n'), /probe recent: wanted at least 1, got 0/);
    });
  });
});
