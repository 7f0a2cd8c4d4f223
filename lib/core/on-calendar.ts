import { type CronFields, parseCron } from '#core/cron';
import { type Timing, timingText } from '#core/schedule';

/**
 * A timing as systemd's `OnCalendar=`, in the plan's zone. On days without a clock change it means the same. Where the
 * clock is put forward systemd leaves out what is skipped, and where it is put back it runs `every` only in the first of
 * the two hours: there the timer of `backup --due`, every 15 minutes, makes the run.
 */
export interface OnCalendar {
  readonly lines: readonly string[];
  /** False: it fires more often, and `backup --due` decides; systemd cannot count days. */
  readonly exact: boolean;
}

const DAY = 86_400;
const WEEKDAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];

export function onCalendar(timing: Timing, zone: string): OnCalendar {
  const fields = wallTimes(timing);
  const lines = fields.groups.map(({ hours, minutes }) => {
    const days = fields.weekdays.length === 7 ? '' : `${weekdays(fields.weekdays)} `;
    const date = `*-${numbers(fields.months, 1, 12)}-${numbers(fields.days, 1, 31)}`;
    return `${days}${date} ${numbers(hours, 0, 23)}:${numbers(minutes, 0, 59)}:00 ${zone}`;
  });
  return { lines, exact: fields.exact };
}

/** A timing on the wall clock: on which days, and at which hours which minutes. */
export interface WallTimes extends Pick<CronFields, 'days' | 'months' | 'weekdays'> {
  readonly groups: readonly { readonly hours: readonly number[]; readonly minutes: readonly number[] }[];
  /** False: some of these times are none of the timing's. */
  readonly exact: boolean;
}

export function wallTimes(timing: Timing): WallTimes {
  const all = { days: range(1, 31), months: range(1, 12), weekdays: range(0, 6) };
  if (timing.cron !== undefined) {
    const fields = parseCron(timing.cron);
    if (typeof fields === 'string') throw new Error(`the cron "${timing.cron}" passed the plan check: want ${fields}`);
    const { days, months, weekdays: on, hours, minutes } = fields;
    return { days, months, weekdays: on, groups: [{ hours, minutes }], exact: true };
  }
  const seconds = timing.every?.seconds;
  if (seconds === undefined)
    throw new Error(`a schedule without a timing passed the plan check: ${timingText(timing)}`);
  const midnight = [{ hours: [0], minutes: [0] }];
  // Whole weeks begin on Monday; other multiples of a day are counted from one that no calendar shows.
  if (seconds === DAY) return { ...all, groups: midnight, exact: true };
  if (seconds >= DAY && seconds % (7 * DAY) === 0)
    return { ...all, weekdays: [1], groups: midnight, exact: seconds === 7 * DAY };
  if (seconds >= DAY) return { ...all, groups: midnight, exact: false };
  const byMinutes = new Map<string, { hours: number[]; minutes: number[] }>();
  for (let hour = 0; hour < 24; hour++) {
    const minutes = range(0, 59).filter((minute) => (hour * 3600 + minute * 60) % seconds === 0);
    if (minutes.length === 0) continue;
    const group = byMinutes.get(minutes.join()) ?? { hours: [], minutes };
    group.hours.push(hour);
    byMinutes.set(minutes.join(), group);
  }
  return { ...all, groups: [...byMinutes.values()], exact: true };
}

export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

/** `*`, `00/15`, or a list. */
function numbers(values: readonly number[], low: number, high: number): string {
  if (values.length === high - low + 1) return '*';
  const two = (value: number): string => String(value).padStart(2, '0');
  const [first, second] = values;
  if (first !== undefined && second !== undefined && values.length > 2) {
    const step = second - first;
    const regular = values.every((value, index) => value === first + index * step);
    if (regular && first - step < low && first + values.length * step > high) return `${two(first)}/${step}`;
  }
  return values.map(two).join(',');
}

function weekdays(values: readonly number[]): string {
  return values.map((value) => WEEKDAYS[value]).join(',');
}
