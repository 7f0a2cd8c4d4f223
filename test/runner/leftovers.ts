import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Leftover {
  readonly pid: number;
  readonly command: string;
}

/** How long a process may take to end by itself after its test file did. */
const GRACE_MILLISECONDS = 3000;

/**
 * Processes that carry `mark` (a directory of the run, or `NAME=value`) in their environment, command line or working
 * directory. Holdfast gives its children a small environment, so no single one of the three finds them all.
 */
function processesWith(mark: string): Leftover[] {
  if (!existsSync('/proc/self/environ')) return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      const command = read(() => readFileSync(`/proc/${name}/cmdline`, 'utf8'));
      const seen = [
        command,
        read(() => readFileSync(`/proc/${name}/environ`, 'utf8')),
        `${read(() => readlinkSync(`/proc/${name}/cwd`))}/`,
      ];
      if (!seen.some((text) => text.includes(mark))) return [];
      return [{ pid: Number(name), command: command.replaceAll('\0', ' ').trim().slice(0, 300) }];
    });
}

/** Waits a little for them to go, ends what does not, and says what that was. */
export async function endLeftovers(mark: string, grace = GRACE_MILLISECONDS): Promise<readonly Leftover[]> {
  const until = Date.now() + grace;
  let left = processesWith(mark);
  while (left.length > 0 && Date.now() < until) {
    await sleep(50);
    left = processesWith(mark);
  }
  const found = left;
  // A server's master starts new children as long as it lives.
  for (let round = 0; left.length > 0 && round < 20; round++) {
    for (const { pid } of left) kill(pid);
    await sleep(50);
    left = processesWith(mark);
  }
  return found;
}

/** Empty for a process that has ended meanwhile or belongs to another user. */
function read(what: () => string): string {
  try {
    return what();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES' || code === 'EPERM') return '';
    throw error;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
