import { randomBytes } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { chmod, lchown, lstat, mkdir, readdir, rename, rm, rmdir, stat, utimes } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import {
  CommandFailed,
  Disproven,
  messageOf,
  SpaceLacking,
  TargetNotEmpty,
  TargetUnusable,
  UnsafePath,
} from '#core/errors';
import { compactTime } from '#core/manifest';
import type { OpenBackup, RestoreOutcome, RestoreRequest, RunContext } from '#core/ports';
import { type ByteString, byteString, fsPath, joined, shown } from '#engines/files/byte-string';
import { compareTree } from '#engines/files/compare';
import { INDEX } from '#engines/files/fingerprint';
import { fingerprintOf, spaceFor } from '#engines/files/load';
import { removeTree } from '#engines/files/remove-tree';
import { type Selection, select } from '#engines/files/selection';
import { readIndex } from '#engines/files/tree-index';
import { fetchIndex, tooLongBelow, unpackTree } from '#engines/files/unpack';
import { lookAtDirectory, makeDirectory, mustHaveRoom, unusableDirectory } from '#engines/target-directory';

/** Where a restore unpacks to before it switches: inside the target, which may be a mount point of its own. */
const STAGING = /^\.holdfast-restore-(\d+)-[0-9a-f]{8}$/;

/**
 * Unpacks inside the target, compares, and only then moves each listed path (or each one asked for) to its place by
 * renaming. What stood there before goes to `<target>.before-<time>`; nothing is deleted, nothing is mixed.
 * @throws TargetNotEmpty, TargetUnusable, SpaceLacking, UnsafePath, UsageError, Disproven
 */
export async function restore(backup: OpenBackup, request: RestoreRequest, run: RunContext): Promise<RestoreOutcome> {
  const target = resolve(request.target);
  const fingerprint = await fingerprintOf(backup);
  const indexPath = join(run.scratch, `restore-${INDEX}`);
  let created = false;
  let staging: string | null = null;
  try {
    const longest = await fetchIndex(backup, fingerprint, indexPath);
    const selection =
      request.only.length > 0 ? select(indexPath, fingerprint.entries, request.only, fingerprint.base) : null;
    created = await prepareTarget(target, request.overwrite);
    if (selection === null) await mustHaveRoom(target, spaceFor(fingerprint));
    staging = join(target, `.holdfast-restore-${process.pid}-${randomBytes(4).toString('hex')}`);
    const tooLong = tooLongBelow(staging, longest);
    if (tooLong !== null) throw new TargetUnusable(tooLong, { hint: 'restore into a directory with a shorter name' });
    await mkdir(staging, { mode: 0o700 });
    await unpackTree(backup, indexPath, selection, staging, run).catch(toldAsTarget(target));
    const differences = await compareTree(staging, indexPath, selection, run);
    if (differences.length > 0)
      throw new Disproven(`what was restored is not what was backed up: ${differences.slice(0, 5).join('; ')}`, {
        hint: 'nothing was put in its place; restore another backup, and prove this one',
      });
    const before = await switchOver(byteString(staging), byteString(target), indexPath, selection, run);
    created = false;
    return { target, verified: true, warnings: warningsOf(before) };
  } finally {
    if (staging) await removeTree(staging);
    if (created) await rmdir(target);
    await rm(indexPath, { force: true });
  }
}

function warningsOf(before: string | null): string[] {
  return [
    ...(before === null ? [] : [`what was there before is now in ${before}`]),
    ...(process.geteuid?.() === 0 ? [] : ['not run as root: everything belongs to this user now, not to its owner']),
  ];
}

/**
 * What `restore` would refuse before it changes anything.
 * @throws TargetNotEmpty, TargetUnusable, SpaceLacking, UnsafePath, UsageError
 */
