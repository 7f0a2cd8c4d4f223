import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import * as z from 'zod';
import { HookFailed, messageOf } from '#core/errors';
import { isGone, thisHolder } from '#host/holder';
import { createProcesses } from '#host/processes';
import type { Intent, Intents } from '#jobs/hooks';
import type { Holder } from '#vault/lease';

/**
 * One file for each intent: `<state>/intents/<plan>/<id>.json`, mode 0600, where `<state>` is `$HOLDFAST_STATE`, else
 * `/var/lib/holdfast` for root, else `$XDG_STATE_HOME/holdfast`, else `~/.local/state/holdfast`.
 */

const recordSchema = z.strictObject({
  source: z.string(),
  after: z.array(z.string()),
  directory: z.string(),
  writtenAt: z.string(),
  holder: z.strictObject({
    host: z.string(),
    pid: z.int(),
    start: z.string().nullable(),
    boot: z.string().nullable(),
    namespace: z.string().nullable(),
  }),
});

/** Files of intents that this process is about to carry out: a process that goes on after its runs, as `serve`, has others too. */
const held = new Set<string>();

/** @param directory the plan's; hooks run there */
export function fileIntents(
  environment: Readonly<Record<string, string | undefined>>,
  plan: string,
  directory: string,
): Intents {
  const folder = join(stateFolder(environment), 'intents', plan);
  return {
    directory,
    processes: createProcesses(environment, new AbortController().signal, null),
    async write(source, after, now) {
      const id = `${source}-${now.getTime()}-${randomBytes(4).toString('hex')}`;
      const file = join(folder, `${id}.json`);
      const record = { source, after: [...after], directory, writtenAt: now.toISOString(), holder: thisHolder() };
      try {
        await mkdir(folder, { recursive: true, mode: 0o700 });
        await writeDurably(folder, file, record);
      } catch (error) {
        throw new HookFailed(`cannot note the \`after\` commands of ${source} in ${folder}: ${messageOf(error)}`, {
          source,
          hint: 'give a directory that survives a restart by HOLDFAST_STATE; without the note, a killed run would leave things stopped',
          cause: error,
        });
      }
      held.add(file);
      return { id, source, after, directory, writtenAt: record.writtenAt, file };
    },
    async remove(intent) {
      await rm(intent.file, { force: true });
      await syncFolder(folder);
      held.delete(intent.file);
    },
    leave(intent) {
      held.delete(intent.file);
    },
    async takeLeft() {
      const left: Intent[] = [];
      const others: string[] = [];
      for (const name of await namesIn(folder)) {
        if (!name.endsWith('.json')) continue;
        const file = join(folder, name);
        const record = await readRecord(file);
        if (record === 'gone') continue;
        if (record === 'damaged') {
          others.push(`${file} notes \`after\` commands and cannot be read: run them by hand, then remove it`);
          continue;
        }
        const fate = fateOf(record.holder, held.has(file));
        if (fate === 'unknown')
          others.push(
            `${file} notes \`after\` commands of ${record.source} for process ${record.holder.pid} on ${record.holder.host}, which cannot be seen from here: if it has ended, run ${record.after.map((command) => `\`${command}\``).join(', ')} and remove the file`,
          );
        if (fate !== 'ended') continue;
        // Two runs may see the same note; renaming it succeeds for one of them.
        const id = `${record.source}-${Date.parse(record.writtenAt)}-${randomBytes(4).toString('hex')}`;
        const mine = join(folder, `${id}.json`);
        if (!(await renamed(file, mine))) continue;
        await writeDurably(folder, mine, { ...record, holder: thisHolder() });
        held.add(mine);
        const { source, after, writtenAt } = record;
        left.push({ id, source, after, directory: record.directory, writtenAt, file: mine });
      }
      return { left, others };
    },
  };
}

export function stateFolder(environment: Readonly<Record<string, string | undefined>>): string {
  if (environment['HOLDFAST_STATE']) return environment['HOLDFAST_STATE'];
  if (process.getuid?.() === 0) return '/var/lib/holdfast';
  const home = environment['HOME'] || homedir();
  return join(environment['XDG_STATE_HOME'] || join(home, '.local', 'state'), 'holdfast');
}

/** The notes lie on this machine's own disk, so one of another boot is of a process that has ended. */
function fateOf(holder: Holder, isHeld: boolean): 'lives' | 'ended' | 'unknown' {
  const here = thisHolder();
  if (holder.pid === here.pid && holder.start === here.start && holder.namespace === here.namespace)
    return isHeld ? 'lives' : 'ended';
  if (holder.boot !== null && here.boot !== null && holder.boot !== here.boot) return 'ended';
  if (isGone(holder)) return 'ended';
  if (holder.start === null || holder.boot === null) return alive(holder.pid) ? 'lives' : 'ended';
  return holder.host === here.host && holder.namespace === here.namespace ? 'lives' : 'unknown';
}

/** Where there is no /proc: a pid that was given to another process since is taken for the old one. */
function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function readRecord(file: string): Promise<z.output<typeof recordSchema> | 'gone' | 'damaged'> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'gone';
    throw error;
  }
  try {
    return recordSchema.parse(JSON.parse(text));
  } catch {
    return 'damaged';
  }
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

async function renamed(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Whole or not at all, and still there after the power was cut. */
async function writeDurably(folder: string, file: string, record: z.output<typeof recordSchema>): Promise<void> {
  const temporary = `${file}.part`;
  const handle = await open(temporary, 'w', 0o600);
  try {
    await handle.writeFile(JSON.stringify(record));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
  await syncFolder(folder);
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
