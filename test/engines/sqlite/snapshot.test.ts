import { strict as assert } from 'node:assert';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { SourceLocked } from '#core/errors';
import type { RunContext } from '#core/ports';
import { askWorker } from '#engines/sqlite/ask-worker';
import { sqlite } from '#engines/sqlite/engine';
import { openRun } from '#test/contracts/run-context';
import { storeCapture } from '#test/contracts/stored-backup';
import { execute, sourceOf } from '#test/engines/sqlite/databases';
import { CAPTURER, LOCKER, startScript, WRITER } from '#test/engines/sqlite/other-process';
import { watchPeak } from '#test/engines/sqlite/peak-memory';
import { inFolder } from '#test/engines/sqlite/temporary';

const BULK = 40_000;

function makeLedger(file: string, journal: 'wal' | 'delete'): void {
  execute(
    file,
    `pragma journal_mode = ${journal}; pragma synchronous = normal;
    create table pairs(side text, n int); create table counter(n int); insert into counter values (0);
    create table bulk(a int, b text);
    with recursive n(i) as (select 1 union all select i + 1 from n where i < ${BULK}) insert into bulk select i, hex(randomblob(250)) from n`,
  );
}

function one(file: string, sql: string): unknown {
  const database = new DatabaseSync(file, { readOnly: true, timeout: 5000 });
  try {
    return Object.values(database.prepare(sql).get() ?? {})[0];
  } finally {
    database.close();
  }
}

async function inRun(work: (run: RunContext) => Promise<void>): Promise<void> {
  const opened = await openRun();
  try {
    await work(opened.run);
  } finally {
    await opened.close();
  }
}

/** Pid of the worker that a process has started; waits for it. */
async function workerOf(parent: number): Promise<number> {
  for (const end = Date.now() + 30_000; Date.now() < end; await wait(10)) {
    const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim().split(' ').filter(Boolean);
    if (children[0]) return Number(children[0]);
  }
  throw new Error('no worker was started');
}

describe('a pinned snapshot', () => {
  for (const journal of ['wal', 'delete'] as const)
    test(`finishes under a writer that commits every 10 ms, and is of one moment (${journal})`, async () => {
      await inFolder(async (folder) => {
        const file = join(folder, 'app.db');
        makeLedger(file, journal);
        const writer = await startScript(WRITER, file, '10');
        try {
          await inRun(async (run) => {
            const before = Number(one(file, 'select n from counter'));
            const capture = await sqlite.capture(sourceOf(file), run);
            try {
              const stored = await storeCapture(capture, sourceOf(file), run);
              const copy = join(stored.folder, 'snapshot.db');
              const counted = Number(one(copy, 'select n from counter'));
              assert.ok(counted >= before, `the snapshot is older (${counted}) than its start (${before})`);
              assert.equal(one(copy, "select count(*) from pairs where side = 'left'"), counted);
              assert.equal(one(copy, "select count(*) from pairs where side = 'right'"), counted);
              assert.equal(one(copy, 'select count(*) from bulk'), BULK);
              await stored.remove();
            } finally {
              await capture.close();
            }
            await wait(100);
            assert.ok(Number(one(file, 'select n from counter')) > before, 'the writer was not able to go on');
          });
        } finally {
          await writer.kill();
        }
      });
    });

  test('peers 3F (DBackup .dump): what lies only in the -wal is in the snapshot', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      makeLedger(file, 'wal');
      const writer = await startScript(WRITER, file, '10000');
      try {
        assert.ok(statSync(`${file}-wal`).size > 0);
        await inRun(async (run) => {
          const capture = await sqlite.capture(sourceOf(file), run);
          const stored = await storeCapture(capture, sourceOf(file), run);
          await capture.close();
          assert.equal(one(join(stored.folder, 'snapshot.db'), 'select n from counter'), 1);
          await stored.remove();
        });
      } finally {
        await writer.kill();
      }
    });
  });

  test('two snapshots without a write between them are the same bytes', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      makeLedger(file, 'wal');
      await inRun(async (run) => {
        const hashes = [];
        for (const name of ['one.db', 'two.db']) {
          await askWorker({ do: 'snapshot', file, into: join(folder, name), patience: 1000 }, run);
          hashes.push((await askWorker({ do: 'examine', file: join(folder, name), probes: [] }, run)).sha256);
        }
        assert.equal(hashes[0], hashes[1]);
      });
    });
  });

  test('a writer that holds the database is a locked source, not an empty backup', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      makeLedger(file, 'delete');
      const locker = await startScript(LOCKER, file, 'begin exclusive; update counter set n = 2');
      try {
        await inRun(async (run) => {
          const asked = askWorker({ do: 'snapshot', file, into: join(folder, 'copy.db'), patience: 300 }, run);
          await assert.rejects(asked, SourceLocked);
        });
      } finally {
        await locker.kill();
      }
    });
  });

  test('does not write to the source: neither its bytes nor its times change', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      makeLedger(file, 'delete');
      const before = statSync(file);
      await inRun(async (run) => {
        const capture = await sqlite.capture(sourceOf(file), run);
        await capture.close();
      });
      const after = statSync(file);
      assert.deepEqual([after.size, after.mtimeMs, after.ino], [before.size, before.mtimeMs, before.ino]);
    });
  });

  test('when Holdfast is killed with SIGKILL, its worker ends too', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      makeLedger(file, 'delete');
      // The worker would wait for the lock for half a minute.
      const locker = await startScript(LOCKER, file, 'begin exclusive');
      const holdfast = await startScript(CAPTURER, file, folder);
      const worker = await workerOf(holdfast.pid);
      await holdfast.kill();
      for (const end = Date.now() + 30_000; existsSync(`/proc/${worker}`); await wait(50))
        assert.ok(Date.now() < end, 'the worker lives on');
      await locker.kill();
    });
  });

  test('I8: the worker stays small, whatever the rows and values', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      execute(
        file,
        `pragma synchronous = off; create table blobs(id integer primary key, b blob);
        insert into blobs(b) values (zeroblob(60000000)), (zeroblob(60000000)), (randomblob(1000000));
        create table many(a int, b text);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 300000) insert into many select i, 'row ' || i from n`,
      );
      await inRun(async (run) => {
        const peak = watchPeak();
        const capture = await sqlite.capture(sourceOf(file), run);
        await capture.close();
        const kib = peak.stop();
        assert.ok(kib > 10_000 && kib < 120_000, `the worker's peak was ${kib} KiB`);
      });
    });
  });
});
