import type { Identity } from '#core/manifest';
import { partName, TOTALS, type Total } from '#core/measures';
import type { EngineName } from '#core/plan';

/** A proven backup, as far as anomalies are concerned. */
export interface Measured {
  readonly id: string;
  readonly snapshotAt: Date;
  readonly engine: EngineName;
  readonly identity: Identity;
  readonly measures: Readonly<Record<string, number>>;
}

export interface Anomaly {
  /** The backup that differs from those before it. */
  readonly id: string;
  readonly kind: 'shrunk' | 'emptied' | 'identity' | 'grown';
  /** In words, with the figures it was judged by. */
  readonly message: string;
  /** Whether retention keeps the newest proven backup before it until somebody acknowledges (I5); growth does not. */
  readonly endangers: boolean;
}

/** How many proven backups before it a backup is compared with. */
export const COMPARED_WITH = 10;
/** Fewer say nothing about what is usual; an emptied table or another source needs no custom to be seen by. */
const LEAST_TO_JUDGE = 3;
const LARGE_PART = 100;
/** A table that was emptied by mistake is filled again by what goes on: it need not be at 0 when the night comes. */
const LEFT_OF_LEAST = 1 / 20;
/** Differences below these are no news, whatever the ratio: 10 rows that become 4, a file of settings that grows. */
const LEAST_LOSS: Readonly<Record<Total, number>> = { rows: 20, keys: 20, files: 20, bytes: 64 * 1024 };
const LEAST_GROWTH: Readonly<Record<Total, number>> = { rows: 100, keys: 100, files: 100, bytes: 1024 * 1024 };
/** Makes the median absolute deviation comparable to a standard deviation. */
const MAD_TO_SIGMA = 1.4826;
const SIGMAS = 5;
const PARTS_NAMED = 5;

/**
 * What sets a backup apart from the ten proven ones before it: an emptied or wrong database restores perfectly, so no
 * proof sees it. By medians, so that one odd backup among the ten changes nothing:
 * - `shrunk`: rows, keys, files or bytes under half the median, and at least 20 (64 KiB) fewer: of 10 rows 4 are no news.
 * - `grown`: over twice the median, outside five deviations of what is usual, and at least 100 (1 MiB) more.
 * - `emptied`: a total, or a table of at least 100 rows, that was in all of the ten, is 0 or gone; a table, too, that has
 *   less than a twentieth of the least it had in them. What is empty, or small, now and then (a queue, a cache) is not news.
 * - `identity`: another database, server, file or other paths than the one before.
 * The first backup of a new state is the anomaly. Those that go on like it are not, so that one event is told once.
 * Judged by what is still there: a judgement changes when the ten before it are removed.
 * @param proven oldest first
 */
export function anomaliesOf(proven: readonly Measured[]): Anomaly[] {
  const anomalies: Anomaly[] = [];
  /** By total: what it had come to when its present low (high) was told. */
  const low = new Map<Total, number>();
  const high = new Map<Total, number>();
  for (const [index, backup] of proven.entries()) {
    const before = proven[index - 1];
    if (!before) continue;
    const window = proven.slice(Math.max(0, index - COMPARED_WITH), index);
    const add = (kind: Anomaly['kind'], findings: readonly string[], endangers: boolean): void => {
      if (findings.length > 0) anomalies.push({ id: backup.id, kind, message: findings.join('; '), endangers });
    };
    add('identity', identityFindings(backup, before, window), true);
    const alike = window.filter(({ engine }) => engine === backup.engine);
    const totals = TOTALS.flatMap((name) => judgeTotal(name, backup, alike, low, high) ?? []);
    const shrunk = told(totals, 'shrunk');
    add('emptied', emptiedFindings(backup, alike, shrunk.length > 0), true);
    add('shrunk', shrunk, true);
    add('grown', told(totals, 'grown'), false);
  }
  return anomalies;
}

/** What nobody has said they know of (`holdfast ack`). */
export function unacknowledged(anomalies: readonly Anomaly[], acknowledged: readonly string[]): Anomaly[] {
  const known = new Set(acknowledged);
  return anomalies.filter(({ id }) => !known.has(id));
}

interface Finding {
  readonly kind: 'shrunk' | 'grown';
  readonly message: string;
}

function told(findings: readonly Finding[], kind: Finding['kind']): string[] {
  return findings.filter((one) => one.kind === kind).map(({ message }) => message);
}

