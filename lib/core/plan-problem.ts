import { nearest } from '#core/nearest';

export type PlanPath = readonly (string | number)[];

/** One thing that is wrong with a plan: `<where> <path>: got <got>, want <want>`. */
export interface PlanProblem {
  readonly path: PlanPath;
  readonly got: string;
  readonly want: string;
  /** Points at the key itself instead of at its value. */
  readonly atKey?: boolean;
}

/** Everything below one of these may be, or hold, a secret. */
const SECRET_KEYS = new Set([
  'url',
  'accessKeyId',
  'secretAccessKey',
  'token',
  'slack',
  'webhook',
  'heartbeat',
  'repository',
  'identity',
  // Commands carry passwords often enough.
  'exec',
  'before',
  'after',
  'afterRestore',
  'run',
]);
export const NOT_SHOWN = '(not shown)';
const LONGEST_SHOWN = 60;

/**
 * A value of the plan as it may be printed. `kindOnly` says what kind it is instead of what it says: where a map or a
 * list is wanted, the text found there may be anything, an address with its password too.
 */
export function shown(path: PlanPath, value: unknown, kindOnly = false): string {
  if (value === undefined || value === null) return 'nothing';
  if (path.some((part) => typeof part === 'string' && SECRET_KEYS.has(part)) && !isDuration(path)) return NOT_SHOWN;
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return 'a map';
  if (typeof value !== 'string') return String(value);
  if (kindOnly) return 'text';
  return looksSecret(value) ? NOT_SHOWN : JSON.stringify(shortened(value));
}

/** `tiers.x.after` is a duration; `sources.x.after` is a list of commands. */
function isDuration(path: PlanPath): boolean {
  return path[0] === 'tiers' && path[2] === 'after';
}

function looksSecret(text: string): boolean {
  return text.includes('://') || /AGE-SECRET-KEY|PRIVATE KEY/i.test(text);
}

function shortened(text: string): string {
  return text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}…` : text;
}

/** `sources.events.schedule[0].cron`; odd keys in quotes. */
export function pathText(path: PlanPath): string {
  return path
    .map((part, index) => {
      if (typeof part === 'number') return `[${part}]`;
      if (!/^[A-Za-z0-9_-]+$/.test(part)) return `[${looksSecret(part) ? NOT_SHOWN : JSON.stringify(shortened(part))}]`;
      return index === 0 ? part : `.${part}`;
    })
    .join('');
}

/** `one of a, b, c`, and what a typing error was probably meant to be. */
export function oneOf(names: readonly string[], got: string): string {
  const meant = nearest(got, names);
  const all = names.length === 1 ? `${names[0]}` : `one of ${names.join(', ')}`;
  return names.length > 1 && meant !== null ? `${all} (did you mean ${meant}?)` : all;
}

/** A name that has to be defined elsewhere in the plan. */
export function* unknownName(path: PlanPath, name: string, defined: object, what: string): Iterable<PlanProblem> {
  // `constructor` is a name like any other: only own keys count.
  if (Object.hasOwn(defined, name)) return;
  const names = Object.keys(defined);
  yield {
    path,
    got: shown(path, name),
    want: names.length === 0 ? `a ${what} of the plan, which has none` : oneOf(names, name),
  };
}
