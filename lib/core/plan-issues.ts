import type * as z from 'zod';
import { NOT_SHOWN, oneOf, type PlanPath, type PlanProblem, shown } from '#core/plan-problem';

type Issue = z.core.$ZodIssue;
type UnionIssue = z.core.$ZodIssueInvalidUnion;

/** What is allowed, for issues whose schema has no words of its own. Given to zod at the parse. */
export const wantOf: z.core.$ZodErrorMap = (issue) => {
  switch (issue.code) {
    case 'unrecognized_keys':
      return (issue.inst as z.ZodObject | undefined)?.def.shape
        ? Object.keys((issue.inst as z.ZodObject).def.shape).join(' ')
        : '';
    case 'invalid_type':
      return `want ${KINDS[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return issue.values.length === 1
        ? `want ${String(issue.values[0])}`
        : `want one of ${issue.values.map(String).join(', ')}`;
    case 'too_small':
      return `want at least ${issue.minimum}${unitOf(issue.origin, Number(issue.minimum))}`;
    case 'too_big':
      return `want at most ${issue.maximum}${unitOf(issue.origin, Number(issue.maximum))}`;
    default:
      return undefined;
  }
};

const KINDS: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map',
  record: 'a map of names',
};

function unitOf(origin: string, count: number): string {
  if (origin === 'string') return count === 1 ? ' character' : ' characters';
  if (origin === 'array') return count === 1 ? ' entry' : ' entries';
  return '';
}

/** The problems behind one issue of the schema's; `value` is the whole plan as it was read. */
export function problemsOf(issue: Issue, value: unknown, base: PlanPath = []): PlanProblem[] {
  const path = [...base, ...issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part))];
  const want = issue.message.replace(/^want /, '');
  if (issue.code === 'unrecognized_keys') {
    const allowed = issue.message.split(' ').filter(Boolean);
    return issue.keys.map((key) => ({
      path: [...path, key],
      atKey: true,
      got: 'an unknown key',
      want: oneOf(allowed, key),
    }));
  }
  if (issue.code === 'invalid_key') {
    const inner = issue.issues[0]?.message.replace(/^want /, '') ?? 'another name';
    const name = path.at(-1);
    return [{ path, atKey: true, got: shown(path.slice(0, -1), name), want: inner }];
  }
  const found = valueAt(value, path);
  if (issue.code === 'invalid_union') {
    const branch = branchMeant(issue, found);
    if (branch) return branch.flatMap((inner) => problemsOf(inner, value, path));
    const mapsOnly = issue.errors.every((errors) => errors.some((inner) => wantsMap(inner)));
    return [{ path, got: gotOf(path, found, mapsOnly), want }];
  }
  const kindOnly = issue.code === 'invalid_type' && ['object', 'record', 'array'].includes(issue.expected);
  return [{ path, got: shown(path, found, kindOnly), want }];
}

/**
 * The branch of a union that the writer had in mind: the only one of the value's kind, or the one all of whose
 * required keys are there. Null when that cannot be told.
 */
function branchMeant(issue: UnionIssue, found: unknown): readonly Issue[] | null {
  const ofItsKind = issue.errors.filter(
    (errors) => !errors.some((inner) => inner.path.length === 0 && isScalarFault(inner)),
  );
  if (ofItsKind.length === 1) return ofItsKind[0] ?? null;
  const whole = ofItsKind.filter((errors) => !errors.some((inner) => isMissing(inner, found)));
  const [first] = whole.sort((a, b) => a.length - b.length);
  return first ?? null;
}

/** The value as a whole is of another kind than this branch wants, or a text that the branch does not take. */
function isScalarFault(issue: Issue): boolean {
  return issue.code !== 'unrecognized_keys';
}

function wantsMap(issue: Issue): boolean {
  return issue.path.length === 0 && issue.code === 'invalid_type' && issue.expected === 'object';
}

function isMissing(issue: Issue, found: unknown): boolean {
  const [key] = issue.path;
  return issue.path.length === 1 && typeof key === 'string' && !hasOwn(found, key);
}

function hasOwn(value: unknown, key: string | number): boolean {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key);
}

function gotOf(path: PlanPath, found: unknown, mapsOnly: boolean): string {
  const isMap = typeof found === 'object' && found !== null && !Array.isArray(found);
  const said = shown(path, found, mapsOnly);
  if (!isMap || said !== 'a map') return said;
  const keys = Object.keys(found).map((key) => (/^[A-Za-z0-9_-]{1,40}$/.test(key) ? key : NOT_SHOWN));
  return keys.length === 0 ? 'an empty map' : `{ ${keys.join(', ')} }`;
}

function valueAt(value: unknown, path: PlanPath): unknown {
  let inner = value;
  for (const part of path) {
    if (!hasOwn(inner, part)) return undefined;
    inner = (inner as Record<string | number, unknown>)[part];
  }
  return inner;
}
