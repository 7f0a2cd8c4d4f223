import { strict as assert } from 'node:assert';
import { after, before, describe, test } from 'node:test';
import { HoldfastError } from '#core/errors';
import type { CheckLine } from '#core/ports';
import { postgres } from '#engines/postgres/engine';
import { inRun, sqlAt, withBackup } from '#test/engines/postgres/backups';
import { fillEvents, newServer, sourceOf } from '#test/engines/postgres/kit';
import { freshDatabase, type PostgresServer } from '#test/servers/postgres';
import { startTransactionPooler, type TransactionPooler } from '#test/servers/transaction-pooler';

describe('postgres: a pooler in transaction mode', () => {
  let server: PostgresServer;
  let pooler: TransactionPooler;
  let database: string;
  let pooled: string;
  before(async () => {
    server = await newServer();
    database = await freshDatabase(server);
    await fillEvents(server, database, 100);
    const socket = new URLSearchParams(server.socketUrl(database).split('?')[1]).get('host');
    pooler = await startTransactionPooler(`${socket}/.s.PGSQL.${server.port}`, database);
    pooled = `postgresql://postgres@127.0.0.1:${pooler.port}/${database}`;
  });
  after(async () => {
    await pooler.stop();
    await server.stop();
  });

  async function refused(work: Promise<unknown>, code: string): Promise<HoldfastError> {
    try {
      await work;
    } catch (error) {
      assert.ok(error instanceof HoldfastError, String(error));
      assert.equal(error.code, code, error.message);
      return error;
    }
    return assert.fail('was not refused');
  }

  test('I2: is refused before anything is set in the connections that the application gets', async () => {
    const error = await inRun((run) => refused(postgres.capture(sourceOf({ url: pooled }), run), 'source-unsupported'));
    assert.match(error.message, /pooler in transaction mode/);
    assert.match(error.hint ?? '', /port of the server itself/);
    assert.equal(await sqlAt(pooled, 'show search_path'), '"$user", public');
    assert.equal(await sqlAt(pooled, 'show lock_timeout'), '0');
  });

  test('check says so today, with the way around it', async () => {
    const lines = await inRun(async (run) => {
      const found: CheckLine[] = [];
      for await (const line of postgres.check(sourceOf({ url: `${pooled}?pgbouncer=true&connection_limit=1` }), run))
        found.push(line);
      return found;
    });
    assert.deepEqual(
      lines.map(({ name, ok }) => [name, ok]),
      [['connection', false]],
    );
    assert.match(lines[0]?.hint ?? '', /directUrl/);
    assert.equal(await sqlAt(pooled, 'show search_path'), '"$user", public');
  });

  test('peers 3H: as a prover it proves nothing, as a target it takes nothing', async () => {
    const source = sourceOf({ url: server.url(database) }, { prove: { with: { url: pooled } } });
    await withBackup(source, async (stored, run) => {
      const backup = stored.backup(run, { through: 'child' });
      assert.match(
        (await refused(postgres.load(backup, source, run), 'not-provable-here')).message,
        /the prover: .*pooler/,
      );
      const request = { target: pooled, only: [], overwrite: true };
      assert.match(
        (await refused(postgres.restore(backup, request, source, run), 'target-unusable')).message,
        /pooler/,
      );
    });
  });
});
