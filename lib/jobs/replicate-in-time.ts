import { Cancelled, CloudFailed, type ExitCode, type HoldfastError, type ThawNeeded } from '#core/errors';
import type { Clock, Invoker } from '#core/ports';
import { formatBytes } from '#core/size';
import { briefly } from '#jobs/backup-run';
import { type CopyState, type MissingCopy, surveyCopies } from '#jobs/copies';
import type { CopyRun, CopyTime } from '#jobs/copies-into';
import { bytesOf } from '#jobs/copy-backup';
import { CopyTasks, sizeOf } from '#jobs/copy-tasks';
import type { JobEnvironment } from '#jobs/environment';
import { frozenCopies } from '#jobs/frozen-copies';
import { copyMissing, exitOf } from '#jobs/replicate';

/**
 * Replication by a host that may not run as long as it takes: a function. What is surely done in its time it copies by
 * itself; for the rest of a source it asks for a task. Nothing has to be remembered: the next look finds out from the
 * vaults what is still missing.
 */

/** Of all copies under way together. Slow for any store, so that what is begun also ends. */
export const SURE_BYTES_PER_SECOND = 10_000_000;

export interface InTimeRequest {
  /** Nothing begins that would not be done by then. `run.signal` fires at that moment, and stops what is not. */
  readonly until: Date;
}

export interface InTime {
  readonly copies: readonly CopyRun[];
  readonly proofs: number;
  readonly differences: readonly string[];
  readonly warnings: readonly string[];
  /** Sources for which a task was asked. */
  readonly toTasks: readonly string[];
  /** That the time was over is no failure: it is said, and what is late rings by its lag. */
  readonly exit: ExitCode;
  /** The first of what went wrong. */
  readonly error: HoldfastError | null;
}

/** @throws CloudFailed start-job could not be asked; what could be copied here has been */
export async function replicateInTime(
  { until }: InTimeRequest,
  invoker: Pick<Invoker, 'start'>,
  environment: JobEnvironment,
): Promise<InTime> {
  const { signal, clock } = environment.run;
  const survey = await surveyCopies({ sources: [], compareHashes: true }, environment);
  const tasks = new CopyTasks(invoker, environment);
  const time = new TimeLeft(until, clock, tasks);
  const elsewhere = new Set<MissingCopy>();
  const held = new Set<CopyState>();
  const reachable = survey.states.filter(({ problem }) => problem === null);
  const frozen = await frozenCopies(
    reachable.flatMap(({ missing }) => missing),
    environment,
  );
  const open = reachable.map((state) => ({ ...state, missing: state.missing.filter((copy) => !frozen.has(copy)) }));
  for (const [source, states] of Map.groupBy(open, (state) => state.source)) {
    const due = await tasks.due(source, states);
    for (const state of due.held) held.add(state);
    if (sizeOf(due.copies) <= time.sureBytes()) continue;
    for (const copy of due.copies) elsewhere.add(copy);
    await tasks.ask(source, due.copies);
  }
  const states = open
    .filter((state) => !held.has(state))
    .map((state) => ({ ...state, missing: state.missing.filter((copy) => !elsewhere.has(copy)) }))
    // What may be cut short comes last.
    .toSorted((a, b) => sizeOf(a.missing) - sizeOf(b.missing));
  const made = await copyMissing({ ...survey, states }, environment, { time });

  const warnings = [...made.warnings];
  const left = signal.aborted ? unsettled(states, made.copies) : time.refused;
  for (const [source, copies] of Map.groupBy(left, (copy) => copy.source)) {
    const forTask = copies.filter((copy) => tasks.canMake(copy));
    if (forTask.length > 0) await tasks.ask(source, forTask);
    for (const copy of copies.filter((one) => !forTask.includes(one))) warnings.push(tooLongHere(copy));
  }
  const unasked = tasks.errors.find((error) => error instanceof CloudFailed);
  if (unasked) throw unasked;
  const errors = [
    ...made.errors.filter((error) => !(signal.aborted && error instanceof Cancelled)),
    ...tasks.errors,
    ...frozen.values(),
  ];
  return {
    copies: [...made.copies, ...[...frozen].map(frozenRun)],
    proofs: made.proofs,
    differences: survey.states.flatMap(({ differences }) => differences),
    warnings,
    toTasks: [...tasks.asked],
    exit: exitOf({ ...made, errors }),
    error: errors[0] ?? null,
  };
}

class TimeLeft implements CopyTime {
  readonly refused: MissingCopy[] = [];
  readonly #until: Date;
  readonly #clock: Clock;
  readonly #tasks: Pick<CopyTasks, 'canMake'>;
  /** Bytes, counted in full until their copy has ended. */
  #underWay = 0;

  constructor(until: Date, clock: Clock, tasks: Pick<CopyTasks, 'canMake'>) {
    this.#until = until;
    this.#clock = clock;
    this.#tasks = tasks;
  }

  /** What can be begun now and is surely done in time. */
  sureBytes(): number {
    const seconds = Math.max(0, this.#until.getTime() - this.#clock.now().getTime()) / 1000;
    return Math.max(0, seconds * SURE_BYTES_PER_SECOND - this.#underWay);
  }

  begin(copy: MissingCopy): boolean {
    const bytes = bytesOf(copy.manifest);
    // Without a task it is tried all the same: most stores are quicker.
    const fits = this.#tasks.canMake(copy) ? bytes <= this.sureBytes() : this.#clock.now() < this.#until;
    if (fits) this.#underWay += bytes;
    else this.refused.push(copy);
    return fits;
  }

  ended(copy: MissingCopy): void {
    this.#underWay -= bytesOf(copy.manifest);
  }
}

/** What was cut short, or not begun: neither made, nor waited for, nor failed by itself. */
function unsettled(states: readonly CopyState[], copies: readonly CopyRun[]): MissingCopy[] {
  const nameOf = ({ source, id, to }: Pick<CopyRun, 'source' | 'id' | 'to'>): string => `${source} ${id} ${to}`;
  const settled = new Set(copies.filter(({ error }) => error?.code !== 'cancelled').map(nameOf));
  return states.flatMap(({ missing }) => missing.filter((copy) => !settled.has(nameOf(copy))));
}

function frozenRun([{ source, id, from, to, manifest }, error]: readonly [MissingCopy, ThawNeeded]): CopyRun {
  const bytes = bytesOf(manifest);
  return { source, id, from: from[0] as string, to, bytes, seconds: 0, status: 'failed', error: briefly(error) };
}

function tooLongHere({ source, id, from, to, manifest }: MissingCopy): string {
  return `${source} ${id} (${formatBytes(bytesOf(manifest))}) is not in ${to} yet: a function has too little time to copy it from ${from[0]}; from a machine: holdfast replicate ${source} --to ${to}`;
}
