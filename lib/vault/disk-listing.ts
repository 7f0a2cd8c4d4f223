import { type Dirent, readdirSync, realpathSync, statSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { UnsafePath } from '#core/errors';
import type { VaultEntry } from '#core/ports';
import { isErrno } from '#vault/disk-errors';
import { isListedName } from '#vault/keys';

/**
 * Reading a vault's tree. Synchronous calls on purpose: on a directory of ten thousand backups they are ten times as
 * fast as promises, and each blocks for microseconds.
 */

/**
 * All files below `folder` whose keys begin with `folder` + `beginning` and come after `after`, in byte order of keys.
 * @param folder `` or a key with a slash at its end
 */
export function* walk(root: string, folder: string, beginning: string, after: string): Generator<VaultEntry> {
  for (const { name, directory } of sortedNames(root, folder)) {
    const key = `${folder}${name}`;
    if (!name.startsWith(beginning)) continue;
    if (directory) {
      // All keys below come before `after` unless it leads into this very folder.
      if (`${key}/` > after || after.startsWith(`${key}/`)) yield* walk(root, `${key}/`, '', after);
    } else if (key > after) {
      const stat = statOrGone(join(root, key));
      if (stat) yield { key, bytes: stat.size, modified: stat.mtime };
    }
  }
}

/** The next so many, or as many as are left. */
export function take(entries: Iterator<VaultEntry>, atMost: number): VaultEntry[] {
  const taken: VaultEntry[] = [];
  while (taken.length < atMost) {
    const next = entries.next();
    if (next.done) break;
    taken.push(next.value);
  }
  return taken;
}

/** Whether any file that a listing would tell lies below. */
export function holdsFile(root: string, folder: string): boolean {
  return !walk(root, folder, '', '').next().done;
}

interface Name {
  readonly name: string;
  readonly directory: boolean;
}

/** Visible names in the folder; a directory sorts as if the slash were part of its name, as in S3. Nothing when it is not there. */
export function sortedNames(root: string, folder: string): Name[] {
  const orderOf = ({ name, directory }: Name): string => (directory ? `${name}/` : name);
  return namesIn(root, folder)
    .map((entry) => ({ ...entry, order: orderOf(entry) }))
    .sort((a, b) => (a.order < b.order ? -1 : a.order > b.order ? 1 : 0));
}

/** The same in no order: a ledger's folder has tens of thousands, of which only the highest is wanted. */
export function namesIn(root: string, folder: string): Name[] {
  let found: Dirent[];
  try {
    found = readdirSync(join(root, folder), { withFileTypes: true });
  } catch (error) {
    // Another process may remove an emptied folder at any time.
    if (isErrno(error) && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return [];
    throw error;
  }
  return found
    .filter((entry) => isListedName(entry.name))
    .map((entry) => ({ name: entry.name, directory: isDirectory(root, `${folder}${entry.name}`, entry) }));
}

/**
 * Follows symbolic links inside the vault only.
 * @throws UnsafePath
 */
export function refuseWayOut(root: string, key: string): void {
  const path = join(root, key);
  const real = realpathSync.native(path);
  // No link anywhere on the way: nobody need ask where the root lies.
  if (real === path) return;
  const inside = realpathSync.native(root);
  if (real !== inside && !real.startsWith(inside === sep ? sep : inside + sep))
    throw new UnsafePath(`${path} is a symbolic link out of the vault, to ${real}`, {
      hint: 'remove the link; a vault holds its own bytes',
    });
}

/** The same for a folder that may not be there yet: what of it is there must not lead out. */
export function refuseWayOutAbove(root: string, folder: string): void {
  for (let key = folder; ; key = dirname(key)) {
    try {
      refuseWayOut(root, key);
      return;
    } catch (error) {
      if (!isErrno(error) || error.code !== 'ENOENT' || key === '.') throw error;
    }
  }
}

function isDirectory(root: string, key: string, entry: Dirent): boolean {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  try {
    refuseWayOut(root, key);
    return statSync(join(root, key)).isDirectory();
  } catch (error) {
    if (!isErrno(error) || error.code !== 'ENOENT') throw error;
    throw new UnsafePath(`${join(root, key)} is a symbolic link to nowhere`, { hint: 'remove the link' });
  }
}

function statOrGone(path: string): { size: number; mtime: Date } | null {
  try {
    return statSync(path);
  } catch (error) {
    if (isErrno(error) && error.code === 'ENOENT') return null;
    throw error;
  }
}
