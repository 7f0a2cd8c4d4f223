/**
 * Five-field cron, the part that all schedulers understand alike (croner, cron, systemd timers, EventBridge): numbers,
 * names, lists, ranges, steps. No `L W # ? @daily`, no seconds.
 */
export interface CronFields {
  readonly minutes: readonly number[];
  readonly hours: readonly number[];
  readonly days: readonly number[];
  readonly months: readonly number[];
  /** 0 = Sunday … 6. */
  readonly weekdays: readonly number[];
}

export const CRON_ALLOWED = 'five fields: minute hour day-of-month month day-of-week, such as "0 2 * * *"';

const MONTHS = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'];
const WEEKDAYS = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'];
/** Of a leap year: 29 February does happen. */
const LONGEST = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

interface Field {
  readonly name: string;
  readonly low: number;
  readonly high: number;
  readonly names: readonly string[];
}
const FIELDS: readonly Field[] = [
  { name: 'minute', low: 0, high: 59, names: [] },
  { name: 'hour', low: 0, high: 23, names: [] },
  { name: 'day-of-month', low: 1, high: 31, names: [] },
  { name: 'month', low: 1, high: 12, names: MONTHS },
  { name: 'day-of-week', low: 0, high: 7, names: WEEKDAYS },
];

/** The fields, or what is wrong with the text, as the end of "want …". */
export function parseCron(text: string): CronFields | string {
  const words = text.trim().split(/\s+/);
  if (words.length !== 5) return CRON_ALLOWED;
  const values: number[][] = [];
  for (const [index, field] of FIELDS.entries()) {
    const found = parseField(words[index] as string, field);
    if (typeof found === 'string') return found;
    values.push(found);
  }
  const [minutes = [], hours = [], days = [], months = [], withSeven = []] = values;
  if (words[2] !== '*' && words[4] !== '*') {
    return 'day-of-month or day-of-week, one of them *: schedulers disagree on what both together mean';
  }
  const longest = Math.max(...months.map((month) => LONGEST[month - 1] as number));
  if ((days[0] as number) > longest) return 'a date that exists';
  const weekdays = [...new Set(withSeven.map((day) => day % 7))].sort((a, b) => a - b);
  return { minutes, hours, days, months, weekdays };
}

function parseField(word: string, field: Field): number[] | string {
  const range = `${field.low}-${field.high}`;
  const found = new Set<number>();
  for (const part of word.split(',')) {
    const matched = /^(?:\*|([0-9]{1,2}|[A-Za-z]{3})(?:-([0-9]{1,2}|[A-Za-z]{3}))?)(?:\/([0-9]{1,2}))?$/.exec(part);
    if (!matched) return `${CRON_ALLOWED} (the ${field.name} may hold numbers ${range}, lists, ranges and steps)`;
    const [, first, last, step] = matched;
    // `5/10` means different things to different schedulers.
    if (step !== undefined && first !== undefined && last === undefined) {
      return `${field.name} steps as */${step} or FIRST-LAST/${step}`;
    }
    const from = first === undefined ? field.low : numberOf(first, field);
    const to = first === undefined ? top(field) : last === undefined ? from : numberOf(last, field);
    if (from === null || to === null) return `${field.name} ${range}`;
    if (from > to) return `${field.name} ranges that run upwards`;
    const by = Number(step ?? 1);
    // Longer ones name one value, in words that croner refuses.
    const longest = top(field) - field.low + 1;
    if (by < 1 || by > longest) return `${field.name} steps of at least 1 and at most ${longest}`;
    for (let value = from; value <= to; value += by) found.add(value);
  }
  return [...found].sort((a, b) => a - b);
}

function numberOf(text: string, field: Field): number | null {
  const named = field.names.indexOf(text.toUpperCase());
  const value = named >= 0 ? named + (field.name === 'month' ? 1 : 0) : /^\d+$/.test(text) ? Number(text) : null;
  return value !== null && value >= field.low && value <= field.high ? value : null;
}

/** `*` in the weekday field is 0-6: 7 is Sunday again. */
function top(field: Field): number {
  return field.name === 'day-of-week' ? 6 : field.high;
}
