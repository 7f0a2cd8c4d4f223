import { HoldfastError } from '#core/errors';
import { compactTime, isoTime, sha256Hex } from '#core/manifest';
import type { Invoker } from '#core/ports';
import { formatBytes } from '#core/size';
import { copiedInAws } from '#core/where';
import type { CopyState, MissingCopy } from '#jobs/copies';
import { underWay } from '#jobs/copies-into';
import { bytesOf } from '#jobs/copy-backup';
import type { JobEnvironment } from '#jobs/environment';
import { openLease } from '#vault/lease';

/** For the very same copies a task is started once within it: one that fails must not be started four times an hour. */
const SLOT_MILLISECONDS = 3_600_000;

interface Ways {
  readonly vaults: ReadonlySet<string>;
  readonly targets: ReadonlySet<string>;
}

/** What becomes of one source's missing copies, as far as a task can make them. */
export interface Due {
  readonly copies: readonly MissingCopy[];
  /** Somebody is copying there already: a task that was started before, or a machine. */
  readonly held: readonly CopyState[];
}

/** Asks start-job for the tasks that copy what a function has no time for: one for each source. */
export class CopyTasks {
  readonly asked = new Set<string>();
  /** What kept it from asking. */
  readonly errors: HoldfastError[] = [];
  readonly #invoker: Pick<Invoker, 'start'>;
  readonly #environment: JobEnvironment;
  readonly #ways: ReadonlyMap<string, Ways>;

  constructor(invoker: Pick<Invoker, 'start'>, environment: JobEnvironment) {
    this.#invoker = invoker;
    this.#environment = environment;
    this.#ways = new Map(
      [...copiedInAws(environment.plan.plan)].map(([source, routes]) => [
        source,
        {
          vaults: new Set(routes.flatMap(({ from, to }) => [from, to])),
          targets: new Set(routes.map(({ to }) => to)),
        },
      ]),
    );
  }

  /** Not for what left the plan, or lies where its source does not go any more: a task is told the plan as it is. */
  canMake({ source, to, from }: MissingCopy): boolean {
    const ways = this.#ways.get(source);
    if (!ways) return false;
    return ways.targets.has(to) && from.some((name) => ways.vaults.has(name));
  }

  /** Without those that the run which stored them is copying itself. */
  async due(source: string, states: readonly CopyState[]): Promise<Due> {
    const copies: MissingCopy[] = [];
    const held: CopyState[] = [];
    for (const state of states) {
      const { to } = state.route;
      const missing = state.missing.filter((copy) => this.canMake(copy));
      if (missing.length === 0) continue;
      await this.#attempted(async () => {
        if (await this.#isHeld(source, to)) {
          held.push(state);
          return;
        }
        const waiting = await underWay({ source, to }, missing, this.#environment);
        copies.push(...missing.filter((copy) => !waiting.has(copy)));
      });
    }
    return { copies, held };
  }

  /** Once for a source; what is asked for again within the hour is the same task. */
  async ask(source: string, copies: readonly MissingCopy[]): Promise<void> {
    if (this.asked.has(source)) return;
    const { clock, log } = this.#environment.run;
    const slot = new Date(Math.floor(clock.now().getTime() / SLOT_MILLISECONDS) * SLOT_MILLISECONDS);
    const which = copies.map(({ id, to }) => `${id} ${to}`).toSorted();
    const attempt = `${compactTime(slot)}-${sha256Hex(which.join('|')).slice(0, 12)}`;
    await this.#attempted(async () => {
      await this.#invoker.start({ action: 'replicate', source, attempt });
      this.asked.add(source);
      const what = copies.length === 1 ? 'a copy' : `${copies.length} copies`;
      log.info(
        `${what} of ${source} (${formatBytes(sizeOf(copies))}): a task is asked for, as a function has too little time`,
      );
    });
  }

  async #isHeld(source: string, to: string): Promise<boolean> {
    const { vault, isGone, run } = this.#environment;
    const lease = await openLease(vault(to), { source, job: 'replicate' }, isGone);
    if (!lease?.alive) return false;
    const since = lease.since === null ? '' : ` since ${isoTime(lease.since)}`;
    run.log.info(`${source} is being copied to ${to}${since}, by ${lease.holder?.host ?? 'somebody'}`);
    return true;
  }

  async #attempted(act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      this.errors.push(error);
    }
  }
}

export function sizeOf(copies: readonly MissingCopy[]): number {
  return copies.reduce((sum, { manifest }) => sum + bytesOf(manifest), 0);
}
