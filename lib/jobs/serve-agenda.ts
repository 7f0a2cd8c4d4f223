import { type DueRun, dueRun, nextDue } from '#core/due';
import { EXIT, HoldfastError, messageOf } from '#core/errors';
import { emptyHistory, mergeHistories, type SourceHistory } from '#core/history';
import { isoTime } from '#core/manifest';
import type { Plan, Source } from '#core/plan';
import { support } from '#core/plan-support';
import { nextRun } from '#core/schedule';
import { formatBytes } from '#core/size';
import { lagSecondsOf } from '#core/timers';
import { placesOfSources } from '#core/where';
import type { BackupRun } from '#jobs/backup-run';
import { knownOf, makeDueRun, whyDue } from '#jobs/due-backups';
import { dueProof, proveCron } from '#jobs/due-proofs';
import type { JobEnvironment } from '#jobs/environment';
import { proveOne } from '#jobs/prove-one';
import type { ServeHost, ServeJobs } from '#jobs/serve';

/** One heavy job. */
export interface Task {
  /** `backup of events`: also the key under which its trouble is told. */
  readonly name: string;
  /** What to say of it when it has ended; null: nothing. */
  run(environment: JobEnvironment): Promise<string | null>;
  /** It threw. */
  failed(error: unknown): void;
}

const MINUTE = 60_000;
export const WATCH_EVERY = 5 * MINUTE;
/** A source whose vaults are all away, or whose run another process is making. */
const LOOK_AGAIN_AFTER = MINUTE;
/** A paused source: somebody may resume it. */
const PAUSE_LOOK_AFTER = 5 * MINUTE;
/** Proofs, retention, copies that threw. */
const RETRY_AFTER = 15 * MINUTE;
const RETAIN_DEFAULT = '0 0 * * *';

/**
 * What is to be done when. Between two of a source's times its ledger is not read: its next time is known, and only who
 * runs it writes there. Right before a run it is read again, for a pause or another process's run.
 */
export class Agenda {
  /** Sources that are not run here, and why. */
  readonly skipped: readonly string[];
  readonly #host: ServeHost;
  readonly #jobs: ServeJobs;
  readonly #plan: Plan;
  readonly #sources: readonly string[];
  /** When to look into a source's ledger. */
  readonly #looks = new Map<string, Date>();
  /** Runs of this process: some leave no trace in any vault, because none can be written. */
  readonly #memories: Map<string, SourceHistory>;
  readonly #proofs = new Map<string, Date>();
  #watchAt: Date;
  #retainAt: Date;
  #replicateAt: Date | null;

