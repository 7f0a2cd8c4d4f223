import { strict as assert } from 'node:assert';
import { mkdtempSync, readdirSync, readlinkSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { RestoredCopy, SourceRef } from '#core/ports';
import { sqlite } from '#engines/sqlite/engine';
import { type EngineKit, engineContract } from '#test/contracts/engine';
import { livingProcesses } from '#test/contracts/seen-processes';
import { dump, execute, fillDatabase, MARKER, sourceOf } from '#test/engines/sqlite/databases';

function kitFor(journal: 'wal' | 'delete'): EngineKit {
  let root = '';
  let made = 0;
  const folder = (): string => {
    made += 1;
    return mkdtempSync(join(root, `${made}-`));
  };
  const filled = (): string => {
    const file = join(folder(), 'app.db');
    fillDatabase(file, journal);
    return file;
  };
  const placeOf = (source: SourceRef): string => source.settings.sqlite?.file as string;
  const change =
    (sql: string) =>
    async (copy: RestoredCopy): Promise<void> =>
      execute(copy.where, sql);

  return {
    engine: sqlite,
    marker: MARKER,
    switchesAtTheEnd: true,
    async start() {
      root = mkdtempSync(join(tmpdir(), 'holdfast-sqlite-'));
    },
    async stop() {
      rmSync(root, { recursive: true, force: true });
    },
    source: async () =>
      sourceOf(filled(), {
        users: 'select count(*) from users',
        newest: 'select at, body from events order by at desc limit 1',
        recent: { query: 'select count(*) from events', expect: { atLeast: 1 }, severity: 'medium' },
      }),
    async emptySource() {
      const file = join(folder(), 'empty.db');
      writeFileSync(file, '');
      return sourceOf(file);
    },
    async oddSource() {
      const file = join(folder(), `it's an "odd" näme #1?a=%20&b;$(x).db`);
      execute(
        file,
        `pragma journal_mode = ${journal};
        create table "select"("from" text, "a""b" text, "rowid" text, " " text, "ключ" blob);
        insert into "select" values ('1', 'x''y', 'r', null, x'00');
        create table "ta ""ble'; drop table t; --"(a); insert into "ta ""ble'; drop table t; --" values (1);
        create table "таблица 🦊"(a text primary key) without rowid; insert into "таблица 🦊" values ('é'), ('e');`,
      );
      return sourceOf(file);
    },
    absentSource: async () => sourceOf(join(folder(), 'nowhere', 'app.db')),
    async mutate(source) {
      execute(
        placeOf(source),
        "update users set name = 'changed' where id = 1; insert into events values ('n', 'n', 'n')",
      );
    },
    failures: {
      'the database is cut off in the middle': async () => {
        const file = filled();
        truncateSync(file, 300_000);
        return { source: sourceOf(file), at: async () => undefined };
      },
      'the worker is killed': async () => {
        const file = join(folder(), 'big.db');
        execute(
          file,
          `pragma journal_mode = ${journal}; pragma synchronous = off; create table t(a, b);
          with recursive n(i) as (select 1 union all select i + 1 from n where i < 300000) insert into t select i, hex(randomblob(80)) from n`,
        );
        return {
          source: sourceOf(file),
          async at(stage) {
            if (stage === 'capturing') await killCopier();
          },
        };
      },
    },
    changes: {
      'one value changed': change("update events set body = 'x' where rowid = 4000"),
      'two cells exchanged': change(
        'update events set body = (select body from events e where e.rowid = 21 - events.rowid) where rowid in (10, 11)',
      ),
      'an integer became a real': change("update pairs set note = 1.0 where note = 1 and typeof(note) = 'integer'"),
      'a row is missing': change('delete from events where rowid = 17'),
      'an index is missing': change('drop index by_name'),
    },
    placeOf,
    contents: async (place) => dump(place),
    emptyTarget: async () => join(folder(), 'restored.db'),
    async filledTarget() {
      const file = join(folder(), 'other.sqlite');
      execute(file, "create table precious(a); insert into precious values ('mine')");
      return file;
    },
  };
}

/** Waits for the process that writes the snapshot, and kills it. */
async function killCopier(): Promise<void> {
  for (;;) {
    const copier = livingProcesses('/no/path').find(({ pid }) => hasOpen(pid, '/snapshot.db'));
    if (copier) {
      process.kill(copier.pid, 'SIGKILL');
      return;
    }
    await wait(2);
  }
}

function hasOpen(pid: number, ending: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`).endsWith(ending));
  } catch (error) {
    // The process or its descriptor has gone between the two looks.
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOENT');
    return false;
  }
}

engineContract('sqlite in WAL mode', kitFor('wal'));
engineContract('sqlite in rollback-journal mode', kitFor('delete'));
