import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { Busy, messageOf, UsageError } from '#core/errors';
import { sha256Hex } from '#core/manifest';
import { isGone, thisHolder } from '#host/holder';
import { stateFolder } from '#host/intents';

/**
 * One `serve` a plan on one machine: a file in the state folder that names its holder. Between machines the leases in
 * the vaults decide, run by run.
 */

const lockSchema = z.object({
  host: z.string(),
  pid: z.int(),
  start: z.string().nullable(),
  boot: z.string().nullable(),
  namespace: z.string().nullable(),
  plan: z.string(),
});

/**
 * @param path the plan's, absolute
 * @returns what gives it back
 * @throws Busy another `serve` of this plan lives here
 */
export async function holdServeLock(
  environment: Readonly<Record<string, string | undefined>>,
  path: string,
): Promise<() => Promise<void>> {
  const folder = stateFolder(environment);
  const file = join(folder, `serve-${sha256Hex(path).slice(0, 16)}.json`);
  const body = JSON.stringify({ ...thisHolder(), plan: path });
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    // Twice: the first time the lock of a process that has ended may lie there.
    for (let attempt = 0; attempt < 2; attempt++) {
      if (await created(file, body)) return () => rm(file, { force: true });
      await removeIfLeft(file, path);
    }
  } catch (cause) {
    if (cause instanceof Busy) throw cause;
    throw new UsageError(`cannot note in ${folder} that serve runs: ${messageOf(cause)}`, {
      cause,
      hint: 'name a directory that you may write to: HOLDFAST_STATE=DIRECTORY',
    });
  }
  throw busy(path, 'another process, just now', file);
}

async function created(file: string, body: string): Promise<boolean> {
  try {
    const handle = await open(file, 'wx', 0o600);
    try {
      await handle.writeFile(body);
    } finally {
      await handle.close();
    }
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function removeIfLeft(file: string, path: string): Promise<void> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const holder = lockSchema.safeParse(parsed(text));
  if (!holder.success) throw busy(path, 'somebody whose note cannot be read', file);
  const here = thisHolder();
  // The folder is this machine's own: a note of another boot is of a process that has ended.
  const otherBoot = holder.data.boot !== null && here.boot !== null && holder.data.boot !== here.boot;
  if (!otherBoot && !isGone(holder.data)) throw busy(path, `process ${holder.data.pid} on ${holder.data.host}`, file);
  await rm(file, { force: true });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function busy(path: string, who: string, file: string): Busy {
  return new Busy(`holdfast serve of ${path} is running already: ${who}`, {
    hint: `end that one first; if it has ended, remove ${file}`,
  });
}
