import { scheduleKeys } from '#core/due';
import type { SourceHistory } from '#core/history';
import type { Source } from '#core/plan';
import { nextRun, previousRun } from '#core/schedule';
import { CLOCK_TOLERANCE_SECONDS } from '#core/stamped-ahead';

/** A time of a schedule that came and went, and no run answered: neither well nor with a failure. */
export interface MissedRun {
  /** Key of the schedule (`scheduleKeys`). */
  readonly schedule: string;
  /** The oldest of those in a row that nothing answered. */
  readonly firstAt: Date;
  /** How many of them, counted to at most 1000. */
  readonly count: number;
}

const SHORTEST_GRACE_SECONDS = 900;
const LONGEST_GRACE_SECONDS = 3600;
const COUNTED = 1000;

/** How late a run may end before anybody is told: queues, spread loads, long dumps. */
export function graceSeconds(source: Pick<Source, 'schedule'>, zone: string, now: Date): number {
  const intervals = source.schedule.map((schedule) => {
    const next = nextRun(schedule, zone, now);
    return (nextRun(schedule, zone, next).getTime() - next.getTime()) / 1000;
  });
  return Math.min(Math.max(Math.min(...intervals) / 4, SHORTEST_GRACE_SECONDS), LONGEST_GRACE_SECONDS);
}

/**
 * @param histories one a ledger: a time answered in any of them is answered
 * @param since when a schedule, by its key, was first heard of: nothing is missed before (I10)
 */
export function missedRuns(
  source: Pick<Source, 'schedule'>,
  zone: string,
  histories: readonly SourceHistory[],
  since: (key: string) => Date,
  now: Date,
): MissedRun[] {
  const keys = scheduleKeys(source);
  const grace = graceSeconds(source, zone, now) * 1000;
  return source.schedule.flatMap((schedule, index) => {
    const key = keys[index] as string;
    // Differentials are not there yet: nothing ever runs by their schedules.
    if (schedule.kind === 'differential') return [];
    const answered = answeredUntil(key, histories, now);
    const from = answered && answered > since(key) ? answered : since(key);
    const last = previousRun(schedule, zone, new Date(now.getTime() - grace));
    if (last === null || last <= from) return [];
    const firstAt = nextRun(schedule, zone, from);
    let count = 1;
    for (let at = firstAt; at < last && count < COUNTED; count++) at = nextRun(schedule, zone, at);
    return [{ schedule: key, firstAt, count }];
  });
}

/**
 * The newest time of this schedule that any run has answered. What somebody asked for by hand answers all that came
 * before it, as cron lines of an older kind do (`holdfast backup --all`); a run of another schedule does not.
 */
function answeredUntil(key: string, histories: readonly SourceHistory[], now: Date): Date | null {
  const latest = now.getTime() + CLOCK_TOLERANCE_SECONDS * 1000;
  const times = histories.flatMap(({ scheduled, lastOk }) => {
    const own = Object.hasOwn(scheduled, key) ? scheduled[key] : undefined;
    const ofAnother = Object.entries(scheduled).some(([other, run]) => other !== key && run.at === lastOk?.at);
    return [...(own ? [own.scheduledAt] : []), ...(lastOk && !ofAnother ? [lastOk.at] : [])];
  });
  const known = times.map((time) => new Date(time).getTime()).filter((time) => time <= latest);
  return known.length === 0 ? null : new Date(Math.max(...known));
}
