import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError } from '#core/errors';
import { askWorker } from '#engines/sqlite/ask-worker';
import { sqlite } from '#engines/sqlite/engine';
import { createProcesses } from '#host/processes';
import { openRun } from '#test/contracts/run-context';
import { storeCapture } from '#test/contracts/stored-backup';
import { dump, execute, fillDatabase, sourceOf } from '#test/engines/sqlite/databases';

/**
 * Runs where FULL is a file system of 1 MiB and FOLDER one with room, and prints as JSON what each attempt came to:
 * full-disk.ts FULL FOLDER
 */
const [full = '', folder = ''] = process.argv.slice(2);
const file = join(folder, 'app.db');
fillDatabase(file, 'wal');
execute(file, 'insert into events select at, kind, body from events');
const source = sourceOf(file);
const opened = await openRun();
const { run } = opened;
const cramped = { ...run, scratch: full, processes: createProcesses(process.env, run.signal, full) };

async function outcome(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
    return 'done';
  } catch (error) {
    return error instanceof HoldfastError ? `${error.code}: ${error.message} / ${error.hint}` : String(error);
  }
}

const outcomes: Record<string, unknown> = { bytes: statSync(file).size };
outcomes['capture'] = await outcome(() => sqlite.capture(source, cramped));
outcomes['snapshot'] = await outcome(() =>
  askWorker({ do: 'snapshot', file, into: join(full, 'copy.db'), patience: 1000 }, run),
);
writeFileSync(join(full, 'copy.db'), '');
const capture = await sqlite.capture(source, run);
const stored = await storeCapture(capture, source, run);
await capture.close();
outcomes['load'] = await outcome(() => sqlite.load(stored.backup(run, { through: 'child' }), source, cramped));
outcomes['load from a stream'] = await outcome(() =>
  sqlite.load(stored.backup(run, { through: 'stream' }), source, cramped),
);
mkdirSync(join(full, 'target'));
execute(join(full, 'target', 'app.db'), "create table precious(a); insert into precious values ('mine')");
const before = dump(join(full, 'target', 'app.db'));
outcomes['restore'] = await outcome(() =>
  sqlite.restore(
    stored.backup(run, { through: 'child' }),
    { target: join(full, 'target', 'app.db'), only: [], overwrite: true },
    source,
    run,
  ),
);
outcomes['target kept'] = dump(join(full, 'target', 'app.db')) === before;
// Notes of pids are the host's.
outcomes['left'] = readdirSync(full, { recursive: true })
  .filter((name) => name !== 'pids')
  .sort();
await stored.remove();
await opened.close();
console.log(JSON.stringify(outcomes));
