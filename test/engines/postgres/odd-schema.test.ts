import { strict as assert } from 'node:assert';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { PostgresSettings, Source } from '#core/plan';
import type { SourceRef } from '#core/ports';
import { postgres } from '#engines/postgres/engine';
import { openRun } from '#test/contracts/run-context';
import { storeCapture } from '#test/contracts/stored-backup';
import { type PostgresServer, startPostgres } from '#test/servers/postgres';

const ODD_SCHEMA = fileURLToPath(import.meta.resolve('./odd-schema.sql'));

describe('a database with every oddity', () => {
  let server: PostgresServer;
  before(async () => {
    server = await startPostgres(await mkdtemp(join(tmpdir(), 'hfpg-')), {});
    await server.sql('postgres', 'create database odd');
    await server.file('odd', ODD_SCHEMA);
  });
  after(() => server.stop());

  test('is proven', async () => {
    const opened = await openRun();
    const { run } = opened;
    const settings: PostgresSettings = { url: server.url('odd') };
    const source: SourceRef = { name: 'odd', settings: { postgres: settings, schedule: [] } as unknown as Source };
    try {
      const t0 = Date.now();
      const capture = await postgres.capture(source, run);
      const stored = await storeCapture(capture, source, run);
      await capture.close();
      console.log(Date.now() - t0, stored.result.measures, stored.result.warnings);
      const copy = await postgres.load(stored.backup(run, { through: 'child' }), source, run);
      console.log(Date.now() - t0, copy.where);
      try {
        assert.deepEqual(await copy.compare(), []);
      } finally {
        await copy.close();
      }
      console.log(Date.now() - t0);
      await server.sql('postgres', 'create database odd_again');
      const script = `set -eu\nplain() { cat "$VAULT/$1"; }\n${stored.result.restoreScript}`;
      console.log(script);
      await run.processes.run({
        program: 'sh', args: ['-eu', '-c', script],
        env: { VAULT: stored.folder, TARGET: server.url('odd_again') },
      });
      await (await import('node:fs/promises')).writeFile('/tmp/a.sql', await server.dump('odd'));
      await (await import('node:fs/promises')).writeFile('/tmp/b.sql', await server.dump('odd_again'));
      assert.equal(await server.dump('odd_again'), await server.dump('odd'));
      await stored.remove();
    } finally {
      await opened.close();
    }
    await rm('/tmp/nothing', { force: true });
  });
});
