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

  test('full-text tables whose tokenizer is not here', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      const database = new DatabaseSync(file, { defensive: false });
      database.exec(
        `create virtual table five using fts5(body, tokenize = 'porter ascii'); insert into five values ('hello');
        create virtual table four using fts4(body, tokenize=porter); insert into four values ('hello');
        create table plain(a int unique); insert into plain values (1);
        pragma writable_schema = on; update sqlite_schema set sql = replace(sql, 'porter', 'swedish')`,
      );
      database.close();
      const { result, differences, changed } = await backUpAndProve(file, 'update plain set a = 2');
      assert.deepEqual(differences, []);
      assert.match(result.warnings.join('\n'), /not checked.*integrity of table five: .*\n.*integrity of table four: /);
      assert.doesNotMatch(result.warnings.join('\n'), /plain|_content/);
      assert.match(changed.join('\n'), /table plain: 1 row in both, contents differ/);
    });
  });
});

describe('rows that their own table would not take', () => {
  /** Columns that became stricter behind SQLite's back, after 200 rows. */
  function strictened(file: string): void {
    const database = new DatabaseSync(file, { defensive: false });
    database.exec(
      `create table t(a, b int); insert into t values ('first', 1);
      with recursive n(i) as (select 1 union all select i + 1 from n where i < 200) insert into t select null, 'text' from n;
      pragma writable_schema = on; update sqlite_schema set sql = 'CREATE TABLE t(a any not null, b int) strict' where name = 't'`,
    );
    database.close();
  }

  test('are no damage: backed up as they are, and told', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      strictened(file);
      const { result, differences } = await backUpAndProve(file, 'create table more(a)');
      assert.deepEqual(differences, []);
      assert.match(
        result.warnings.join('\n'),
        /^some rows break a constraint.*NULL value in t\.a; non-INT value in t\.b$/,
      );
    });
  });

  test('do not hide real damage behind a hundred lines of theirs', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      strictened(file);
      execute(file, 'create table z(a); create index by_a on z(a); insert into z values (1), (2)');
      const database = new DatabaseSync(file, { defensive: false });
      // The index knows a row that the table does not have, and misses one that it has.
      database.exec(`pragma writable_schema = on; delete from sqlite_schema where name = 'by_a' returning rootpage;`);
      database.close();
      const without = new DatabaseSync(file, { defensive: false });
      without.exec('insert into z values (3)');
      without.exec(
        `pragma writable_schema = on; insert into sqlite_schema select 'index', 'by_a', 'z', (select max(rootpage) + 1 from sqlite_schema), 'CREATE INDEX by_a on z(a)'`,
      );
      without.close();
      await assert.rejects(backUpAndProve(file, ''), {
        message: /is damaged, integrity_check says: .*missing from index by_a/,
      });
    });
  });
});

describe('--only', () => {
  async function restoreOnly(file: string, table: string, target: string): Promise<void> {
    const opened = await openRun();
    try {
      const capture = await sqlite.capture(sourceOf(file), opened.run);
      const stored = await storeCapture(capture, sourceOf(file), opened.run).finally(() => capture.close());
      const backup = stored.backup(opened.run, { through: 'child' });
      await sqlite
        .restore(backup, { target, only: [table], overwrite: false }, null, opened.run)
        .finally(stored.remove);
    } finally {
      await opened.close();
    }
  }

  test('of a database in UTF-16, of rows that break a CHECK, of a default in double quotes', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      const database = new DatabaseSync(file, { enableDoubleQuotedStringLiterals: true });
      database.exec(
        `pragma encoding = 'UTF-16be'; pragma ignore_check_constraints = on;
        create table t(a text check (a <> 'no'), b default "it"); create index by_b on t("nothing");
        insert into t(a) values ('no'), ('🦊')`,
      );
      database.close();
      const target = join(folder, 'only.db');
      await restoreOnly(file, 't', target);
      const restored = new DatabaseSync(target, { readOnly: true });
      assert.deepEqual(restored.prepare('select group_concat(a || b) as all_of_it from t').get(), {
        __proto__: null,
        all_of_it: 'noit,🦊it',
      });
      restored.close();
    });
  });

  test('of a table that needs the application says to take the whole file', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      const database = new DatabaseSync(file);
      database.function('myhash', { deterministic: true }, (value) => String(value).length);
      database.exec('create table t(a, check (myhash(a) > 0)); insert into t values (1)');
      database.close();
      await assert.rejects(restoreOnly(file, 't', join(folder, 'only.db')), {
        message: /^table t cannot be taken out by itself: no such function: myhash$/,
        hint: 'restore the whole file: leave --only out',
      });
    });
  });
});
