import type { DeployedSchedule } from '#test/cloud/deployed-services';

/** One time of one schedule. */
export interface Firing {
  readonly schedule: DeployedSchedule;
  /** What it is told as `<aws.scheduler.scheduled-time>`: RFC 3339, UTC, to the second. */
  readonly at: string;
  /** When it is delivered: in the middle of its flexible window. */
  readonly delivered: Date;
}

/** Everything that EventBridge Scheduler does from one moment until before another, in the order of its deliveries. */
export function firings(schedules: readonly DeployedSchedule[], from: Date, until: Date): readonly Firing[] {
  const found: Firing[] = [];
  for (const schedule of schedules) {
    const wall = wallClock(schedule.zone);
    const start = Math.ceil(from.getTime() / MINUTE) * MINUTE;
    for (let moment = start; moment < until.getTime(); moment += MINUTE) {
      if (!names(schedule.expression, wall(new Date(moment)))) continue;
      // The second of an hour that comes twice does not count.
      if (wall(new Date(moment - 60 * MINUTE)).getTime() === wall(new Date(moment)).getTime()) continue;
      const delivered = new Date(moment + (schedule.windowMinutes * MINUTE) / 2);
      found.push({ schedule, at: new Date(moment).toISOString().replace('.000Z', 'Z'), delivered });
    }
  }
  return found.sort((one, other) => one.delivered.getTime() - other.delivered.getTime());
}

const MINUTE = 60_000;
const CRON = /^cron\((\S+) (\S+) (\S+) (\S+) (\S+) \*\)$/;

/** Whether an expression names a minute of a wall clock. Throws for one that AWS would refuse. */
function names(expression: string, wall: Date): boolean {
  const [, minutes = '', hours = '', days = '', months = '', weekdays = ''] = CRON.exec(expression) ?? [];
  if (minutes === '' || (days === '?') === (weekdays === '?'))
    throw new Error(`${expression} is none of EventBridge Scheduler`);
  return (
    has(minutes, wall.getUTCMinutes(), 0) &&
    has(hours, wall.getUTCHours(), 0) &&
    has(days, wall.getUTCDate(), 1) &&
    has(months, wall.getUTCMonth() + 1, 1) &&
    has(weekdays, wall.getUTCDay() + 1, 1)
  );
}

function has(field: string, value: number, first: number): boolean {
  if (field === '*' || field === '?') return true;
  return field.split(',').some((part) => {
    const [, from = '', step] = /^(\d+|\*)(?:\/(\d+))?$/.exec(part) ?? [];
    if (from === '') throw new Error(`${part} is no part of a field, want a number or a step`);
    const start = from === '*' ? first : Number(from);
    return step === undefined ? start === value : value >= start && (value - start) % Number(step) === 0;
  });
}

/** A zone's wall-clock time, written as if it were UTC. */
function wallClock(zone: string): (moment: Date) => Date {
  const formatter = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'medium' });
  return (moment) => new Date(`${formatter.format(moment).replace(' ', 'T')}Z`);
}
