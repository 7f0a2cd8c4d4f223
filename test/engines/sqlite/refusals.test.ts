import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { HoldfastError } from '#core/errors';
import type { CheckLine, RunContext } from '#core/ports';
import { askWorker } from '#engines/sqlite/ask-worker';
import { sqlite } from '#engines/sqlite/engine';
import { openRun } from '#test/contracts/run-context';
import { execute, fillDatabase, sourceOf } from '#test/engines/sqlite/databases';
import { LOCKER, startScript } from '#test/engines/sqlite/other-process';
import { inFolder } from '#test/engines/sqlite/temporary';

const NOBODY = 65534;

interface Wanted {
  readonly code: string;
  readonly message: RegExp;
  readonly hint: RegExp;
}

/** Both the check of today and the backup of the night say it. */
async function refused(file: string, wanted: Wanted, run: RunContext): Promise<void> {
  const source = sourceOf(file);
  await assert.rejects(sqlite.capture(source, run), (error) => {
    assert.ok(error instanceof HoldfastError, String(error));
    assert.equal(error.code, wanted.code, error.message);
    assert.match(error.message, wanted.message);
    assert.match(error.hint ?? '', wanted.hint);
    return true;
  });
  const lines: CheckLine[] = [];
  for await (const line of sqlite.check(source, run)) lines.push(line);
  const bad = lines.find((line) => line.ok === false);
  assert.ok(bad, 'the check passed');
  assert.match(bad.message, wanted.message);
  assert.deepEqual(
    readdirSync(run.scratch).filter((name) => name !== 'pids'),
    [],
    'something is left',
  );
}

async function inRun(work: (run: RunContext) => Promise<void>): Promise<void> {
  const opened = await openRun();
  try {
    await work(opened.run);
  } finally {
    await opened.close();
  }
}

/** What makes root able to read and write the files of others. */
const ABOVE_MODES = '-dac_override,-dac_read_search,-fowner';

/**
 * A run whose children may only do what file modes let them; when the tests are not root, they are such themselves.
 * Not another user, who could not reach a checkout in root's own home.
 */
function asOther(run: RunContext): RunContext {
  if (process.getuid?.() !== 0) return run;
  const { processes } = run;
  return {
    ...run,
    processes: {
      ...processes,
      start: ({ program, args, ...rest }) =>
        processes.start({ ...rest, program: 'setpriv', args: ['--bounding-set', ABOVE_MODES, program, ...args] }),
    },
  };
}

/** Root owns what it makes, and an owner is not another: gives it away. */
function giveAway(...paths: readonly string[]): void {
  if (process.getuid?.() === 0) for (const path of paths) chownSync(path, NOBODY, NOBODY);
}

function eventsIn(file: string): number {
  return Number(execFileSync('sqlite3', [file, 'select count(*) from events'], { encoding: 'utf8' }));
}

async function patch(file: string, position: number, bytes: readonly number[]): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    await handle.write(Buffer.from(bytes), 0, bytes.length, position);
  } finally {
    await handle.close();
  }
}

