import { strict as assert } from 'node:assert';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, test } from 'node:test';
import type { CaptureResult, Difference } from '#core/ports';
import { sqlite } from '#engines/sqlite/engine';
import { openRun } from '#test/contracts/run-context';
import { storeCapture } from '#test/contracts/stored-backup';
import { execute, sourceOf } from '#test/engines/sqlite/databases';
import { inFolder } from '#test/engines/sqlite/temporary';

interface Proven {
  readonly result: CaptureResult;
  readonly differences: readonly Difference[];
  /** After `change` was made in the restored copy. */
  readonly changed: readonly Difference[];
}

async function backUpAndProve(file: string, change: string): Promise<Proven> {
  const source = sourceOf(file);
  const opened = await openRun();
  try {
    const capture = await sqlite.capture(source, opened.run);
    const stored = await storeCapture(capture, source, opened.run);
    await capture.close();
    const copy = await sqlite.load(stored.backup(opened.run, { through: 'child' }), source, opened.run);
    const differences = await copy.compare();
    execute(copy.where, change);
    const changed = await copy.compare();
    await copy.close();
    await stored.remove();
    return { result: stored.result, differences, changed };
  } finally {
    await opened.close();
  }
}

describe('what only the application can read is backed up, and said', () => {
  test('peers 3H: functions of the application: proven, with a warning for each thing not checked', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      const database = new DatabaseSync(file);
      database.function('myhash', { deterministic: true }, (value) => String(value).length);
      database.exec(
        `create table t(a text, h int generated always as (myhash(a)) stored, v int generated always as (myhash(a)));
        create index by_hash on t(myhash(a)); insert into t(a) values ('one'), ('three');
        create table plain(a int unique); insert into plain values (1), (2)`,
      );
      database.close();
      const { result, differences, changed } = await backUpAndProve(file, 'update plain set a = 3 where a = 2');
      assert.deepEqual(differences, []);
      assert.match(result.warnings.join('\n'), /integrity of table t: unknown function: myhash/);
      assert.doesNotMatch(result.warnings.join('\n'), /table plain/);
      assert.match(changed.join('\n'), /table plain: 2 rows in both, contents differ/);
      const { tables } = result.fingerprint as { tables: { name: string; rows: number }[] };
      assert.deepEqual(
        tables.map(({ name, rows }) => [name, rows]),
        [
          ['plain', 2],
          ['t', 2],
        ],
      );
    });
  });

  test('collations of the application', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      const database = new DatabaseSync(file, { defensive: false });
      database.exec(
        `create table t(a text collate nocase unique, b); insert into t values ('x', 1);
        create table keyed(a text collate nocase primary key) without rowid; insert into keyed values ('q');
        create table plain(a); insert into plain values (1);
        pragma writable_schema = on; update sqlite_schema set sql = replace(sql, 'nocase', 'swedish')`,
      );
      database.close();
      const { result, differences, changed } = await backUpAndProve(file, 'insert into plain values (2)');
      assert.deepEqual(differences, []);
      assert.match(result.warnings.join('\n'), /rows of table keyed: /);
      assert.match(result.warnings.join('\n'), /no such collation sequence: swedish/);
      assert.match(changed.join('\n'), /table plain: 1 row, restored 2 rows/);
    });
  });

  test('virtual tables whose module is not here', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      const database = new DatabaseSync(file, { defensive: false });
      database.exec(
        `create table vectors_chunks(a); insert into vectors_chunks values (x'0102');
        pragma writable_schema = on;
        insert into sqlite_schema(type, name, tbl_name, rootpage, sql)
          values ('table', 'vectors', 'vectors', 0, 'CREATE VIRTUAL TABLE vectors USING vec0(x)')`,
      );
      database.close();
      const { differences, changed } = await backUpAndProve(file, "update vectors_chunks set a = x'0103'");
      assert.deepEqual(differences, []);
      assert.match(changed.join('\n'), /table vectors_chunks/);
    });
  });
});
