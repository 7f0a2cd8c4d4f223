import { readdirSync, realpathSync, rmSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { messageOf, TargetNotEmpty, TargetUnusable } from '#core/errors';
import { canSeeHolders, describeHolders, holdersOf } from '#engines/sqlite/in-use';
import { FILE_EXTENSIONS } from '#engines/sqlite/restore-script';
import { makeDirectory } from '#engines/target-directory';

export interface Target {
  /** The database file to be. */
  readonly file: string;
  /** In the same directory, so that it can be renamed over `file`. */
  readonly beside: string;
  /** What is at `file` now; null = nothing. */
  readonly there: Stats | null;
}

const BESIDE = '.holdfast-restore-';

/**
 * A target names the file itself when it ends in .db, .sqlite, .sqlite3 or as the source's file does, and is no
 * directory; else the directory in which the file gets its old name.
 */
export function targetFile(target: string, sourceFile: string): string {
  const path = resolve(target);
  const name = basename(sourceFile);
  const extension = extname(path);
  const named =
    extension !== '' && (FILE_EXTENSIONS.some((known) => known === extension) || extension === extname(name));
  return named && !stat(path)?.isDirectory() ? path : join(path, name);
}

/**
 * Looks whether the target may be written to; changes nothing.
 * @throws TargetNotEmpty something is there and `overwrite` is not asked for
 * @throws TargetUnusable not a place for a file, or another process has the database open
 */
export function lookAtTarget(target: string, sourceFile: string, overwrite: boolean): Target {
  const named = targetFile(target, sourceFile);
  const there = stat(named);
  // A rename over a symbolic link would replace the link and leave the database it means.
  const file = there ? realpathSync(named) : named;
  if (there && !there.isFile())
    throw new TargetUnusable(`${file} is not a regular file`, { hint: 'give a file or a directory that is yours' });
  // A -shm holds nothing of its own; readers leave one behind.
  const filled = [file, `${file}-wal`, `${file}-journal`].filter((path) => (stat(path)?.size ?? 0) > 0);
  if (filled.length > 0 && !overwrite)
    throw new TargetNotEmpty(`${filled.join(', ')} ${filled.length === 1 ? 'is' : 'are'} there already`, {
      hint: 'restore to another path, or give --overwrite: what is there is kept aside',
    });
  const holders = holdersOf(file);
  if (holders.length > 0)
    throw new TargetUnusable(`${file} is open in ${describeHolders(holders)}`, {
      hint: 'stop the application first: it would go on writing into the old file',
    });
  return { file, beside: join(dirname(file), `.${basename(file)}${BESIDE}${process.pid}`), there };
}

/** Makes the target's directory, and removes what a killed restore left there. */
export async function prepareDirectory({ file }: Target): Promise<void> {
  const folder = dirname(file);
  try {
    await makeDirectory(folder);
    removeLeftovers(folder, basename(file));
  } catch (cause) {
    throw new TargetUnusable(`cannot use the directory ${folder}: ${messageOf(cause)}`, {
      cause,
      hint: 'give a target in a directory that this user may write to',
    });
  }
}

export const HOLDERS_UNKNOWN = 'this system does not tell whether another process has the target open';

export function holdersUnknown(target: Target): boolean {
  return target.there !== null && !canSeeHolders();
}

/** What a killed restore left beside: its process is gone, or is this one. */
function removeLeftovers(folder: string, name: string): void {
  const prefix = `.${name}${BESIDE}`;
  for (const entry of readdirSync(folder)) {
    const pid = /^\d+/.exec(entry.startsWith(prefix) ? entry.slice(prefix.length) : '')?.[0];
    if (pid !== undefined && (Number(pid) === process.pid || !isAlive(Number(pid)))) rmSync(join(folder, entry));
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function stat(path: string): Stats | null {
  try {
    return statSync(path, { throwIfNoEntry: false }) ?? null;
  } catch (cause) {
    throw new TargetUnusable(`cannot look at ${path}: ${messageOf(cause)}`, { cause, hint: 'give another target' });
  }
}