  constructor(host: ServeHost, jobs: ServeJobs, now: Date, previous: Agenda | null) {
    this.#host = host;
    this.#jobs = jobs;
    this.#plan = host.environment().plan.plan;
    const { sources, skipped } = sourcesHere(this.#plan);
    this.#sources = sources;
    this.skipped = skipped;
    this.#memories = previous ? previous.#memories : new Map();
    for (const name of sources) {
      this.#looks.set(name, now);
      if (proveCron(this.#plan, name) !== null) this.#proofs.set(name, now);
    }
    // What a machine that was off has missed is made up for before anybody hears of it.
    const soon = now.getTime() + (previous ? WATCH_EVERY : MINUTE);
    this.#watchAt = new Date(previous ? Math.min(previous.#watchAt.getTime(), soon) : soon);
    this.#retainAt = nextRun({ cron: this.#plan.retain?.cron ?? RETAIN_DEFAULT }, this.#plan.timezone, now);
    if (previous && previous.#retainAt < this.#retainAt) this.#retainAt = previous.#retainAt;
    this.#replicateAt = lagSecondsOf(this.#plan) === null ? null : now;
  }

  get watchAt(): Date {
    return this.#watchAt;
  }

  watchDue(now: Date): boolean {
    return this.#watchAt <= now;
  }

  watched(now: Date): void {
    this.#watchAt = new Date(now.getTime() + WATCH_EVERY);
  }

  /** The next time at which there may be something to do. */
  wakeAt(now: Date): Date {
    const times = [this.#watchAt, this.#retainAt, this.#replicateAt, ...this.#looks.values(), ...this.#proofs.values()];
    const soonest = Math.min(...times.flatMap((time) => (time ? [time.getTime()] : [])));
    return new Date(Math.max(soonest, now.getTime() + 1));
  }

  /** What is to be done now: backups first, the one that is due longest before the others. */
  async next(now: Date): Promise<Task | null> {
    const due: { readonly source: string; readonly due: DueRun }[] = [];
    for (const source of this.#sources) {
      const look = this.#looks.get(source);
      if (!look || look > now) continue;
      const found = await this.#look(source, now);
      if (found) due.push({ source, due: found });
    }
    const [first] = due.sort((a, b) => a.due.scheduledAt.getTime() - b.due.scheduledAt.getTime());
    if (first) return this.#backup(first.source, first.due);
    for (const [source, at] of this.#proofs) {
      const task = at <= now ? await this.#proof(source, now) : null;
      if (task) return task;
    }
    if (this.#retainAt <= now) return this.#retain(now);
    if (this.#replicateAt && this.#replicateAt <= now) return this.#replicate(now);
    return null;
  }

  /** Null, and the next look set, when nothing is due for the source now. */
  async #look(source: string, now: Date): Promise<DueRun | null> {
    try {
      const known = await knownOf(source, this.#host.environment(), this.#memory(source));
      const settings = this.#plan.sources[source] as Source;
      const due = dueRun(settings, known, now);
      if (due) return due;
      const next = nextDue(settings, known, now);
      const paused = mergeHistories(known.histories).paused !== null;
      const latest = now.getTime() + PAUSE_LOOK_AFTER;
      this.#looks.set(source, new Date(next && !paused ? next : Math.min(next?.getTime() ?? latest, latest)));
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      // Told by `watch`, which sees the vaults too.
      this.#host.environment().run.log.debug(messageOf(error));
      this.#looks.set(source, new Date(now.getTime() + LOOK_AGAIN_AFTER));
    }
    return null;
  }

  #backup(source: string, due: DueRun): Task {
    return {
      name: `backup of ${source}`,
      run: async (environment) => {
        environment.run.log.info(`${source}: ${whyDue(due)}`);
        const run = await makeDueRun(source, due, environment);
        this.#remember(source, due, run.status, environment.run.clock.now());
        if (run.status === 'failed' || run.exit !== EXIT.done) this.#watchAt = environment.run.clock.now();
        if (run.status === 'ok' && (hasReplica(this.#plan) || run.exit === EXIT.partly))
          this.#replicateAt &&= environment.run.clock.now();
        for (const warning of run.warnings) environment.run.log.warn(`${source}: ${warning}`);
        return saidOfRun(run);
      },
      failed: () => {
        const now = this.#host.environment().run.clock.now();
        this.#remember(source, due, 'failed', now);
        this.#watchAt = now;
      },
    };
  }

  #remember(source: string, due: DueRun, status: BackupRun['status'], now: Date): void {
    if (status === 'busy') {
      this.#looks.set(source, new Date(now.getTime() + LOOK_AGAIN_AFTER));
      return;
    }
    const memory = this.#memories.get(source) ?? emptyHistory();
    memory.scheduled[due.key] = {
      scheduledAt: isoTime(due.scheduledAt),
      at: isoTime(now),
      outcome: status,
      failures: status === 'failed' ? due.failures + 1 : due.failures,
    };
    this.#memories.set(source, memory);
  }

  #memory(source: string): readonly SourceHistory[] {
    const memory = this.#memories.get(source);
    return memory ? [memory] : [];
  }

  /** A proof by `prove: { cron }` that is due; a missed one is made up for once. */
  async #proof(source: string, now: Date): Promise<Task | null> {
    const cron = proveCron(this.#plan, source);
    if (cron === null) return null;
    const again = new Date(now.getTime() + RETRY_AFTER);
    let next: Date;
    try {
      const found = await dueProof(source, cron, this.#host.environment());
      next = found.next;
      this.#proofs.set(source, found.due ? again : next);
      if (!found.due) return null;
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      this.#host.environment().run.log.debug(messageOf(error));
      this.#proofs.set(source, again);
      return null;
    }
    return {
      name: `proof of ${source}`,
      run: async (environment) => {
        const proof = await proveOne({ source, id: null, from: null, stored: false }, environment);
        if (proof.result !== 'proven') this.#watchAt = environment.run.clock.now();
        if (proof.result !== 'unproven') this.#proofs.set(source, next);
        return `${proof.id} ${proof.result}${proof.reason === null ? '' : `: ${proof.reason}`}`;
      },
      failed: () => undefined,
    };
  }

  #retain(now: Date): Task {
    const cron = this.#plan.retain?.cron ?? RETAIN_DEFAULT;
    this.#retainAt = nextRun({ cron }, this.#plan.timezone, now);
    return {
      name: 'retain',
      run: (environment) => this.#jobs.retain(environment),
      failed: () => {
        this.#retainAt = new Date(Math.min(this.#retainAt.getTime(), now.getTime() + RETRY_AFTER));
      },
    };
  }

  #replicate(now: Date): Task {
    this.#replicateAt = new Date(now.getTime() + (lagSecondsOf(this.#plan) ?? 0) * 1000);
    return {
      name: 'replicate',
      run: (environment) => this.#jobs.replicate(environment),
      failed: () => {
        this.#replicateAt = new Date(now.getTime() + RETRY_AFTER);
        this.#watchAt = now;
      },
    };
  }
}

/** The sources whose runs are this process's, and of the others why not. */
export function sourcesHere(plan: Plan): { readonly sources: readonly string[]; readonly skipped: readonly string[] } {
  const sources: string[] = [];
  const skipped: string[] = [];
  for (const { source, where, why } of placesOfSources(plan)) {
    const [refused] = support(plan, source, 'backup').refusals;
    if (where === 'cloud') skipped.push(`${source} runs in the cloud (${why}): skipped here`);
    else if (refused) skipped.push(`${source} is skipped: ${refused.message}`);
    else sources.push(source);
  }
  return { sources, skipped };
}

function hasReplica(plan: Plan): boolean {
  return Object.values(plan.vaults).some(({ replica }) => replica?.vault !== undefined);
}

function saidOfRun({ status, id, tier, bytes, vaults, proof, error }: BackupRun): string {
  if (status === 'ok') {
    const why = error === null ? '' : `; ${error.message}`;
    return `${id} ${tier}, ${formatBytes(bytes)} to ${vaults.join(', ')}, ${proof}${why}`;
  }
  return status === 'unchanged' ? `still equal to ${id}` : `${status}: ${error?.message ?? ''}`;
}