describe('what cannot be captured is refused with a reason and a way out', () => {
  const damaged: Readonly<Record<string, { prepare: (file: string) => Promise<void>; wanted: Wanted }>> = {
    'no file': {
      prepare: async (file) => rmSync(file),
      wanted: { code: 'source-unreachable', message: /there is no file .*app\.db/, hint: /mounted/ },
    },
    'a directory': {
      prepare: async (file) => {
        rmSync(file);
        mkdirSync(file);
      },
      wanted: { code: 'source-unsupported', message: /is a directory/, hint: /app\.db/ },
    },
    'an encrypted database (SQLCipher), or no database at all': {
      prepare: async (file) => writeFileSync(file, Buffer.alloc(8192, 0x5a)),
      wanted: { code: 'source-unsupported', message: /not a SQLite database, or it is encrypted/, hint: /plain copy/ },
    },
    'a file too short to be a database': {
      prepare: async (file) => writeFileSync(file, 'SQLite format 3\0'),
      wanted: { code: 'source-unsupported', message: /not a SQLite database/, hint: /right file/ },
    },
    'the wal2 format of a branch': {
      prepare: (file) => patch(file, 18, [3, 3]),
      wanted: { code: 'source-unsupported', message: /format versions 3\/3/, hint: /journal_mode=wal/ },
    },
    'a file that is cut off': {
      prepare: async (file) => truncateSync(file, 200_000),
      wanted: { code: 'capture-incomplete', message: /damaged/, hint: /restore the newest proven/ },
    },
    'a page that was overwritten': {
      prepare: (file) =>
        patch(
          file,
          4096 * 30,
          Array.from({ length: 4096 }, (_byte, at) => at % 251),
        ),
      wanted: { code: 'capture-incomplete', message: /damaged/, hint: /restore the newest proven/ },
    },
  };
  for (const [title, { prepare, wanted }] of Object.entries(damaged))
    test(`I2: ${title}`, async () => {
      await inFolder(async (folder) => {
        const file = join(folder, 'app.db');
        fillDatabase(file, 'delete');
        await prepare(file);
        await inRun((run) => refused(file, wanted, run));
      });
    });

  test('what the hint says of a damaged file saves what can be read, with the sqlite3 of this machine', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, "the app's.db");
      fillDatabase(file, 'delete');
      const before = eventsIn(file);
      await patch(file, 4096 * 30, Array<number>(4096).fill(0xde));
      await inRun(async (run) => {
        const error = await sqlite.capture(sourceOf(file), run).then(
          () => assert.fail('a damaged file was captured'),
          (thrown: HoldfastError) => thrown,
        );
        const [, command = ''] = /read: (sqlite3 .*)$/.exec(error.hint ?? '') ?? [];
        assert.notEqual(command, '', error.hint ?? 'no hint');
        execFileSync('sh', ['-c', command], { cwd: folder, stdio: 'ignore' });
      });
      const saved = eventsIn(join(folder, 'rescued.db'));
      assert.ok(saved > before / 2 && saved < before, `${saved} of ${before} rows`);
    });
  });

  test('I2: a hot journal, which only a writer may roll back', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      fillDatabase(file, 'delete');
      const dying = await startScript(
        LOCKER,
        file,
        'pragma cache_size = 2; begin; update events set body = hex(randomblob(40))',
      );
      await dying.kill();
      await inRun(async (run) => {
        await refused(file, { code: 'source-unsupported', message: /hot journal/, hint: /sqlite3 '/ }, run);
        execute(file, 'select count(*) from sqlite_schema');
        const capture = await sqlite.capture(sourceOf(file), run);
        await capture.close();
      });
    });
  });

  test('a file this user may not read', async () => {
    await inFolder(async (folder) => {
      chmodSync(folder, 0o755);
      const file = join(folder, 'app.db');
      fillDatabase(file, 'delete');
      giveAway(file);
      chmodSync(file, process.getuid?.() === 0 ? 0o600 : 0);
      const wanted = { code: 'source-refused', message: /no permission to read/, hint: /setfacl/ };
      await inRun((run) => refused(file, wanted, asOther(run)));
    });
  });

  test('WAL mode in a directory this user may not write to, unless the application has it open', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      fillDatabase(file, 'wal');
      giveAway(file, folder);
      chmodSync(folder, 0o555);
      const wanted = { code: 'source-refused', message: /WAL mode.*may not write to/, hint: /application/ };
      await inRun(async (run) => {
        const other = asOther(run);
        await refused(file, wanted, other);
        chmodSync(folder, 0o755);
        const application = await startScript(LOCKER, file, "insert into users(name) values ('later')");
        chmodSync(folder, 0o555);
        try {
          const into = join(run.scratch, 'copy.db');
          const { pages } = await askWorker({ do: 'snapshot', file, into, patience: 1000 }, other);
          assert.ok(pages > 0);
        } finally {
          chmodSync(folder, 0o755);
          await application.kill();
        }
      });
    });
  });

  test('advice that is not an error: rollback mode, an application with the WAL-reset bug', async () => {
    await inFolder(async (folder) => {
      const rollback = join(folder, 'rollback.db');
      fillDatabase(rollback, 'delete');
      const wal = join(folder, 'wal.db');
      copyFileSync(rollback, wal);
      execute(wal, 'pragma journal_mode = wal');
      // The library version that wrote last, as an old application leaves it.
      const version = Buffer.alloc(4);
      version.writeUInt32BE(3_040_001);
      await patch(wal, 96, [...version]);
      await inRun(async (run) => {
        const advice = async (file: string): Promise<string> => {
          const said = [];
          for await (const line of sqlite.check(sourceOf(file), run)) {
            assert.equal(line.ok, true, line.message);
            if (line.hint) said.push(line.message);
          }
          return said.join('\n');
        };
        assert.match(await advice(rollback), /writers wait/);
        assert.match(await advice(wal), /SQLite 3\.40\.1 wrote last.*WAL-reset/);
      });
    });
  });
});

describe('probes', () => {
  test('one that fails, or that does not agree with itself, is told today and not compared', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'app.db');
      fillDatabase(file, 'wal');
      const source = sourceOf(file, {
        good: "select count(*), max(balance), 1.0, null, x'0a' from users",
        misspelt: 'select * from nowhere',
        writing: "update users set name = 'x'",
        random: 'select random()',
        huge: 'select body from events',
        few: { query: 'select count(*) from users', expect: { atLeast: 1000 }, severity: 'medium' },
      });
      await inRun(async (run) => {
        const bad = [];
        for await (const line of sqlite.check(source, run)) if (line.ok === false) bad.push(line.message);
        assert.equal(bad.length, 5);
        const capture = await sqlite.capture(source, run);
        const result = await capture.finish();
        await capture.close();
        assert.deepEqual(
          result.probes.map(({ name, answer }) => ({ name, answer })),
          [
            { name: 'good', answer: [['4', '1e+300', '1.0', null, "x'0a'"]] },
            { name: 'few', answer: [['4']] },
          ],
        );
        assert.equal(result.warnings.length, 5 + 0);
      });
    });
  });
});
