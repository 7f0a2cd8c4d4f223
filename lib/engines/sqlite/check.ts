import { access, constants, mkdtemp, rm, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Cancelled, HoldfastError } from '#core/errors';
import type { CheckLine, RunContext, SourceRef } from '#core/ports';
import { quoteShell } from '#core/shell';
import { formatBytes } from '#core/size';
import { askWorker } from '#engines/sqlite/ask-worker';
import {
  ARTIFACT,
  brokenConstraints,
  examined,
  fileOf,
  lookAt,
  refuseDamaged,
  snapshotTo,
} from '#engines/sqlite/capture';
import { probesOf, withAnswers } from '#engines/sqlite/probes';
import type { Look } from '#engines/sqlite/protocol';

/** Up to here a check takes a whole snapshot and reads it, as a run does. */
const TRIED_WHOLE = 512 * 1024 * 1024;

/** statfs types of file systems whose locks and shared memory SQLite must not rely on. */
const NETWORK: Readonly<Record<number, string>> = {
  26985: 'NFS',
  20859: 'SMB',
  4283649346: 'CIFS',
  4266872130: 'SMB2',
  16914839: '9p',
  12805120: 'Ceph',
  1397113167: 'AFS',
};

export async function* check(source: SourceRef, run: RunContext): AsyncGenerator<CheckLine> {
  const file = fileOf(source);
  let look: Look;
  try {
    look = await lookAt(source, run);
  } catch (error) {
    yield wrong('database', error, 'look at the file and its permissions');
    return;
  }
  yield good(
    'database',
    `${file}: ${formatBytes(look.bytes)}, ${look.journal === 'wal' ? 'WAL mode' : 'rollback-journal mode'}, read with SQLite ${look.sqlite}`,
  );
  yield* checkSetting(file, look);
  const { bavail, bsize } = await statfs(run.scratch);
  const free = bavail * bsize;
  const space = `${formatBytes(free)} free for snapshots in ${dirname(run.scratch)}, want ${formatBytes(2 * look.bytes)}: twice the database`;
  if (free < 2 * look.bytes) {
    yield { name: 'scratch space', ok: false, message: space, hint: 'make room, or point TMPDIR at a larger disk' };
    return;
  }
  yield good('scratch space', space);
  if (look.bytes > TRIED_WHOLE)
    yield advice(
      'integrity',
      `not read now, ${formatBytes(look.bytes)} takes a while; each backup reads its snapshot from end to end`,
      `holdfast backup ${source.name}`,
    );
  else yield* trySnapshot(source, run);
}

/** What is no fault of the database and may still spoil a night. */
async function* checkSetting(file: string, look: Look): AsyncGenerator<CheckLine> {
  const kind = NETWORK[(await statfs(file)).type];
  if (kind)
    yield advice(
      'file system',
      `${file} lies on ${kind}: SQLite's locks do not hold between machines there${look.journal === 'wal' ? ', and WAL mode needs one machine' : ''}`,
      'run Holdfast on the machine that runs the application',
    );
  if (look.journal === 'rollback')
    yield advice(
      'writers',
      'rollback-journal mode: writers wait while a snapshot is copied',
      'in WAL mode they would not: pragma journal_mode=wal',
    );
  else if (!(await writable(dirname(file))))
    yield advice(
      'directory',
      `no permission to write in ${dirname(file)}: while no application has the database open, SQLite cannot make its -shm there`,
      "run as the application's user, or back up while the application runs",
    );
  if (look.journal === 'wal' && hasResetBug(look.writtenBy))
    yield advice(
      "application's SQLite",
      `${versionText(look.writtenBy)} wrote last: up to 3.51.2 a checkpoint that races a commit can lose pages (the WAL-reset bug)`,
      'give the application SQLite 3.51.3 or newer (or 3.50.7, 3.44.6)',
    );
}

async function* trySnapshot(source: SourceRef, run: RunContext): AsyncGenerator<CheckLine> {
  const folder = await mkdtemp(join(run.scratch, 'sqlite-'));
  try {
    const path = join(folder, ARTIFACT);
    const { snapshot } = await snapshotTo(path, source, run);
    const asked = probesOf(source);
    const file = fileOf(source);
    const seen = await examined(path, file, askWorker({ do: 'examine', file: path, probes: asked }, run));
    refuseDamaged(file, seen);
    yield good(
      'snapshot',
      `${snapshot.pages} pages in ${snapshot.pinnedMilliseconds} ms, ${seen.tables.length} ${seen.tables.length === 1 ? 'table' : 'tables'}, integrity_check ok`,
    );
    for (const lacking of seen.unchecked)
      yield advice(
        'snapshot',
        `not checked, because only the application can: ${lacking}`,
        'the bytes are compared all the same; let a drill run the application on a restored copy',
      );
    if (seen.violations.length > 0)
      yield advice('snapshot', brokenConstraints(seen), `sqlite3 ${quoteShell(file)} 'pragma integrity_check'`);
    const { warnings } = withAnswers(asked, seen.probes);
    for (const warning of warnings)
      yield { name: 'probes', ok: false, message: warning, hint: 'mend the query or its expect in the plan' };
    if (asked.length > 0 && warnings.length === 0) yield good('probes', `${asked.length} answered, the same twice`);
  } catch (error) {
    yield wrong('snapshot', error, 'no backup can be taken like this');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** 3.7.0 to 3.51.2, but for the two backports. 0 = unknown. */
function hasResetBug(version: number): boolean {
  if (version === 0 || version < 3_007_000 || version >= 3_051_003) return false;
  const backported = (version >= 3_050_007 && version < 3_051_000) || (version >= 3_044_006 && version < 3_045_000);
  return !backported;
}

function versionText(version: number): string {
  return `SQLite ${Math.floor(version / 1_000_000)}.${Math.floor(version / 1000) % 1000}.${version % 1000}`;
}

async function writable(folder: string): Promise<boolean> {
  return access(folder, constants.W_OK).then(
    () => true,
    () => false,
  );
}

function good(name: string, message: string): CheckLine {
  return { name, ok: true, message, hint: null };
}

/** Said, and not wrong. */
function advice(name: string, message: string, hint: string): CheckLine {
  return { name, ok: true, message, hint };
}

/** @throws what is a defect of ours, and `Cancelled` */
function wrong(name: string, error: unknown, hint: string): CheckLine {
  if (!(error instanceof HoldfastError) || error instanceof Cancelled) throw error;
  return { name, ok: false, message: error.message, hint: error.hint ?? hint };
}
