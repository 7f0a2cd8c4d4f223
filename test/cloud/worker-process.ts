import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { childrenIn, commandOf } from '#test/cli/children';

export interface EndedTask {
  readonly code: number | null;
  readonly said: string;
  /** From the signal to its end; 0 when there was none. */
  readonly seconds: number;
  /** The most memory that the process itself ever had, in bytes. */
  readonly peak: number;
}

export interface TaskPlace {
  /** The very files of the image (`writeWorkerContext`). */
  readonly image: string;
  readonly scratch: string;
}

const LOOK_MILLISECONDS = 20;

/**
 * One task: the bundle under a process of its own, with the environment that ECS gives.
 * @param stopWhen SIGTERM as soon as it holds; asked with what the task has said
 */
export async function runTask(
  { image, scratch }: TaskPlace,
  environment: Readonly<Record<string, string>>,
  stopWhen?: (said: string) => boolean,
): Promise<EndedTask> {
  const child = spawn(process.execPath, ['--max-semi-space-size=2', join(image, 'worker.mjs')], {
    cwd: scratch,
    env: {
      PATH: process.env['PATH'],
      ...{ HOLDFAST_SCRATCH: scratch, TMPDIR: scratch, HOME: scratch },
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let said = '';
  for (const output of [child.stdout, child.stderr])
    output.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  let toldAt = 0;
  let peak = 0;
  const timer = setInterval(() => {
    peak = Math.max(peak, peakOf(child.pid));
    if (toldAt > 0 || !stopWhen?.(said)) return;
    toldAt = performance.now();
    child.kill('SIGTERM');
  }, LOOK_MILLISECONDS);
  const code = await new Promise<number | null>((done) => child.once('close', done));
  clearInterval(timer);
  return { code, said, peak, seconds: toldAt === 0 ? 0 : (performance.now() - toldAt) / 1000 };
}

/** What is left of runs on their disk, and of their children: two empty lists. */
export function leftIn(scratch: string): readonly string[] {
  const files = readdirSync(scratch, { recursive: true }).filter((name) => !/^holdfast-\d+$/.test(String(name)));
  return [...files.map(String), ...childrenIn(scratch).map(commandOf)];
}

function peakOf(pid: number | undefined): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  } catch (error) {
    // It has just ended.
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return 0;
    throw error;
  }
}
