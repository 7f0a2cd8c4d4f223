import { Cron } from 'croner';
import { type CronFields, parseCron } from '#core/cron';
import type { Duration } from '#core/duration';
import { firstInstantAt, offsetAt, transitionWithin, wallSeconds } from '#core/zone';

/**
 * When things run. One meaning, for `serve`, timers and the cloud alike:
 * - `cron`: five fields on the wall clock of the plan's zone. A fixed time that a clock change skips runs at the moment
 *   of the change; one that comes twice runs once.
 * - `every`, shorter than a day: whenever the zone's wall clock shows a multiple of it since midnight. What a clock
 *   change skips runs once, at the change; what it repeats runs again, so that the gap never grows by an hour.
 * - `every`, whole days: at the zone's midnight, days counted from Monday 1970-01-05, so that `7d` is every Monday.
 */
export interface Timing {
  readonly cron?: string | undefined;
  readonly every?: Duration | undefined;
}

/** How a schedule is called in manifests and ledgers: `0 2 * * *`, `every 15m`. */
export function timingText({ cron, every }: Timing): string {
  return cron ?? `every ${every?.text}`;
}

const DAY = 86_400;
/** Days between the Unix epoch and its first Monday. */
const FIRST_MONDAY = 4;

export const EVERY_ALLOWED = 'a duration that divides a day (1m, 15m, 4h, …) or whole days (1d, 7d), at most 1y';

/** Whether `every` has a meaning: it divides a day into whole minutes, or is whole days, up to a year. */
export function isEvery(every: Duration): boolean {
  const { seconds } = every;
  return seconds >= 60 && seconds <= 365 * DAY && (seconds < DAY ? DAY % seconds === 0 : seconds % DAY === 0);
}

const crons = new Map<string, Cron>();

function cronOf(text: string, zone: string): Cron {
  const key = `${zone} ${text}`;
  let cron = crons.get(key);
  if (!cron) {
    cron = new Cron(text, { timezone: zone, mode: '5-part', fixedTimeRule: 'no-wildcard' });
    crons.set(key, cron);
  }
  return cron;
}

/** The first run strictly after `after`. */
export function nextRun(timing: Timing, zone: string, after: Date): Date {
  const second = Math.floor(after.getTime() / 1000);
  if (timing.cron !== undefined) {
    const next = cronOf(timing.cron, zone).nextRun(new Date(second * 1000));
    if (!next) throw new Error(`the cron "${timing.cron}" passed the plan check and never happens`);
    return next;
  }
  const every = secondsOf(timing);
  return dateOf(every >= DAY ? nextMidnight(every / DAY, zone, second) : nextSlot(every, zone, second));
}

/** The last run at or before this moment; null when there was none in the years a calendar is known for. */
export function previousRun(timing: Timing, zone: string, atOrBefore: Date): Date | null {
  const second = Math.floor(atOrBefore.getTime() / 1000);
  if (timing.cron !== undefined) return previousOf(timing.cron, zone, second);
  const every = secondsOf(timing);
  return dateOf(every >= DAY ? previousMidnight(every / DAY, zone, second) : previousSlot(every, zone, second));
}

/** The last answer of each: what is due, what is next, and what was missed are asked of one moment, and each costs a walk back. */
const answers = new Map<string, { readonly second: number; readonly run: Date | null }>();

function previousOf(text: string, zone: string, second: number): Date | null {
  const key = `${zone} ${text}`;
  let answer = answers.get(key);
  if (answer?.second !== second) {
    const run = cronOf(text, zone).previousRuns(1, new Date((second + 1) * 1000))[0] ?? null;
    answer = { second, run };
    answers.set(key, answer);
  }
  return answer.run;
}

function secondsOf(timing: Timing): number {
  if (!timing.every) throw new Error('a schedule without cron and every passed the plan check');
  return timing.every.seconds;
}

function dateOf(second: number): Date {
  return new Date(second * 1000);
}

/**
 * Slots are multiples of `every` on the wall clock: as `every` divides a day, also on the count of wall-clock seconds
 * since 1970. Only where the offset changes on the way is there anything to think about.
 */
function nextSlot(every: number, zone: string, after: number): number {
  const offset = offsetAt(after, zone);
  const next = (Math.floor((after + offset) / every) + 1) * every - offset;
  if (offsetAt(next, zone) === offset) return next;
  const change = transitionWithin(after, next, zone);
  if (skipsSlot(every, zone, change)) return change;
  const later = offsetAt(change, zone);
  return Math.ceil((change + later) / every) * every - later;
}

function previousSlot(every: number, zone: string, atOrBefore: number): number {
  const offset = offsetAt(atOrBefore, zone);
  const previous = Math.floor((atOrBefore + offset) / every) * every - offset;
  if (offsetAt(previous, zone) === offset) return previous;
  const change = transitionWithin(previous, atOrBefore, zone);
  if (skipsSlot(every, zone, change)) return change;
  const earlier = offsetAt(change - 1, zone);
  return Math.floor((change - 1 + earlier) / every) * every - earlier;
}