export async function lookAtFilesTarget(backup: OpenBackup, request: RestoreRequest, run: RunContext): Promise<void> {
  const target = resolve(request.target);
  const fingerprint = await fingerprintOf(backup);
  if (request.only.length > 0) {
    const indexPath = join(run.scratch, `look-${INDEX}`);
    try {
      await fetchIndex(backup, fingerprint, indexPath);
      select(indexPath, fingerprint.entries, request.only, fingerprint.base);
    } finally {
      await rm(indexPath, { force: true });
    }
  }
  await examine(target, request.overwrite);
  await lookAtDirectory(target, request.only.length > 0 ? 0 : spaceFor(fingerprint));
}

/** Whether the target was made by this call. Sweeps what a killed restore left in it. */
async function prepareTarget(target: string, overwrite: boolean): Promise<boolean> {
  const { isThere, left } = await examine(target, overwrite);
  if (!isThere)
    await makeDirectory(target).catch((cause: unknown) => {
      throw unusableDirectory(target, cause);
    });
  for (const name of left) await removeTree(join(target, name));
  return !isThere;
}

interface Examined {
  readonly isThere: boolean;
  /** What killed restores left in it. */
  readonly left: readonly string[];
}

/** @throws TargetNotEmpty, TargetUnusable */
async function examine(target: string, overwrite: boolean): Promise<Examined> {
  let names: string[];
  try {
    const status = await stat(target);
    if (!status.isDirectory())
      throw new TargetUnusable(`${target} is not a directory`, { hint: 'give a directory to restore into' });
    names = await readdir(target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { isThere: false, left: [] };
    throw error instanceof TargetUnusable ? error : unusableDirectory(target, error);
  }
  const left: string[] = [];
  const others: string[] = [];
  for (const name of names) {
    const pid = STAGING.exec(name)?.[1];
    if (pid === undefined) others.push(name);
    else if (isAlive(Number(pid)))
      throw new TargetUnusable(`process ${pid} is restoring into ${target} at this moment`, {
        hint: `wait for it; if process ${pid} is something else, remove ${join(target, name)}`,
      });
    else left.push(name);
  }
  if (others.length > 0 && !overwrite)
    throw new TargetNotEmpty(
      `${target} is not empty: ${others.slice(0, 5).join(', ')}${others.length > 5 ? `, and ${others.length - 5} more` : ''}`,
      { hint: 'restore into a new directory, or give --overwrite: what is in the way is moved aside, not deleted' },
    );
  return { isThere: true, left };
}

function isAlive(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function toldAsTarget(target: string): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof CommandFailed)) throw error;
    if (/No space left on device|Disk quota exceeded/.test(error.stderr))
      throw new SpaceLacking(`no room left in ${target}: ${error.message}`, {
        hint: 'make room, or restore elsewhere',
        cause: error,
      });
    throw new TargetUnusable(`cannot unpack into ${target}: ${error.message}`, {
      hint: 'restore as root if it holds devices, onto a file system that can hold what is in it',
      cause: error,
    });
  };
}

/** Moves every unit to its place. Returns where the former ones went, or null when none was in the way. */
async function switchOver(
  staging: ByteString,
  target: ByteString,
  indexPath: string,
  selection: Selection | null,
  run: RunContext,
): Promise<string | null> {
  const aside = new Aside(target, compactTime(run.clock.now()));
  const parents = new Parents(staging, target);
  for (const unit of units(indexPath, selection)) {
    await parents.provide(unit);
    const place = joined(target, unit);
    if (await exists(place)) await aside.take(unit);
    await rename(fsPath(joined(staging, unit)), fsPath(place)).catch((error: unknown) => {
      throw new TargetUnusable(`cannot put ${shown(unit)} in its place: ${messageOf(error)}`, {
        hint: `what was put in its place before it stays; what was there lies in ${aside.where ?? 'its old place'}`,
        cause: error,
      });
    });
  }
  await parents.setTimes();
  return aside.where;
}

