import { lstatSync } from 'node:fs';
import { access, constants, open } from 'node:fs/promises';
import { messageOf } from '#core/errors';
import type { CheckLine, RunContext, SourceRef } from '#core/ports';
import { type ByteString, fsPath, joined, NameList, shown } from '#engines/files/byte-string';
import { settingsOf } from '#engines/files/capture';
import { mountOf, readMounts } from '#engines/files/mounts';
import { findRoots, type Roots } from '#engines/files/roots';
import { tarVersion } from '#engines/files/tar-version';
import { stopIfAborted } from '#engines/files/tree-reading';
import type { Walk } from '#engines/files/walk';
import { walkOf } from '#engines/files/walk-of';

/** How long `check` looks around; the night's run has no such limit. */
const LOOK_MILLISECONDS = 10_000;
/** How long `inspect` adds up sizes. */
const ESTIMATE_MILLISECONDS = 2000;

export async function* checkFiles(source: SourceRef, run: RunContext): AsyncGenerator<CheckLine> {
  const settings = settingsOf(source);
  const tar = await attempt('tar', () => tarVersion(run));
  yield tar.value === null ? tar.line : good('tar', `GNU tar ${tar.value}`);
  const found = await attempt('paths', () => findRoots(settings.paths));
  if (found.value === null) {
    yield found.line;
    return;
  }
  const roots = found.value;
  for (const warning of roots.warnings) yield doubt('paths', warning, null);
  const mounts = await readMounts();
  for (const name of roots.names) {
    const path = joined(roots.base, name === '.' ? '' : name);
    const mount = mountOf(mounts, path);
    if (mount?.network)
      yield doubt(
        'paths',
        `${shown(path)} is on a network file system (${mount.type})`,
        'owners and modes there may be made up; better take the backup on the machine that holds the files',
      );
  }
  const walked = await attempt('paths', () => walkOf(source, roots, run));
  if (walked.value === null) yield walked.line;
  else yield* look(roots, walked.value, run);
}

/** Bytes that the files occupy; of very many, only those that could be looked at in a short while. */
export async function estimate(roots: Roots, walk: Walk, run: RunContext): Promise<number> {
  const until = run.clock.now().getTime() + ESTIMATE_MILLISECONDS;
  let bytes = 0;
  for await (const batch of walk.batches()) {
    stopIfAborted(run.signal);
    for (const { path } of batch) {
      const status = lstatSync(fsPath(joined(roots.base, path)), { throwIfNoEntry: false });
      // Not more than its blocks, for it may be sparse; with the blocks of its header.
      if (status) bytes += Math.min(status.size, status.blocks * 512) + 1536;
    }
    // Better too little than nothing: else `check` would see room where there is none.
    if (run.clock.now().getTime() > until) break;
  }
  return bytes;
}

async function* look(roots: Roots, walk: Walk, run: RunContext): AsyncGenerator<CheckLine> {
  const until = run.clock.now().getTime() + LOOK_MILLISECONDS;
  const unreadable = new NameList();
  const databases = new Map<string, NameList>();
  let entries = 0;
  let whole = true;
  for await (const batch of walk.batches()) {
    if (run.clock.now().getTime() > until) {
      whole = false;
      break;
    }
    stopIfAborted(run.signal);
    for (const { path } of batch) {
      entries++;
      const absolute = joined(roots.base, path);
      if (!(await readable(absolute))) unreadable.add(path);
      const engine = await databaseAt(absolute, path);
      if (engine) databases.set(engine, (databases.get(engine) ?? new NameList()).with(path));
    }
  }
  const { findings } = walk;
  const bad = unreadable.count + findings.unreadable.count;
  if (bad > 0)
    yield {
      name: 'readable',
      ok: false,
      message: `${bad} cannot be read: ${[unreadable, findings.unreadable].filter((list) => list.count > 0).join(', ')}`,
      hint: 'run as a user who may read them, or name them under `exclude`',
    };
  else
    yield good(
      'readable',
      `${entries} files and directories${whole ? '' : ` in the first ${LOOK_MILLISECONDS / 1000} s, not looked at all`}`,
    );
  if (findings.secrets.count > 0) yield good('sanitise', `leaves out ${findings.secrets}`);
  if (findings.sockets.count > 0) yield doubt('sockets', `no archive can hold ${findings.sockets}`, null);
  if (findings.notEntered.count > 0) yield doubt('mounts', `not entered: ${findings.notEntered}`, null);
  for (const [engine, list] of databases)
    yield doubt(
      'databases',
      `${list} ${list.count === 1 ? 'is' : 'are'} of a ${engine} database: copied while it is written to, ${list.count === 1 ? 'it' : 'they'} may not open again`,
      `give it a source of its own with the ${engine} engine, and name it under \`exclude\` here`,
    );
}

/** The engine that ought to take this file, or null. */
async function databaseAt(absolute: ByteString, path: ByteString): Promise<'postgres' | 'redis' | 'sqlite' | null> {
  if (path.endsWith('/PG_VERSION')) return 'postgres';
  if (/\.rdb$|\.aof$/.test(path)) return 'redis';
  if (!/\.(db|db3|sqlite|sqlite3)$/i.test(path)) return null;
  const head = await headOf(absolute);
  return head?.startsWith('SQLite format 3\0') ? 'sqlite' : null;
}

async function headOf(absolute: ByteString): Promise<string | null> {
  try {
    const file = await open(fsPath(absolute), constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(16), 0, 16, 0);
      return buffer.toString('latin1', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch {
    // Gone, a directory, or not readable: that is told by its own line.
    return null;
  }
}

async function readable(absolute: ByteString): Promise<boolean> {
  try {
    await access(fsPath(absolute), constants.R_OK);
    return true;
  } catch (error) {
    // A dangling symbolic link is taken as the link it is; a file deleted just now is nobody's fault.
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' || code === 'ELOOP' || code === 'ENOTDIR';
  }
}

async function attempt<T>(
  name: string,
  work: () => Promise<T>,
): Promise<{ value: T; line: never } | { value: null; line: CheckLine }> {
  try {
    return { value: await work(), line: undefined as never };
  } catch (error) {
    const hint = (error as { hint?: string | null }).hint ?? null;
    return { value: null, line: { name, ok: false, message: messageOf(error), hint } };
  }
}

function good(name: string, message: string): CheckLine {
  return { name, ok: true, message, hint: null };
}

/** True today and worth knowing; not a fault. */
function doubt(name: string, message: string, hint: string | null): CheckLine {
  return { name, ok: true, message: message, hint };
}