/** Whether the wall clock jumps over a slot, or onto one, at this change. */
function skipsSlot(every: number, zone: string, change: number): boolean {
  const from = change + offsetAt(change - 1, zone);
  const to = change + offsetAt(change, zone);
  return to > from && Math.floor(to / every) * every >= from;
}

function nextMidnight(days: number, zone: string, after: number): number {
  let day = onOrBefore(days, Math.floor(wallSeconds(after, zone) / DAY));
  for (;;) {
    const midnight = firstInstantAt(day * DAY, zone);
    if (midnight > after) return midnight;
    day += days;
  }
}

function previousMidnight(days: number, zone: string, atOrBefore: number): number {
  // One day further than the wall says: where midnight comes twice, the clock shows yesterday again after the first.
  let day = onOrBefore(days, Math.floor(wallSeconds(atOrBefore, zone) / DAY) + 1);
  for (;;) {
    const midnight = firstInstantAt(day * DAY, zone);
    if (midnight <= atOrBefore) return midnight;
    day -= days;
  }
}

function onOrBefore(days: number, day: number): number {
  return Math.floor((day - FIRST_MONDAY) / days) * days + FIRST_MONDAY;
}

/**
 * The longest time between two runs, whichever of the timings they come from. On the wall clock: where a clock is put
 * back, real time may be longer by that hour.
 */
export function longestGapSeconds(timings: readonly Timing[]): number {
  const key = timings.map(({ cron, every }) => cron ?? every?.seconds).join('\n');
  const known = gaps.get(key) ?? gapAmong(timings);
  gaps.set(key, known);
  return known;
}

/** Years of days are walked for each, and every look at a source asks for its own. */
const gaps = new Map<string, number>();

function gapAmong(timings: readonly Timing[]): number {
  const rules = timings.map(dailyRule);
  /** Each combination of timings that can fall on one day, worked out once. */
  const merged = new Map<string, { first: number; last: number; widest: number }>();
  let widest = 0;
  let previous: number | null = null;
  const days = rules.every(({ daily }) => daily) ? 2 : HORIZON_DAYS;
  for (let day = FROM_DAY; day < FROM_DAY + days; day++) {
    const today = rules.filter((rule) => rule.falls(day));
    if (today.length === 0) continue;
    const key = today.map((rule) => rules.indexOf(rule)).join();
    const times = merged.get(key) ?? timesOf(today.flatMap((rule) => rule.times));
    merged.set(key, times);
    if (previous !== null) widest = Math.max(widest, day * DAY + times.first - previous);
    widest = Math.max(widest, times.widest);
    previous = day * DAY + times.last;
  }
  return widest;
}

/** 2026-01-01, and nine years on: every 29 February has another one in it. */
const FROM_DAY = Date.UTC(2026, 0, 1) / 1000 / DAY;
const HORIZON_DAYS = 9 * 366;

interface DailyRule {
  readonly times: readonly number[];
  /** Falls on every day. */
  readonly daily: boolean;
  falls(day: number): boolean;
}

function dailyRule(timing: Timing): DailyRule {
  if (timing.cron !== undefined) {
    const fields = parseCron(timing.cron);
    if (typeof fields === 'string') throw new Error(`the cron "${timing.cron}" passed the plan check: want ${fields}`);
    return cronRule(fields);
  }
  const every = secondsOf(timing);
  if (every >= DAY) return { times: [0], daily: every === DAY, falls: (day) => onOrBefore(every / DAY, day) === day };
  return { times: Array.from({ length: DAY / every }, (_, index) => index * every), daily: true, falls: () => true };
}

function cronRule(fields: CronFields): DailyRule {
  return {
    times: fields.hours.flatMap((hour) => fields.minutes.map((minute) => hour * 3600 + minute * 60)),
    daily: fields.days.length === 31 && fields.months.length === 12 && fields.weekdays.length === 7,
    falls: (day) => {
      const date = new Date(day * DAY * 1000);
      return (
        fields.days.includes(date.getUTCDate()) &&
        fields.months.includes(date.getUTCMonth() + 1) &&
        fields.weekdays.includes(date.getUTCDay())
      );
    },
  };
}

function timesOf(times: readonly number[]): { first: number; last: number; widest: number } {
  const sorted = [...times].sort((a, b) => a - b);
  let widest = 0;
  for (const [index, time] of sorted.entries()) {
    widest = Math.max(widest, index === 0 ? 0 : time - (sorted[index - 1] as number));
  }
  return { first: sorted[0] as number, last: sorted.at(-1) as number, widest };
}
