import { strict as assert } from 'node:assert';
import { after, before, describe, test } from 'node:test';
import { HoldfastError } from '#core/errors';
import { parseAddress, printable } from '#engines/postgres/address';
import { postgres } from '#engines/postgres/engine';
import { inRun, withBackup } from '#test/engines/postgres/backups';
import { newServer, sourceOf } from '#test/engines/postgres/kit';
import type { PostgresServer } from '#test/servers/postgres';

describe('postgres: urls as other clients write them', () => {
  let server: PostgresServer;
  before(async () => {
    server = await newServer();
  });
  after(() => server.stop());

  async function refusal(url: string): Promise<HoldfastError> {
    return inRun(async (run) => {
      try {
        await (await postgres.capture(sourceOf({ url }), run)).close();
      } catch (error) {
        assert.ok(error instanceof HoldfastError, String(error));
        return error;
      }
      return assert.fail('was not refused');
    });
  }

  test('what they tell those clients alone is left out', () => {
    const { keywords } = parseAddress(
      'postgres://u:p@h:6543/db?schema=public&pgbouncer=true&connection_limit=1&sslmode=no-verify&sslaccept=strict',
    );
    assert.deepEqual(keywords, { user: 'u', host: 'h', port: '6543', dbname: 'db', sslmode: 'require' });
    assert.equal(parseAddress('postgresql+asyncpg://u@h/db?ssl=require').keywords['sslmode'], 'require');
    assert.equal(parseAddress('postgresql+psycopg2://u@h/db').keywords['host'], 'h');
    assert.equal(parseAddress('postgres://u@h/db?ssl=false').keywords['sslmode'], 'disable');
    assert.equal(
      parseAddress('postgres://u@h/db?sslmode=require&channel_binding=require').keywords['channel_binding'],
      'require',
    );
    assert.throws(() => parseAddress('postgres://u:secret@h/db?ssl_mode=require'), /parameter ssl_mode, /);
  });

  test('several hosts are told with their own ports', () => {
    assert.equal(printable(parseAddress('postgres://u@a:1,b:2/db')), 'postgresql://u@a:1,b:2/db');
    assert.equal(printable(parseAddress('postgres://u@a,b/db?port=5433')), 'postgresql://u@a:5433,b:5433/db');
  });

  test('a url of Prisma is backed up, and several hosts of which one is down', async () => {
    for (const url of [
      `${server.url('postgres')}?schema=public&connection_limit=5&sslmode=prefer`,
      server.url('postgres').replace('@', '@127.0.0.1:1,'),
    ])
      await withBackup(sourceOf({ url }), async (stored) => {
        assert.ok(stored.result.restoreScript.length > 0);
      });
  });

  test('peers 3A (DBackup #154): a wrong password is told, also where another address of the same name is silent', async () => {
    const error = await refusal(server.url('postgres', 'postgres', 'wrong').replace('@', '@127.0.0.1:1,'));
    assert.equal(error.code, 'source-refused');
    assert.match(error.message, /password authentication failed/);
    assert.doesNotMatch(error.message, /pgpass|Connection refused/);
  });

  test('a server without TLS, where the url wants it, is told as such', async () => {
    const error = await refusal(`${server.url('postgres')}?sslmode=require`);
    assert.equal(error.code, 'source-refused');
    assert.match(error.hint ?? '', /sslmode=disable/);
  });
});