function judgeTotal(
  name: Total,
  backup: Measured,
  alike: readonly Measured[],
  low: Map<Total, number>,
  high: Map<Total, number>,
): Finding | null {
  const value = backup.measures[name];
  if (value === undefined) return null;
  const values = valuesOf(name, alike);
  if (values.length < LEAST_TO_JUDGE) return null;
  const isLow = value < Math.max(...values) / 2;
  const isHigh = value > Math.min(...values) * 2;
  if (!isLow) low.delete(name);
  if (!isHigh) high.delete(name);
  // Most backups are like those before them: no need of a median to see that.
  if (!isLow && !isHigh) return null;
  const median = medianOf(values);
  const figures = `${name} ${grouped(value)} (median of the last ${values.length}: ${grouped(median)})`;
  if (value < median / 2 && median - value >= LEAST_LOSS[name]) {
    const toldAt = low.get(name);
    if (toldAt !== undefined && value >= toldAt / 2) return null;
    low.set(name, value);
    // Gone to nothing is told as `emptied`.
    return value === 0 ? null : { kind: 'shrunk', message: `${figures}: under half` };
  }
  low.delete(name);
  const deviation = medianOf(values.map((one) => Math.abs(one - median))) * MAD_TO_SIGMA;
  if (value > 2 * median && value > median + SIGMAS * deviation && value - median >= LEAST_GROWTH[name]) {
    const toldAt = high.get(name);
    if (toldAt !== undefined && value <= toldAt * 2) return null;
    high.set(name, value);
    return { kind: 'grown', message: `${figures}: over twice` };
  }
  high.delete(name);
  return null;
}

/** @param isShrunk its total says already that much is gone */
function emptiedFindings(backup: Measured, alike: readonly Measured[], isShrunk: boolean): string[] {
  const before = alike.at(-1);
  if (!before) return [];
  const totals = TOTALS.filter((name) => backup.measures[name] === 0 && valuesOf(name, alike).every((one) => one > 0))
    .filter((name) => before.measures[name] !== undefined)
    .map((name) => `${name} 0 (${medianText(valuesOf(name, alike))}): nothing is left`);
  // Each of its tables would only say the same again.
  if (totals.length > 0) return totals;
  const parts: string[] = [];
  // What was in all of them was in the last of them.
  for (const measure in before.measures) {
    const left = backup.measures[measure] ?? 0;
    // The least of them is no more than the last.
    if (left >= (before.measures[measure] ?? 0) * LEFT_OF_LEAST) continue;
    const name = partName(measure);
    if (name === null) continue;
    // Not listed may mean: small beside a hundred others.
    if (backup.measures[measure] === undefined && backup.measures['unlisted'] !== 0) continue;
    const values = valuesOf(measure, alike);
    if (values.length < alike.length || medianOf(values) < LARGE_PART) continue;
    const [kind, unit] = measure.startsWith('keys:') ? ['database', 'keys'] : ['table', 'rows'];
    if (left === 0)
      parts.push(`${kind} ${name}: no ${unit}${unit === 'rows' ? ', or gone' : ''} (${medianText(values)})`);
    else if (!isShrunk && values.length >= LEAST_TO_JUDGE && left < Math.min(...values) * LEFT_OF_LEAST)
      parts.push(`${kind} ${name}: ${grouped(left)} ${unit} left (${medianText(values)})`);
  }
  const more = parts.length - PARTS_NAMED;
  return more > 0 ? [...parts.slice(0, PARTS_NAMED), `and ${more} more`] : parts;
}

/** One that goes back to what most of the ten are is no second anomaly. */
function identityFindings(backup: Measured, before: Measured, window: readonly Measured[]): string[] {
  const difference = identityDifference(before, backup);
  if (difference === null) return [];
  const same = window.filter((one) => identityDifference(one, backup) === null).length;
  return same * 2 >= window.length ? [] : [difference];
}

/** In words; null when both can be the same source. */
function identityDifference(before: Measured, now: Measured): string | null {
  if (before.engine !== now.engine) return `another engine: ${now.engine}, before ${before.engine}`;
  const differing = (names: readonly string[]): string | null => {
    const different = names.filter((name) => known(before.identity, name, now.identity));
    if (different.length === 0) return null;
    const values = (identity: Identity): string => different.map((name) => `${name} ${identity[name]}`).join(', ');
    return `another source: ${values(now.identity)}; before: ${values(before.identity)}`;
  };
  switch (now.engine) {
    case 'postgres':
      return differing(['system', 'database']);
    case 'redis': {
      // A restart gives a new history at the old address; a move or failover takes the history to a new one.
      const histories = (identity: Identity): string[] =>
        [identity['replid'], identity['formerReplid']].filter((one) => one !== undefined);
      const shared = histories(now.identity).some((one) => histories(before.identity).includes(one));
      return shared ? null : differing(['address']);
    }
    case 'sqlite':
      return differing(['path']);
    case 'files':
      return differing(['paths']);
    default:
      return differing(Object.keys(now.identity));
  }
}

/** Whether both say it and say different things. PostgreSQL before 9.6 and some rights tell no system id: `unknown`. */
function known(before: Identity, name: string, now: Identity): boolean {
  const [a, b] = [before[name], now[name]];
  return a !== undefined && b !== undefined && a !== 'unknown' && b !== 'unknown' && a !== b;
}

function valuesOf(measure: string, backups: readonly Measured[]): number[] {
  const values: number[] = [];
  for (const { measures } of backups) {
    const value = measures[measure];
    if (value !== undefined) values.push(value);
  }
  return values;
}

export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

function medianText(values: readonly number[]): string {
  return `median of the last ${values.length}: ${grouped(medianOf(values))}`;
}

function grouped(value: number): string {
  return Math.round(value)
    .toString()
    .replace(/\B(?=(?:\d{3})+$)/g, ',');
}
