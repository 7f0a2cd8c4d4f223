import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import type { DeployedFunction } from '#test/cloud/deployment';
import { keysOf } from '#test/servers/credentials-stand-in';

export interface FunctionCall {
  readonly event: unknown;
  readonly requestId: string;
  readonly seconds: number;
  /** Of its clock, in milliseconds. */
  readonly shift: number;
}

export interface FunctionAnswer {
  readonly result: unknown;
  readonly error: string | null;
}

interface Warm {
  readonly child: ChildProcess;
  readonly directory: string;
  busy: boolean;
}

const RUNNER = new URL('./function-runner.ts', import.meta.url).pathname;

/**
 * Runs functions as Lambda does: each with exactly the environment that its template gives it and its role's
 * credentials, one call at a time in each process, and a process that is idle is used again.
 */
export class FunctionProcesses {
  readonly #warm = new Map<string, Warm[]>();
  readonly #surroundings: () => Readonly<Record<string, string>>;
  readonly #said: (line: string) => void;

  constructor(surroundings: () => Readonly<Record<string, string>>, said: (line: string) => void) {
    this.#surroundings = surroundings;
    this.#said = said;
  }

  async run(deployed: DeployedFunction, event: unknown, requestId: string, shift: number): Promise<unknown> {
    const one = this.#idle(deployed);
    one.busy = true;
    const { name, seconds } = deployed;
    const ended = new AbortController();
    try {
      const answered = once(one.child, 'message', { signal: ended.signal }) as Promise<[FunctionAnswer]>;
      const died = once(one.child, 'exit', { signal: ended.signal }).then(([code]) => {
        throw new Error(`${name} ended with ${code} and no answer`);
      });
      one.child.send({ event, requestId, seconds, shift } satisfies FunctionCall);
      const [{ result, error }] = await Promise.race([answered, died]);
      // What it said before its answer lies in another pipe.
      await turn();
      await turn();
      if (error !== null) throw new Error(`${name}: ${error}`);
      return result;
    } finally {
      ended.abort();
      one.busy = false;
    }
  }

  /** As a deployment does: the next call finds a new process. */
  async renew(name: string): Promise<void> {
    const gone = this.#warm.get(name) ?? [];
    this.#warm.delete(name);
    await Promise.all(gone.map(ended));
  }

  async close(): Promise<void> {
    for (const name of [...this.#warm.keys()]) await this.renew(name);
  }

  #idle(deployed: DeployedFunction): Warm {
    const { name, directory } = deployed;
    const all = (this.#warm.get(name) ?? []).filter(
      ({ child }) => child.exitCode === null && child.signalCode === null,
    );
    const found = all.find((one) => !one.busy && one.directory === directory);
    if (found) return found;
    const made = { child: this.#start(deployed), directory, busy: false };
    this.#warm.set(name, [...all, made]);
    return made;
  }

  #start({ name, role, directory, handler, memoryMiB, environment }: DeployedFunction): ChildProcess {
    const child = spawn(process.execPath, [RUNNER, directory, handler], {
      cwd: directory,
      env: {
        ...this.#surroundings(),
        ...keysOf(role),
        AWS_LAMBDA_FUNCTION_NAME: name,
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(memoryMiB),
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    for (const output of [child.stdout, child.stderr])
      output?.setEncoding('utf8').on('data', (text: string) => {
        for (const line of text.split('\n')) if (line !== '') this.#said(`${name}: ${line}`);
      });
    return child;
  }
}

async function ended({ child }: Warm): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}
