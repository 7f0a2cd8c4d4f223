import { strict as assert } from 'node:assert';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, test } from 'node:test';
import { TargetNotEmpty, TargetUnusable, UsageError } from '#core/errors';
import type { RestoreOutcome } from '#core/ports';
import { sqlite } from '#engines/sqlite/engine';
import { targetFile } from '#engines/sqlite/target';
import { openRun, type TestRun } from '#test/contracts/run-context';
import { type StoredBackup, storeCapture } from '#test/contracts/stored-backup';
import { dump, execute, fillDatabase, sourceOf } from '#test/engines/sqlite/databases';
import { LOCKER, startScript } from '#test/engines/sqlite/other-process';
import { inFolder } from '#test/engines/sqlite/temporary';

describe('restore', () => {
  let opened: TestRun;
  let stored: StoredBackup;
  let original: string;

  before(async () => {
    opened = await openRun();
    await inFolder(async (folder) => {
      const file = join(folder, 'app.store');
      fillDatabase(file, 'wal');
      // Rowids with gaps, which no column shows; a sequence ahead of its rows.
      execute(
        file,
        `create table notes(body text); insert into notes(rowid, body) values (5, 'five'), (9, 'nine');
        create virtual table found using fts5(body, content='notes'); insert into found(found) values ('rebuild');
        delete from users where name = ''; insert into users(name) values ('last'); delete from users where name = 'last'`,
      );
      chmodSync(file, 0o640);
      original = dump(file);
      const capture = await sqlite.capture(sourceOf(file), opened.run);
      stored = await storeCapture(capture, sourceOf(file), opened.run);
      await capture.close();
    });
  });
  after(async () => {
    await stored.remove();
    await opened.close();
  });

  async function restore(
    target: string,
    options: { only?: string[]; overwrite?: boolean } = {},
  ): Promise<RestoreOutcome> {
    const backup = stored.backup(opened.run, { through: 'child' });
    const { only = [], overwrite = false } = options;
    return sqlite.restore(backup, { target, only, overwrite }, null, opened.run);
  }

  test('a target is a file when it ends as one, else a directory for the old name', async () => {
    await inFolder(async (folder) => {
      mkdirSync(join(folder, 'is-a-directory.db'));
      const cases = {
        'x.db': 'x.db',
        'x.sqlite': 'x.sqlite',
        'deep/x.sqlite3': 'deep/x.sqlite3',
        'x.store': 'x.store',
        'x.other': 'x.other/app.store',
        x: 'x/app.store',
        'is-a-directory.db': 'is-a-directory.db/app.store',
      };
      for (const [target, file] of Object.entries(cases))
        assert.equal(targetFile(join(folder, target), '/srv/app.store'), join(folder, file));
    });
  });

  test('makes the directory, keeps the permission bits, leaves nothing beside', async () => {
    await inFolder(async (folder) => {
      const outcome = await restore(join(folder, 'not', 'there'));
      assert.equal(outcome.target, join(folder, 'not', 'there', 'app.store'));
      assert.deepEqual(readdirSync(join(folder, 'not', 'there')), ['app.store']);
      assert.equal(statSync(outcome.target).mode & 0o777, 0o640);
      assert.equal(dump(outcome.target), original);
    });
  });

  test('I11: a stale -wal beside the target never gets into the restored database', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      fillDatabase(file, 'wal');
      const application = await startScript(LOCKER, file, "update events set body = 'newer'");
      await application.kill();
      assert.ok(statSync(`${file}-wal`).size > 0);
      await assert.rejects(restore(file), TargetNotEmpty);

      const { warnings } = await restore(file, { overwrite: true });
      assert.equal(dump(file), original);
      const database = new DatabaseSync(file);
      assert.deepEqual(database.prepare('pragma integrity_check').all().map(Object.values), [['ok']]);
      database.close();

      const kept = readdirSync(folder).find((name) => /^app\.db\.before-\d{8}T\d{6}Z$/.test(name));
      assert.ok(kept && warnings.some((warning) => warning.includes(kept)), `${readdirSync(folder)}`);
      const old = new DatabaseSync(join(folder, kept));
      assert.equal(Object.values(old.prepare("select count(*) from events where body = 'newer'").get() ?? {})[0], 8000);
      old.close();
    });
  });

  test('a -wal without its database is data of somebody, too', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      writeFileSync(`${file}-wal`, 'left over');
      await assert.rejects(restore(file), TargetNotEmpty);
      await restore(file, { overwrite: true });
      assert.equal(dump(file), original);
    });
  });

  test('an empty file is an empty target', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      writeFileSync(file, '');
      await restore(file);
      assert.equal(dump(file), original);
    });
  });

  test('what was there is kept when it is no database, and its owner and mode stay', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      writeFileSync(file, 'not a database');
      chmodSync(file, 0o604);
      await restore(file, { overwrite: true });
      await restore(file, { overwrite: true });
      assert.equal(statSync(file).mode & 0o777, 0o604);
      const kept = readdirSync(folder).filter((name) => name.includes('.before-'));
      assert.equal(kept.length, 2);
      assert.equal(readFileSync(join(folder, kept.sort()[0] as string), 'utf8'), 'not a database');
    });
  });

  test('through a symbolic link the database it means is replaced, and the link stays', async () => {
    await inFolder(async (folder) => {
      mkdirSync(join(folder, 'real'));
      const file = join(folder, 'real', 'data.db');
      fillDatabase(file, 'delete');
      symlinkSync(file, join(folder, 'link.db'));
      assert.equal((await restore(join(folder, 'link.db'), { overwrite: true })).target, file);
      assert.equal(dump(file), original);
    });
  });

  for (const journal of ['wal', 'delete'] as const)
    test(`a database that another process has open is not replaced (${journal})`, async () => {
      await inFolder(async (folder) => {
        const file = join(folder, 'app.db');
        fillDatabase(file, journal);
        const application = await startScript(LOCKER, file, 'select count(*) from users');
        try {
          const said = dump(file);
          await assert.rejects(restore(file, { overwrite: true }), (error) => {
            assert.ok(error instanceof TargetUnusable);
            assert.match(error.message, new RegExp(`pid ${application.pid} \\(`));
            return true;
          });
          assert.equal(dump(file), said);
        } finally {
          await application.kill();
        }
      });
    });

  test('a target that is no place for a file is refused with a hint', async () => {
    await inFolder(async (folder) => {
      writeFileSync(join(folder, 'file'), 'x');
      for (const target of [join(folder, 'file', 'x.db'), 'postgres://host/database', '/dev/null/x.db'])
        await assert.rejects(restore(target), (error) => error instanceof TargetUnusable && error.hint !== null);
    });
  });

  test('what a killed restore left beside is removed by the next one, and what a running one needs is not', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      fillDatabase(file, 'delete');
      const application = await startScript(LOCKER, join(folder, 'any.db'), 'select 1');
      await application.kill();
      copyFileSync(file, join(folder, `.app.db.holdfast-restore-${application.pid}`));
      copyFileSync(file, join(folder, `.app.db.holdfast-restore-${application.pid}.full`));
      copyFileSync(file, join(folder, '.app.db.holdfast-restore-1'));
      await restore(file, { overwrite: true });
      assert.deepEqual(
        readdirSync(folder).filter((name) => name.startsWith('.')),
        // Its process lives.
        ['.app.db.holdfast-restore-1'],
      );
    });
  });

  test('--only gives these tables with rows, rowids, indexes, triggers and sequences, and nothing else', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'some.db');
      const outcome = await restore(file, { only: ['USERS', 'notes', 'found', 'pairs', 'computed', 'tight'] });
      assert.equal(outcome.verified, true);
      const database = new DatabaseSync(file);
      const all = (sql: string): unknown[] => database.prepare(sql, { returnArrays: true }).all();
      assert.deepEqual(all('select rowid, body from notes'), [
        [5, 'five'],
        [9, 'nine'],
      ]);
      assert.deepEqual(all("select rowid from found where found match 'nine'"), [[9]]);
      assert.deepEqual(all("select seq from sqlite_sequence where name = 'users'"), [[5]]);
      assert.deepEqual(all('select a, twice, thrice from computed'), [
        [1, 2, 3],
        [2, 4, 6],
      ]);
      assert.deepEqual(all('select typeof(note) from pairs order by a, b'), [['real'], ['text'], ['integer']]);
      assert.deepEqual(
        all("select type, name from sqlite_schema where name in ('by_name', 'no_delete', 'events', 'rich')"),
        [
          ['index', 'by_name'],
          ['trigger', 'no_delete'],
        ],
      );
      assert.deepEqual(all('pragma user_version'), [[7]]);
      assert.deepEqual(all('pragma integrity_check'), [['ok']]);
      database.close();
      assert.deepEqual(readdirSync(folder), ['some.db']);
    });
  });

  test('--only with a table that is not there says which there are', async () => {
    await inFolder(async (folder) => {
      await assert.rejects(restore(join(folder, 'some.db'), { only: ['user'] }), (error) => {
        assert.ok(error instanceof UsageError);
        assert.match(error.message, /no table user/);
        assert.match(error.hint ?? '', /users/);
        return true;
      });
      assert.deepEqual(readdirSync(folder), []);
    });
  });

  test('I6: restore.script takes the same targets, and paths with quotes and dashes', async () => {
    await inFolder(async (folder) => {
      const script = `plain() { cat "$VAULT/$1"; }\nall_stages_done() { :; }\n${stored.result.restoreScript}`;
      const run = (target: string): Promise<unknown> =>
        opened.run.processes.run({
          program: 'sh',
          args: ['-eu', '-c', script],
          env: { VAULT: stored.folder, TARGET: target },
          cwd: folder,
        });
      for (const [target, file] of Object.entries({
        'it\'s a "name" $x.db': 'it\'s a "name" $x.db',
        'y.store': 'y.store',
        'new/folder': 'new/folder/app.store',
        '-dash.db': '-dash.db',
      })) {
        await run(target);
        assert.equal(dump(join(folder, file)), original);
        assert.ok(!existsSync(join(folder, `${file}.part`)));
      }
      await stored.damage(0.9);
      await assert.rejects(run('damaged.db'), /not the snapshot/);
      await stored.damage(0.9);
      assert.ok(!existsSync(join(folder, 'damaged.db')));
    });
  });
});
