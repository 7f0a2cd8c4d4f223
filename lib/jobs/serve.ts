import { formatTook } from '#core/duration';
import { isoTime } from '#core/manifest';
import type { Clock } from '#core/ports';
import type { JobEnvironment } from '#jobs/environment';
import { Agenda, type Task } from '#jobs/serve-agenda';
import { Troubles } from '#jobs/serve-troubles';

/** What a host gives a process that makes many runs. */
export interface ServeHost {
  /** For looking: ledgers, messages. Another object after the plan was read again. */
  environment(): JobEnvironment;
  /** Surroundings for one job, with a scratch directory of its own, and what a killed run left undone done first. */
  inRun<T>(act: (environment: JobEnvironment) => Promise<T>): Promise<T>;
  /**
   * Looks whether the plan, or `.env` beside it, has changed; true when another one is in force now.
   * @throws HoldfastError the new one is wrong: the old one stays
   */
  reread(): Promise<boolean>;
}

/** The jobs that `serve` starts beside backups and proofs, each by one function. */
export interface ServeJobs {
  /** Compares with the ledgers, tells changes of state, sends the heartbeat. */
  watch(environment: JobEnvironment): Promise<void>;
  /** What to say of it in the log; null when there was nothing to do. As the next one. */
  retain(environment: JobEnvironment): Promise<string | null>;
  /** Makes up for copies that are missing. */
  replicate(environment: JobEnvironment): Promise<string | null>;
}

export interface ServeOptions {
  readonly jobs: ServeJobs;
  /** Sleeps only while nothing is under way, so that a test may jump over the time between two runs. */
  readonly pacer: Clock;
  /** Ends it: what is under way is cancelled, and `serve` returns. */
  readonly signal: AbortSignal;
  /** Called at each turn: whoever asks whether it lives counts from here. `task` is what is under way. */
  readonly onTurn?: (task: string | null) => void;
}

/** Asleep no longer than this: a machine that was suspended notices at once, and so does a plan that was changed. */
const LONGEST_SLEEP_MILLISECONDS = 60_000;

/** What a clock is set back by at most without anybody's knowing: it is kept in step all the time. */
const SET_BACK_MILLISECONDS = 60_000;

/**
 * Runs the plan's `here` sources until the signal fires. One heavy job at a time, as each may take this machine's whole
 * memory budget (I8); of what is due at once the oldest first. `watch` goes beside them, so that a long backup never
 * keeps anybody from hearing of another one's trouble. Whatever a job throws is said, told, and the loop goes on.
 */
export async function serve(host: ServeHost, options: ServeOptions): Promise<void> {
  const { pacer, signal } = options;
  const troubles = new Troubles(() => host.environment());
  let agenda = new Agenda(host, options.jobs, pacer.now(), null);
  for (const line of agenda.skipped) host.environment().run.log.info(line);
  let last = pacer.now();
  while (!signal.aborted) {
    options.onTurn?.(null);
    try {
      const changed = await attempted('reading the plan', () => host.reread());
      if (changed) {
        host.environment().run.log.info('the plan was changed: the new one is in force');
        agenda = new Agenda(host, options.jobs, pacer.now(), agenda);
        for (const line of agenda.skipped) host.environment().run.log.info(line);
      }
      const now = pacer.now();
      if (last.getTime() - now.getTime() > SET_BACK_MILLISECONDS) {
        // All its times were made by the other clock: with one that was years ahead nothing would be done for years.
        host.environment().run.log.warn(`the clock was set back, from ${isoTime(last)}`);
        agenda = new Agenda(host, options.jobs, now, agenda);
      }
      last = now;
      if (agenda.watchDue(now)) await watch();
      else {
        const task = await agenda.next(now);
        if (task) await carryOut(task);
        else await rest(agenda.wakeAt(now));
      }
    } catch (error) {
      if (signal.aborted) break;
      // Nothing that can be thrown may end it; a pause, so that it does not turn hot.
      await troubles.begin('serve', 'a defect of serve itself', error);
      await rest(null);
    }
  }

  async function rest(until: Date | null): Promise<void> {
    const wait = until ? until.getTime() - pacer.now().getTime() : LONGEST_SLEEP_MILLISECONDS;
    try {
      await pacer.sleep(Math.min(Math.max(wait, 0), LONGEST_SLEEP_MILLISECONDS), signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async function watch(): Promise<void> {
    agenda.watched(pacer.now());
    await attempted('watch', () => host.inRun((environment) => options.jobs.watch(environment)));
  }

  async function carryOut(task: Task): Promise<void> {
    const { run } = host.environment();
    const began = run.clock.now();
    options.onTurn?.(task.name);
    const ended = new AbortController();
    // Not `AbortSignal.any`: a signal that lives for months would remember each of its jobs.
    const stop = (): void => ended.abort();
    signal.addEventListener('abort', stop, { once: true });
    const beside = watchBeside(task.name, ended.signal);
    try {
      const said = await attempted(task.name, () => host.inRun((environment) => task.run(environment)), task.failed);
      const took = formatTook((run.clock.now().getTime() - began.getTime()) / 1000);
      if (said !== null) run.log.info(`${task.name}: ${said}, in ${took}`);
    } finally {
      signal.removeEventListener('abort', stop);
      ended.abort();
      await beside;
    }
  }

  /** While a job is under way real time passes, whatever the pacer does between jobs. */
  async function watchBeside(name: string, over: AbortSignal): Promise<void> {
    const { clock } = host.environment().run;
    while (!over.aborted) {
      const wait = agenda.watchAt.getTime() - clock.now().getTime();
      try {
        await clock.sleep(Math.min(Math.max(wait, 1000), LONGEST_SLEEP_MILLISECONDS), over);
      } catch (error) {
        if (over.aborted) return;
        throw error;
      }
      options.onTurn?.(name);
      if (agenda.watchDue(clock.now())) await watch();
    }
  }

  /** Null when it threw: that is said and, unless the ledgers tell it to `watch`, told to people. */
  async function attempted<T>(
    name: string,
    act: () => Promise<T>,
    failed: (error: unknown) => void = () => undefined,
  ): Promise<T | null> {
    try {
      const result = await act();
      await troubles.end(name);
      return result;
    } catch (error) {
      failed(error);
      if (signal.aborted) return null;
      await troubles.begin(name, `${name} failed`, error);
      return null;
    }
  }
}
