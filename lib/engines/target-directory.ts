import { constants } from 'node:fs';
import { access, mkdir, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { messageOf, SpaceLacking, TargetUnusable } from '#core/errors';

/**
 * Makes a directory and those it lies in. Node's own `recursive` never ends below one that takes no directories and
 * says ENOENT, such as /proc. Throws as `mkdir` does.
 */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && (await isDirectory(path))) return;
    if (code !== 'ENOENT' || (await isDirectory(dirname(path)))) throw error;
    await makeDirectory(dirname(path));
    await makeDirectory(path);
  }
}

/**
 * Looks whether something may be restored into a directory that need not be there; changes nothing.
 * @param bytes what it will take
 * @throws TargetUnusable, SpaceLacking
 */
export async function lookAtDirectory(path: string, bytes: number): Promise<void> {
  const nearest = await nearestDirectory(path);
  try {
    await access(nearest, constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw unusableDirectory(path, cause);
  }
  await mustHaveRoom(nearest, bytes);
}

/** @throws SpaceLacking */
export async function mustHaveRoom(folder: string, needed: number): Promise<void> {
  const free = await freeSpace(folder);
  if (free < needed)
    throw new SpaceLacking(`the restore needs ${needed} bytes in ${folder}, which has ${free} free`, {
      hint: 'make room, or restore elsewhere',
    });
}

/** Bytes that this user may still write there. */
export async function freeSpace(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

export function unusableDirectory(path: string, cause: unknown): TargetUnusable {
  return new TargetUnusable(`cannot restore into ${path}: ${messageOf(cause)}`, {
    hint: 'give a directory that this user may write to',
    cause,
  });
}

/** What is missing of the path would be made in it. */
async function nearestDirectory(path: string): Promise<string> {
  try {
    if ((await stat(path)).isDirectory()) return path;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw unusableDirectory(path, error);
    return nearestDirectory(dirname(path));
  }
  throw new TargetUnusable(`${path} is not a directory`, { hint: 'give a directory to restore into' });
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
