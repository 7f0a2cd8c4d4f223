import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export interface OtherProcess {
  readonly pid: number;
  /** SIGKILL: it gets no chance to tidy up. */
  kill(): Promise<void>;
}

export const WRITER = new URL('writer.ts', import.meta.url);
export const LOCKER = new URL('locker.ts', import.meta.url);
export const CAPTURER = new URL('capturer.ts', import.meta.url);

/** Starts a script and waits until it says `ready`. */
export async function startScript(url: URL, ...args: readonly string[]): Promise<OtherProcess> {
  const script = fileURLToPath(url);
  const child: ChildProcess = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', script, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  const [first] = await Promise.race([
    once(child.stdout as NonNullable<typeof child.stdout>, 'data'),
    ended.then(() => ['']),
  ]);
  if (!String(first).startsWith('ready')) throw new Error(`${script} did not get ready`);
  return {
    pid: child.pid as number,
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
