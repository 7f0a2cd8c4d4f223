import { strict as assert } from 'node:assert';
import { readdir } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { HoldfastError } from '#core/errors';
import { hostOfRun } from '#core/job';
import type { CheckLine, RestoreOutcome, RunContext, SourceRef } from '#core/ports';
import { clientOf } from '#engines/postgres/clients';
import { postgres } from '#engines/postgres/engine';
import { packageOf } from '#engines/postgres/extension-packages';
import type { StoredBackup } from '#test/contracts/stored-backup';
import { assertSameLines, differences, inRun, withBackup } from '#test/engines/postgres/backups';
import { fillEvents, newServer, sourceOf } from '#test/engines/postgres/kit';
import { freshDatabase, type PostgresServer } from '#test/servers/postgres';

/** A machine without PostgreSQL's programs; `exec` still has them. */
function bare(run: RunContext): RunContext {
  const find = async (program: string): Promise<string | null> =>
    /\/?(psql|pg_\w+|postgres|initdb)$/.test(program) ? null : run.processes.find(program);
  return { ...run, processes: { ...run.processes, find } };
}

describe('postgres: by which programs a target or a prover is reached', () => {
  let server: PostgresServer;
  let other: PostgresServer;
  let database: string;
  /** Passes on neither environment nor files, as `docker exec` does. */
  let exec: string[];
  let behind: SourceRef;
  before(async () => {
    [server, other] = await Promise.all([newServer(), newServer()]);
    database = await freshDatabase(server);
    await fillEvents(server, database, 200);
    exec = ['env', '-i', `PATH=${server.bin}:/usr/bin:/bin`];
    behind = sourceOf({ url: server.url(database), exec });
  });
  after(() => Promise.all([server.stop(), other.stop()]));

  function restore(
    stored: StoredBackup,
    run: RunContext,
    target: string,
    only: string[] = [],
  ): Promise<RestoreOutcome> {
    const backup = stored.backup(run, { through: 'child' });
    return postgres.restore(backup, { target, only, overwrite: false }, behind, run);
  }

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

  test('exec: where this machine has no client of the major, a restore goes behind the prefix; I7: no secret is left', async () => {
    await withBackup(behind, async (stored, run) => {
      const host = bare(run);
      // At the source's own place, and at another.
      await restore(stored, host, server.url('back'));
      assertSameLines(await server.dump('back'), await server.dump(database));
      await restore(stored, host, other.url('back'));
      assertSameLines(await other.dump('back'), await server.dump(database));
      assert.deepEqual(
        (await readdir(run.scratch)).filter((name) => /secret|pgpass/.test(name)),
        [],
      );
    });
  });

  test('exec: another place is reached by the programs of this machine when it has them', async () => {
    await withBackup(behind, async (stored, run) => {
      const elsewhere = sourceOf({ url: server.url(database), exec: ['false'] });
      const backup = stored.backup(run, { through: 'child' });
      await postgres.restore(backup, { target: other.url('from_here'), only: [], overwrite: false }, elsewhere, run);
      assertSameLines(await other.dump('from_here'), await server.dump(database));
    });
  });

  test('exec: a prover is reached the same way, and check says whether its client programs are here', async () => {
    const proved: SourceRef = sourceOf(
      { url: server.url(database), exec },
      { prove: { with: { url: other.url('postgres') } } },
    );
    await withBackup(proved, async (stored, run) => {
      assert.deepEqual(await differences(stored, proved, bare(run)), []);
      const without = { ...proved, settings: { ...proved.settings, postgres: { url: server.url(database) } } };
      const error = await refused(
        postgres.load(stored.backup(run, { through: 'child' }), without, bare(run)),
        'tool-missing',
      );
      assert.match(error.hint ?? '', /apt-get install postgresql-client/);
    });
    const lines = await inRun(async (run) => {
      const found: CheckLine[] = [];
      for await (const line of postgres.check(proved, bare(run))) found.push(line);
      return found;
    });
    assert.equal(lines.find(({ name }) => name === 'proof')?.ok, true);
  });

  test('exec: single tables, and damaged bytes, are refused in words', async () => {
    await withBackup(behind, async (stored, run) => {
      const error = await refused(restore(stored, bare(run), server.url('tables'), ['accounts']), 'tool-missing');
      assert.match(error.message, /--only/);
      const backup = stored.backup(run, { through: 'child' });
      const cut = {
        ...backup,
        open: async () => {
          const { stdout, done } = run.processes.pipe([{ program: 'printf', args: ['PGDMP, and no more'] }]);
          assert.ok(stdout);
          return { bytes: stdout, whole: done.then(() => undefined), stop: () => undefined };
        },
      };
      const request = { target: server.url('damaged'), only: [], overwrite: false };
      await refused(postgres.restore(cut, request, behind, bare(run)), 'disproven');
    });
  });

  test('a server of a major whose client is not here is refused with the package to install', async () => {
    const error = await inRun((run) => refused(clientOf(99, 'pg_dump', { bin: null, exec: [] }, run), 'tool-missing'));
    assert.match(error.message, /no pg_dump of PostgreSQL 99/);
    assert.match(error.hint ?? '', /apt-get install postgresql-client-99/);
  });

  test('in a task it is refused with the version to write into the plan, which the message alone already says', async () => {
    const error = await inRun((run) =>
      refused(clientOf(99, 'psql', { bin: null, exec: [] }, { ...run, host: hostOfRun({ run: 'r' }) }), 'tool-missing'),
    );
    assert.match(error.message, /no psql of PostgreSQL 99, .* in the task's image.*, want version: 99 in the source's/);
    assert.match(error.hint ?? '', /npx cdk deploy --all/);
  });

  test('an extension is installed by the name of its Debian package', () => {
    assert.equal(packageOf('vector', 17), 'postgresql-17-pgvector');
    assert.equal(packageOf('postgis_topology', 15), 'postgresql-15-postgis-3');
    assert.equal(packageOf('plpython3u', 16), 'postgresql-plpython3-16');
    assert.equal(packageOf('pg_qualstats', 17), 'postgresql-17-pg-qualstats');
  });
});
