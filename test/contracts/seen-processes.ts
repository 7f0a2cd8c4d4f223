import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

export interface SeenProcess {
  readonly pid: number;
  readonly args: readonly string[];
}

/**
 * Living processes that descend from this one, or whose arguments name `path` (a server that left its parent).
 * Zombies are not alive.
 */
export function livingProcesses(path: string): readonly SeenProcess[] {
  const all = new Map<number, { parent: number; args: readonly string[] }>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (state === 'Z' || state === 'X') continue;
      const args = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0').filter(Boolean);
      all.set(Number(name), { parent: Number(parent), args });
    } catch (error) {
      // It ended between the listing and the reading.
      if (!['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
  const descends = (pid: number): boolean => {
    for (let at = all.get(pid); at; at = all.get(at.parent)) if (at.parent === process.pid) return true;
    return false;
  };
  return [...all]
    .filter(([pid, { args }]) => pid !== process.pid && (descends(pid) || args.some((arg) => arg.includes(path))))
    .map(([pid, { args }]) => ({ pid, args }));
}

/** Those of `livingProcesses` that were not there `before`; waits up to `patience` milliseconds for them to go. */
export async function newProcesses(
  path: string,
  before: readonly SeenProcess[],
  patience = 15_000,
): Promise<readonly SeenProcess[]> {
  const known = new Set(before.map(({ pid }) => pid));
  for (const end = Date.now() + patience; ; await wait(25)) {
    const now = livingProcesses(path).filter(({ pid }) => !known.has(pid));
    if (now.length === 0 || Date.now() > end) return now;
  }
}

/** Waits until a process lives that was not there `before`, at most `patience` milliseconds. */
export async function firstProcess(path: string, before: readonly SeenProcess[], patience = 1000): Promise<void> {
  const known = new Set(before.map(({ pid }) => pid));
  for (const end = Date.now() + patience; Date.now() < end; await wait(1))
    if (livingProcesses(path).some(({ pid }) => !known.has(pid))) return;
}

/** Watches the arguments of all children until `stop`, which returns every argument list that was seen. */
export function watchArguments(path: string): { saw(part: string): boolean; stop(): readonly string[] } {
  const seen = new Set<string>();
  const look = (): void => {
    for (const { args } of livingProcesses(path)) seen.add(args.join(' '));
  };
  const timer = setInterval(look, 5);
  return {
    saw: (part) => [...seen].some((args) => args.includes(part)),
    stop() {
      clearInterval(timer);
      look();
      return [...seen];
    },
  };
}
