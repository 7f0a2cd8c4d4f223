import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { endLeftovers } from '#test/runner/leftovers';
import type { Line } from '#test/runner/reporter';

export interface Failure {
  readonly title: string;
  readonly error: string;
}

export interface FileResult {
  readonly file: string;
  readonly passed: number;
  readonly failures: readonly Failure[];
  readonly seconds: number;
  /** What the file itself printed: the last 200 lines. */
  readonly output: string;
}

export interface FileOptions {
  /** Directory of this file's run alone; made, and removed at the end. Short: sockets lie in it. */
  readonly dir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly timeoutSeconds: number;
  readonly signal?: AbortSignal;
}

const REPORTER = join(import.meta.dirname, 'reporter.ts');

/** Runs one test file in a process of its own. Whatever goes wrong is a failure with a name; it throws for nothing a test does. */
export async function runTestFile(file: string, options: FileOptions): Promise<FileResult> {
  const { dir } = options;
  const path = (name: string): string => join(dir, name);
  mkdirSync(dir, { recursive: true });
  for (const name of ['tmp', 'state', 'scratch', 'home']) mkdirSync(path(name), { mode: 0o700 });
  // Servers that do not run as root come and go here too.
  chmodSync(dir, 0o711);
  chmodSync(path('tmp'), 0o1777);

  const began = performance.now();
  const output = openSync(path('output'), 'a');
  const child = spawn(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      `--test-reporter=${REPORTER}`,
      `--test-reporter-destination=${path('lines')}`,
      file,
    ],
    {
      env: {
        ...options.env,
        TMPDIR: path('tmp'),
        HOLDFAST_STATE: path('state'),
        HOLDFAST_SCRATCH: path('scratch'),
        // What its owner keeps there (.aws, .curlrc, .gnupg, .pgpass, .psqlrc) is nothing that a test may stand on.
        HOME: path('home'),
      },
      stdio: ['ignore', output, output],
      // A group of its own, so that a file that hangs can be ended with all that it started.
      detached: true,
    },
  );
  closeSync(output);
  const endGroup = (): void => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      process.kill(-child.pid, 'SIGKILL');
    }
  };
  const timer = new AbortController();
  let timedOut = false;
  sleep(options.timeoutSeconds * 1000, null, { signal: timer.signal }).then(
    () => {
      timedOut = true;
      endGroup();
    },
    () => undefined,
  );
  options.signal?.addEventListener('abort', endGroup);
  const [code, killedBy] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  timer.abort();
  options.signal?.removeEventListener('abort', endGroup);
  const seconds = (performance.now() - began) / 1000;

  const lines = readLines(path('lines'));
  const failures: Failure[] = lines.flatMap((line) =>
    line.kind === 'failed'
      ? [{ title: line.title, error: line.error }]
      : line.kind === 'skipped'
        ? [{ title: line.title, error: 'SKIPPED: a test that does not run proves nothing, so it counts as failed' }]
        : [],
  );
  const passed = lines.filter((line) => line.kind === 'passed').length;
  const whole = lines.some((line) => line.kind === 'end');
  const last = lines.findLast((line) => line.kind === 'began');
  const during = last ? `; the last test that began: ${last.title}` : '';
  if (timedOut) {
    failures.push({ title: 'time limit', error: `did not end within ${options.timeoutSeconds} s${during}` });
  } else if (code !== 0 && failures.length === 0) {
    failures.push({ title: 'the file itself', error: `ended with ${killedBy ?? `exit code ${code}`}${during}` });
  } else if (!whole && code === 0 && lines.length > 0) {
    failures.push({ title: 'the file itself', error: `ended before its tests did${during}` });
  } else if (code === 0 && passed + failures.length === 0) {
    failures.push({ title: 'the file itself', error: 'no test ran in it' });
  }
  // The process is gone, so what still carries its directory was forgotten.
  for (const { pid, command } of await endLeftovers(`${dir}/`)) {
    failures.push({ title: 'left behind', error: `process ${pid} was still running: ${command}` });
  }
  const forgotten = readdirSync(path('tmp'));
  if (forgotten.length > 0 && !timedOut) {
    failures.push({ title: 'left behind', error: `in the temporary directory: ${forgotten.slice(0, 20).join(', ')}` });
  }
  const printed = readFileSync(path('output'), 'utf8').trimEnd().split('\n').slice(-200).join('\n');
  rmSync(dir, { recursive: true, force: true });
  return { file, passed, failures, seconds, output: printed };
}

function readLines(path: string): Line[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    // Node makes the file with the first event; a file that dies while loading has none.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return [];
  }
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);
}
