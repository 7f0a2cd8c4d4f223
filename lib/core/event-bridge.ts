import { type CronFields, parseCron } from '#core/cron';
import type { Timing } from '#core/schedule';

/**
 * The plan's timings in the words of EventBridge Scheduler: `cron(minute hour day-of-month month day-of-week year)` in
 * the schedule's own zone. It says a little less than `core/schedule`: a wall-clock time that a clock change skips does
 * not happen at all (the watcher catches it up), and one that comes twice runs once. `rate()` is never used: it counts
 * from the deployment, not from midnight.
 */

const HOURS = 24;
const MINUTES = 60;
const DAY = 86_400;

/**
 * One expression for most timings; several where minutes differ from hour to hour (`every: 90m`).
 * @returns a text that ends "want …" when EventBridge cannot say it
 */
export function toEventBridge(timing: Timing): readonly string[] | string {
  if (timing.cron !== undefined) {
    const fields = parseCron(timing.cron);
    return typeof fields === 'string' ? fields : [fromFields(fields)];
  }
  const seconds = timing.every?.seconds ?? 0;
  if (seconds === DAY) return ['cron(0 0 * * ? *)'];
  // `every` counts whole days from a Monday.
  if (seconds === 7 * DAY) return ['cron(0 0 ? * 2 *)'];
  if (seconds > DAY) return 'a cron, 1d or 7d: EventBridge has no day to count other periods from';
  return perHours(seconds / 60);
}

function fromFields({ minutes, hours, days, months, weekdays }: CronFields): string {
  const everyWeekday = weekdays.length === 7;
  return expression(
    list(minutes, 0, MINUTES),
    list(hours, 0, HOURS),
    everyWeekday ? list(days, 1, 31) : '?',
    list(months, 1, 12),
    // 1 = Sunday there, 0 here.
    everyWeekday ? '?' : weekdays.map((day) => day + 1).join(','),
  );
}

/** Slots of a day, hours with the same minutes together. */
function perHours(every: number): readonly string[] {
  const byHour = Array.from({ length: HOURS }, (): number[] => []);
  for (let slot = 0; slot < HOURS * MINUTES; slot += every) byHour[Math.floor(slot / MINUTES)]?.push(slot % MINUTES);
  const together = new Map<string, number[]>();
  for (const [hour, minutes] of byHour.entries()) {
    if (minutes.length === 0) continue;
    const text = list(minutes, 0, MINUTES);
    together.set(text, [...(together.get(text) ?? []), hour]);
  }
  return [...together].map(([minutes, hours]) => expression(minutes, list(hours, 0, HOURS), '*', '*', '?'));
}

function expression(minutes: string, hours: string, days: string, months: string, weekdays: string): string {
  return `cron(${minutes} ${hours} ${days} ${months} ${weekdays} *)`;
}

function list(values: readonly number[], first: number, count: number): string {
  if (values.length === count) return '*';
  const step = values.length > 2 ? (values[1] as number) - (values[0] as number) : 0;
  const even = values.every((value, index) => index === 0 || value - (values[index - 1] as number) === step);
  const reachesEnd = (values.at(-1) as number) + step >= first + count;
  return even && step > 1 && reachesEnd ? `${values[0]}/${step}` : values.join(',');
}
