import { randomBytes } from 'node:crypto';
import type { Dirent, Stats } from 'node:fs';
import { chmod, lstat, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import * as z from 'zod';
import { messageOf, SpaceLacking, UnsafePath, UsageError } from '#core/errors';
import { removeTree } from '#engines/files/remove-tree';
import { isGone, thisHolder } from '#host/holder';
import { processStart } from '#host/processes';
import type { Holder } from '#vault/lease';

/**
 * Where a run's plaintext lies: `<parent>/holdfast-<uid>/run-<pid>-<start>-<random>`. The run's directory has mode
 * 0700. An engine whose server refuses to run as root (PostgreSQL) opens it to 0711, to give that server's user a way
 * to a directory of its own; so the base has 0711 already, which lets nobody list it, and the name 64 random bits.
 */

/** Left by a run that cannot be asked for here (another machine or container): removed when nobody has touched it for so long. */
const ABANDONED_MILLISECONDS = 7 * 24 * 3600 * 1000;
const KILL_WAIT_MILLISECONDS = 5000;

const OWNER_FILE = 'owner.json';
const ownerSchema = z.strictObject({
  host: z.string(),
  pid: z.int(),
  start: z.string().nullable(),
  boot: z.string().nullable(),
  namespace: z.string().nullable(),
});

export interface Scratch {
  readonly path: string;
  /** What runs that were killed had left: removed, or why not. For the log. */
  readonly swept: readonly string[];
  /** Removes it. */
  close(): Promise<void>;
}

/**
 * Makes a run's scratch directory, after removing what killed runs have left, their servers included.
 * @param environment `HOLDFAST_SCRATCH` or `TMPDIR` name the parent; else `/var/tmp`, which is a disk where `/tmp` may be memory
 * @throws UnsafePath somebody else could read or replace it
 * @throws UsageError the parent is not a directory that can be written to
 */
export async function openScratch(environment: Readonly<Record<string, string | undefined>>): Promise<Scratch> {
  const base = await openBase(environment);
  const swept = await sweep(base);
  const holder = thisHolder();
  const path = join(base, `run-${holder.pid}-${holder.start ?? '0'}-${randomBytes(8).toString('hex')}`);
  try {
    await mkdir(path, { mode: 0o700 });
    await writeFile(join(path, OWNER_FILE), JSON.stringify(holder), { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOSPC') throw unusable(base, cause);
    throw new SpaceLacking(`no room for a scratch directory in ${base}`, {
      cause,
      hint: 'free some space, or name another place with HOLDFAST_SCRATCH=DIRECTORY',
    });
  }
  return { path, swept, close: () => removeTree(path) };
}

async function openBase(environment: Readonly<Record<string, string | undefined>>): Promise<string> {
  const parent = resolve(environment['HOLDFAST_SCRATCH'] || environment['TMPDIR'] || '/var/tmp');
  const uid = process.getuid?.() ?? 0;
  const base = join(parent, `holdfast-${uid}`);
  let found: Stats;
  try {
    const above = await stat(parent);
    if ((above.mode & 0o002) !== 0 && (above.mode & 0o1000) === 0)
      throw new UnsafePath(`${parent} may be written to by everybody, and has no sticky bit (mode 1777)`, {
        hint: 'name another parent for scratch directories: HOLDFAST_SCRATCH=DIRECTORY',
      });
    await mkdir(base, { mode: 0o711 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    found = await lstat(base);
  } catch (cause) {
    if (cause instanceof UnsafePath) throw cause;
    throw unusable(parent, cause);
  }
  if (!found.isDirectory() || found.uid !== uid)
    throw new UnsafePath(
      `${base} is ${found.isDirectory() ? `owned by uid ${found.uid}, not by ${uid}` : 'not a directory'}: somebody else put it there`,
      { hint: `look at it and remove it, or name another parent: HOLDFAST_SCRATCH=DIRECTORY` },
    );
  if ((found.mode & 0o777) !== 0o711) await chmod(base, 0o711);
  return base;
}

function unusable(place: string, cause: unknown): UsageError {
  return new UsageError(`no scratch directory can be made in ${place}: ${messageOf(cause)}`, {
    cause,
    hint: 'name a directory that exists and that you may write to: HOLDFAST_SCRATCH=DIRECTORY',
  });
}

/** What cannot be removed is said, and does not stop the run: the next one tries again. */
async function sweep(base: string): Promise<readonly string[]> {
  const swept: string[] = [];
  for (const entry of await readdir(base, { withFileTypes: true })) {
    const path = join(base, entry.name);
    try {
      if (!(await isLeftOver(entry, path))) continue;
      const killed = await endServices(path);
      await removeTree(path);
      swept.push(
        `removed what a killed run had left in ${path}${killed.length > 0 ? `, and ended its processes ${killed.join(', ')}` : ''}`,
      );
    } catch (error) {
      // Another run may be sweeping at this moment.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        swept.push(`could not remove what a killed run had left in ${path}: ${messageOf(error)}`);
    }
  }
  return swept;
}

async function isLeftOver(entry: Dirent, path: string): Promise<boolean> {
  const named = /^run-(\d+)-(\d+)-[0-9a-f]{16}$/.exec(entry.name);
  if (!named || !entry.isDirectory()) return false;
  const owner = await ownerOf(path);
  // Killed between making the directory and signing it: its name must do.
  if (!owner) return named[2] !== '0' && processStart(Number(named[1])) !== named[2] && (await isOld(path, 60_000));
  if (isGone(owner)) return true;
  const here = thisHolder();
  // The machine was started anew since, so nothing of that run lives.
  if (owner.host === here.host && owner.boot !== null && here.boot !== null && owner.boot !== here.boot) return true;
  const tellable = owner.start !== null && owner.boot === here.boot && owner.namespace === here.namespace;
  return !tellable && (await isOld(path, ABANDONED_MILLISECONDS));
}

async function ownerOf(path: string): Promise<Holder | null> {
  let text: string;
  try {
    text = await readFile(join(path, OWNER_FILE), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    const owner = ownerSchema.safeParse(JSON.parse(text));
    return owner.success ? owner.data : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

async function isOld(path: string, milliseconds: number): Promise<boolean> {
  return Date.now() - (await stat(path)).mtimeMs > milliseconds;
}

/**
 * Ends servers that outlived their run. Only where the start time still fits: pids are given out again. SIGKILL,
 * because nothing in a scratch directory is worth a clean end, and a PostgreSQL told to end nicely waits for its clients.
 */
async function endServices(path: string): Promise<readonly number[]> {
  let notes: string[];
  try {
    notes = await readdir(join(path, 'pids'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const killed: number[] = [];
  for (const name of notes.filter((note) => /^\d+$/.test(note))) {
    const pid = Number(name);
    const start = (await readFile(join(path, 'pids', name), 'utf8')).trim();
    if (start === '' || processStart(pid) !== start) continue;
    process.kill(pid, 'SIGKILL');
    killed.push(pid);
    const until = Date.now() + KILL_WAIT_MILLISECONDS;
    while (processStart(pid) === start && Date.now() < until) await wait(20);
  }
  return killed;
}

/** A server that is just ending may still be writing, hence the repetitions. */
