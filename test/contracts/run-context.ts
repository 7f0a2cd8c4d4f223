import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Cancelled, VariableMissing } from '#core/errors';
import type { Clock, RunContext } from '#core/ports';
import { createProcesses } from '#host/processes';

export const realClock: Clock = {
  now: () => new Date(),
  async sleep(milliseconds, signal) {
    try {
      await wait(milliseconds, undefined, signal ? { signal } : {});
    } catch (cause) {
      throw new Cancelled('stopped while waiting', { cause });
    }
  },
};

export interface TestRun {
  readonly run: RunContext;
  /** What was logged: `warn: …`, and the progress stages: `stage: …`. */
  readonly lines: readonly string[];
  /** Fires the run's signal. */
  abort(): void;
  /** Ends all children of this run and removes its scratch directory. Throws when that cannot be done. */
  close(): Promise<void>;
}

/**
 * A run as a host gives it, with a scratch directory of its own below the temporary directory.
 * @param variables what `${NAME}` stands for in this run
 */
export async function openRun(variables: Readonly<Record<string, string>> = {}): Promise<TestRun> {
  const scratch = await mkdtemp(join(tmpdir(), 'holdfast-run-'));
  // Servers that refuse to run as root get a directory below it and must be able to traverse.
  await chmod(scratch, 0o711);
  const controller = new AbortController();
  const lines: string[] = [];
  const run: RunContext = {
    processes: createProcesses(process.env, controller.signal, scratch),
    clock: realClock,
    log: {
      debug: (message) => lines.push(`debug: ${message}`),
      info: (message) => lines.push(`info: ${message}`),
      warn: (message) => lines.push(`warn: ${message}`),
    },
    progress: {
      stage: (name) => lines.push(`stage: ${name}`),
      advance: () => undefined,
    },
    scratch,
    signal: controller.signal,
    host: hostname(),
    reveal: (text) =>
      text.replace(/\$\{([^}]+)\}/g, (_whole, name: string) => {
        const value = variables[name];
        if (value === undefined) throw new VariableMissing(`\${${name}} is not set`);
        return value;
      }),
  };
  return {
    run,
    lines,
    abort: () => controller.abort(new Error('the test said stop')),
    async close() {
      controller.abort(new Error('the test is over'));
      await rm(scratch, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