/** What is moved as one: listed paths, or the uppermost chosen ones. Of `/` itself, what lies directly in it. */
function* units(indexPath: string, selection: Selection | null): Generator<ByteString> {
  let inside: ByteString | null = null;
  let ordinal = 0;
  for (const entry of readIndex(indexPath)) {
    const chosen = selection ? selection.chosen(ordinal) : !entry.way;
    ordinal++;
    if (!chosen || entry.path === '.' || (inside !== null && entry.path.startsWith(inside))) continue;
    yield entry.path;
    inside = entry.kind === 'dir' ? `${entry.path}/` : null;
  }
}

async function exists(path: ByteString): Promise<boolean> {
  try {
    await lstat(fsPath(path));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Directory beside the target for what was in the way. */
class Aside {
  readonly #target: ByteString;
  readonly #stamp: string;
  #folder: ByteString | null = null;

  constructor(target: ByteString, stamp: string) {
    this.#target = target;
    this.#stamp = stamp;
  }

  get where(): string | null {
    return this.#folder === null ? null : shown(this.#folder);
  }

  async take(unit: ByteString): Promise<void> {
    this.#folder ??= await this.#make();
    const to = joined(this.#folder, unit);
    await mkdir(fsPath(to.slice(0, to.lastIndexOf('/'))), { recursive: true, mode: 0o700 });
    await rename(fsPath(joined(this.#target, unit)), fsPath(to)).catch((error: unknown) => {
      throw new TargetUnusable(`cannot move ${shown(unit)} aside: ${messageOf(error)}`, {
        hint: 'is it a mount point? Restore elsewhere and copy',
        cause: error,
      });
    });
  }

  /** In the target itself when that is a mount point, for renaming does not cross file systems. */
  async #make(): Promise<ByteString> {
    const parent = dirname(this.#target) as ByteString;
    const crosses = lstatSync(fsPath(parent)).dev !== lstatSync(fsPath(`${this.#target}/.`)).dev;
    const wanted = crosses
      ? joined(this.#target, `.before-${this.#stamp}`)
      : `${joined(parent, basename(this.#target))}.before-${this.#stamp}`;
    // Small trees are restored twice in a second.
    for (let number = 1; ; number++) {
      const folder = number === 1 ? wanted : `${wanted}.${number}`;
      try {
        await mkdir(fsPath(folder), { mode: 0o700 });
        return folder;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
    }
  }
}

/** Directories on the way to a unit. Those that are missing are made as they were on the source. */
class Parents {
  readonly #staging: ByteString;
  readonly #target: ByteString;
  #known = '';
  readonly #made: ByteString[] = [];

  constructor(staging: ByteString, target: ByteString) {
    this.#staging = staging;
    this.#target = target;
  }

  /** @throws UnsafePath a symbolic link stands where a directory should: writing would leave the target */
  async provide(unit: ByteString): Promise<void> {
    const parent = unit.slice(0, Math.max(unit.lastIndexOf('/'), 0));
    if (parent === this.#known) return;
    let path = '';
    for (const part of parent.split('/').filter(Boolean)) {
      path = joined(path, part);
      const place = joined(this.#target, path);
      try {
        const status = await lstat(fsPath(place));
        if (status.isDirectory()) continue;
        throw new UnsafePath(
          `${shown(place)} is not a directory${status.isSymbolicLink() ? ' but a symbolic link' : ''}`,
          {
            hint: 'restoring through it would leave the target; move it away, or restore into a new directory',
          },
        );
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
      await mkdir(fsPath(place), { mode: 0o700 });
      const was = await lstat(fsPath(joined(this.#staging, path)));
      await lchown(fsPath(place), was.uid, was.gid);
      await chmod(fsPath(place), was.mode & 0o7777);
      this.#made.push(path);
    }
    this.#known = parent;
  }

  /** Last, because what was moved in has changed them. Nanoseconds are beyond what Node can set. */
  async setTimes(): Promise<void> {
    for (const path of this.#made.toReversed()) {
      const was = await lstat(fsPath(joined(this.#staging, path)));
      await utimes(fsPath(joined(this.#target, path)), was.atimeMs / 1000, was.mtimeMs / 1000);
    }
  }
}
