import { Cancelled, HookFailed, messageOf } from '#core/errors';
import type { Ended, Processes, RunContext, SourceRef } from '#core/ports';

/** What has to be done after a capture, whatever becomes of the process that took it. */
export interface Intent {
  readonly id: string;
  readonly source: string;
  readonly after: readonly string[];
  /** Where the commands run: the plan's directory. */
  readonly directory: string;
  readonly writtenAt: string;
  /** Where it is noted, for messages. */
  readonly file: string;
}

/** Notes of this machine that outlive a `kill -9`, one for each capture that is between its `before` and its `after`. */
export interface Intents {
  /** The plan's directory. */
  readonly directory: string;
  /** For `after` commands: these children end by themselves, not with the run, for `after` also runs when it was cancelled. */
  readonly processes: Processes;
  /** Durable when it returns. Throws `HookFailed`. */
  write(source: string, after: readonly string[], now: Date): Promise<Intent>;
  /** Done. */
  remove(intent: Intent): Promise<void>;
  /** Not done, and not tried any more by this run: the next one may take it, of this process or another. */
  leave(intent: Intent): void;
  /**
   * Those of this plan whose process has ended, however it did; they are this process's from now on. `others` = what
   * belongs to somebody who may still live, in words.
   */
  takeLeft(): Promise<{ readonly left: readonly Intent[]; readonly others: readonly string[] }>;
}

export interface HookPorts {
  readonly run: Pick<RunContext, 'processes' | 'log' | 'clock'>;
  readonly intents: Intents;
}

export interface Hooked<T> {
  readonly result: T;
  /** `after` commands that failed: the backup is good, and the run only partly done. Their intent stays. */
  readonly warnings: readonly string[];
}

/** An `after` that never ends would hold the run, its lease and its scratch for ever. */
const AFTER_MILLISECONDS = 15 * 60 * 1000;
const LINES_LOGGED = 50;

/**
 * Runs `body` (the capture, to the end of its `finish()`) between the source's `before` and `after` commands. What has
 * to be done after is noted first, so that a run that is killed in between leaves word to the next one (`finishLeftHooks`).
 * `after` runs when `before`, or `body`, failed or was cancelled. Two sources that stop the same thing at the same time
 * do not know of each other: give them one schedule each, apart.
 * @throws HookFailed a `before` failed (then `body` did not run), or nothing could be noted
 * @throws whatever `body` throws
 */
export async function withHooks<T>(source: SourceRef, ports: HookPorts, body: () => Promise<T>): Promise<Hooked<T>> {
  const { before = [], after = [] } = source.settings;
  const { run, intents } = ports;
  const intent = after.length > 0 ? await intents.write(source.name, after, run.clock.now()) : null;
  let result: T;
  try {
    for (const command of before)
      await runHook('before', command, source.name, intents.directory, run.processes, ports);
    result = await body();
  } catch (error) {
    // The failure of the run is what is told; this one goes to the log.
    if (intent) for (const warning of await carryOut(intent, ports)) run.log.warn(warning);
    throw error;
  }
  return { result, warnings: intent ? await carryOut(intent, ports) : [] };
}

/**
 * Runs the `after` commands that a killed run of this plan left undone on this machine. To be called before anything
 * else by every job of the plan. Returns what could not be done, in words.
 */
export async function finishLeftHooks(ports: HookPorts): Promise<readonly string[]> {
  const { left, others } = await ports.intents.takeLeft();
  const warnings = [...others];
  for (const intent of left) {
    ports.run.log.warn(
      `a run of ${intent.source} that began at ${intent.writtenAt} ended before its \`after\` commands; running them now`,
    );
    warnings.push(...(await carryOut(intent, ports)));
  }
  return warnings;
}

/** All of them, also after one failed: starting the second container does not depend on the first. */
async function carryOut(intent: Intent, ports: HookPorts): Promise<readonly string[]> {
  const warnings: string[] = [];
  for (const command of intent.after) {
    try {
      await runHook('after', command, intent.source, intent.directory, ports.intents.processes, ports);
    } catch (error) {
      warnings.push(`${messageOf(error)}; the next run tries it again (noted in ${intent.file})`);
    }
  }
  if (warnings.length === 0) await ports.intents.remove(intent);
  else ports.intents.leave(intent);
  return warnings;
}

async function runHook(
  which: 'before' | 'after',
  command: string,
  source: string,
  directory: string,
  processes: Processes,
  { run }: HookPorts,
): Promise<void> {
  run.log.info(`${source}: ${which}: ${command}`);
  let ended: Ended & { readonly stdout: string };
  try {
    ended = await processes.run(
      { program: 'sh', args: ['-c', command], cwd: directory, env: { HOLDFAST_SOURCE: source } },
      which === 'after' ? { timeout: AFTER_MILLISECONDS } : {},
    );
  } catch (error) {
    if (error instanceof Cancelled) throw error;
    throw new HookFailed(`${which} of ${source}, \`${command}\`: ${messageOf(error)}`, {
      source,
      hint:
        which === 'before'
          ? `nothing was captured; run it by hand in ${directory} to see what it says`
          : `run it by hand in ${directory}`,
      cause: error,
    });
  }
  const lines = `${ended.stdout}\n${ended.stderr}`.split('\n').filter((line) => line.trim() !== '');
  for (const line of lines.slice(-LINES_LOGGED)) run.log.info(`${source}: ${which}: ${line}`);
}
