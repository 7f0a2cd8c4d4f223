import { mergeHistories, pausedAt, type SourceHistory } from '#core/history';
import type { Schedule, Source } from '#core/plan';
import { nextRun, previousRun, timingText } from '#core/schedule';
import { CLOCK_TOLERANCE_SECONDS } from '#core/stamped-ahead';

/**
 * Which run of a source is due. Each schedule of a source is a promise of its own (its tiers, its vaults) and is answered
 * by runs of its own, also where two of them fall on one minute: who wants one backup for both writes one schedule with
 * `tiers: [daily, weekly]`. Of each schedule:
 * - Due is the newest of its times that no run has answered. A run answers it, and all before it, when it ends with a
 *   backup or finds nothing changed: after any number of missed times there is one catch-up.
 * - A run that failed is made again 15 minutes later, then after 30, 60, 120, at most 240, while the schedule's next time
 *   has not come. That one counts anew.
 * - While the source is paused nothing is due. Afterwards the newest time that fell into the pause is, once.
 * - A schedule whose times nobody ever answered counts from when the source was first heard of. So one that is added, or
 *   changed, later and has a time behind it is run once at once.
 */
export interface DueRun {
  readonly schedule: Schedule;
  /** How manifests and ledgers name the schedule. */
  readonly key: string;
  readonly scheduledAt: Date;
  /** `catch-up`: later than a queue, a spread or the first repetition explain. */
  readonly by: 'schedule' | 'catch-up';
  /** Runs that failed at this time before. */
  readonly failures: number;
}

/** What is known of a source's runs: one history a ledger, as a time answered in any of them is answered. */
export interface Known {
  readonly zone: string;
  readonly histories: readonly SourceHistory[];
  /** When the source came into the plan, as far as vaults know: the older of a vault's creation and its first entry. */
  readonly since: Date;
}

const FIRST_REPETITION_SECONDS = 900;
const LONGEST_REPETITION_SECONDS = 4 * 3600;
const SHORTEST_LATENESS_SECONDS = 60;
const LONGEST_LATENESS_SECONDS = 3600;

/**
 * How a source's schedules are called in manifests and ledgers: by their timing, and the second of two that say the same
 * time with ` #2`.
 */
export function scheduleKeys({ schedule }: Pick<Source, 'schedule'>): readonly string[] {
  const texts = schedule.map(timingText);
  return texts.map((text, index) => {
    const before = texts.slice(0, index).filter((one) => one === text).length;
    return before === 0 ? text : `${text} #${before + 1}`;
  });
}

/** The run to make now, the oldest time first; null when there is none. */
export function dueRun(source: Pick<Source, 'schedule'>, known: Known, now: Date): DueRun | null {
  if (pausedAt(mergeHistories(known.histories), now)) return null;
  const due = entriesOf(source).flatMap(({ schedule, key }) => dueOf(schedule, key, known, now) ?? []);
  return due.sort((a, b) => a.scheduledAt.getTime() - b.scheduledAt.getTime())[0] ?? null;
}

/**
 * When something will be due, if nothing happens before; now or earlier when something is. Null while the source is
 * paused without an end.
 */
export function nextDue(source: Pick<Source, 'schedule'>, known: Known, now: Date): Date | null {
  const paused = pausedAt(mergeHistories(known.histories), now);
  if (paused?.until === null) return null;
  const from = paused ? new Date(paused.until as string) : now;
  const times = entriesOf(source).map(({ schedule, key }) => {
    if (dueOf(schedule, key, known, from)) return from.getTime();
    const next = nextRun(schedule, known.zone, from).getTime();
    const last = previousRun(schedule, known.zone, from);
    const failed = last && answerOf(key, last, known.histories, from);
    return failed && !failed.done ? Math.min(next, repetitionAt(failed).getTime()) : next;
  });
  return times.length === 0 ? null : new Date(Math.min(...times));
}

/** Whether a run of this schedule for this time, or a later one, has ended well. */
export function isAnswered(key: string, scheduledAt: Date, histories: readonly SourceHistory[], now: Date): boolean {
  return answerOf(key, scheduledAt, histories, now)?.done ?? false;
}

/** Differentials are not there yet: nothing is ever due by their schedules. */
function entriesOf(source: Pick<Source, 'schedule'>): { readonly schedule: Schedule; readonly key: string }[] {
  const keys = scheduleKeys(source);
  return source.schedule
    .map((schedule, index) => ({ schedule, key: keys[index] as string }))
    .filter(({ schedule }) => schedule.kind !== 'differential');
}

function dueOf(schedule: Schedule, key: string, known: Known, now: Date): DueRun | null {
  const { zone, histories, since } = known;
  const scheduledAt = previousRun(schedule, zone, now);
  if (scheduledAt === null || scheduledAt <= since) return null;
  const answer = answerOf(key, scheduledAt, histories, now);
  if (answer && (answer.done || repetitionAt(answer) > now)) return null;
  const late = (now.getTime() - scheduledAt.getTime()) / 1000;
  const interval = (nextRun(schedule, zone, scheduledAt).getTime() - scheduledAt.getTime()) / 1000;
  const bearable = Math.min(Math.max(interval / 4, SHORTEST_LATENESS_SECONDS), LONGEST_LATENESS_SECONDS);
  return { schedule, key, scheduledAt, by: late > bearable ? 'catch-up' : 'schedule', failures: answer?.failures ?? 0 };
}

interface Answer {
  /** Ended well; else the newest attempt has failed. */
  readonly done: boolean;
  readonly failures: number;
  readonly at: Date;
}

/**
 * What all ledgers say about one time of a schedule; null = no run was made for it. An entry from the future, of a clock
 * that was ahead, answers nothing: else there would be no backup until that time comes.
 */
function answerOf(key: string, scheduledAt: Date, histories: readonly SourceHistory[], now: Date): Answer | null {
  const latest = now.getTime() + CLOCK_TOLERANCE_SECONDS * 1000;
  const answers = histories.flatMap(({ scheduled }): Answer[] => {
    const run = Object.hasOwn(scheduled, key) ? scheduled[key] : undefined;
    if (!run || new Date(run.scheduledAt) < scheduledAt || new Date(run.scheduledAt).getTime() > latest) return [];
    const later = new Date(run.scheduledAt) > scheduledAt;
    return [{ done: later || run.outcome !== 'failed', failures: run.failures ?? 1, at: new Date(run.at) }];
  });
  if (answers.length === 0) return null;
  return {
    done: answers.some(({ done }) => done),
    failures: Math.max(...answers.map(({ failures }) => failures)),
    at: new Date(Math.max(...answers.map(({ at }) => at.getTime()))),
  };
}

/** When a run that has failed so often at one time, the last at `at`, is made again. */
export function repetitionAt({ failures, at }: { readonly failures: number; readonly at: Date }): Date {
  const wait = Math.min(FIRST_REPETITION_SECONDS * 2 ** Math.max(0, failures - 1), LONGEST_REPETITION_SECONDS);
  return new Date(at.getTime() + wait * 1000);
}

/** A piece of work by the calendar that is not a source's schedule: proofs by `prove: { cron }`, retention. */
export function dueByCron(cron: string, zone: string, last: Date, now: Date): Date | null {
  const scheduledAt = previousRun({ cron }, zone, now);
  return scheduledAt && scheduledAt > last ? scheduledAt : null;
}
