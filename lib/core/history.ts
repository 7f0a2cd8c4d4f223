import * as z from 'zod';
import { openAlert } from '#core/alert';
import type { LedgerEntry } from '#core/ledger';

/**
 * What a source's ledger adds up to: a fold over its entries, oldest first. It is small whatever the ledger's length,
 * and is JSON, so that whoever looks often (`watch`, `serve`) keeps it and reads on from `seq`; it can always be made
 * again from the ledger alone.
 */

const time = z.iso.datetime();

const runOutcome = z.enum(['ok', 'failed', 'unchanged']);

const historySchema = z.strictObject({
  format: z.literal(1),
  /** The last entry that is in it, and its hash: another hash there means another ledger, and the fold begins anew. */
  seq: z.int().min(0),
  sha256: z.string().nullable(),
  firstAt: time.nullable(),
  lastAt: time.nullable(),
  /**
   * By schedule text (`0 2 * * *`, `every 15m`): the newest time it was scheduled for that some run has answered, and
   * how many runs have failed at it.
   */
  scheduled: z.record(
    z.string(),
    z.strictObject({ scheduledAt: time, at: time, outcome: runOutcome, failures: z.int().optional() }),
  ),
  /** The newest run that ended well (a backup, or found unchanged). */
  lastOk: z.strictObject({ at: time, id: z.string().nullable() }).nullable(),
  /** Runs that failed since the last one that ended well. */
  failing: z
    .strictObject({
      since: time,
      at: time,
      count: z.int(),
      id: z.string().nullable(),
      code: z.string(),
      message: z.string(),
    })
    .nullable(),
  /** Failed runs whose leftovers nobody acknowledged yet, newest 100: id → where they lie. */
  leftovers: z.record(z.string(), z.string()),
  /** The newest attempt at a proof, whatever backup it was of. */
  proof: z
    .strictObject({ id: z.string(), at: time, outcome: z.string(), reason: z.string().nullable(), seconds: z.number() })
    .nullable(),
  /** When the source was last found equal to each of the newest 20 backups it was compared with. */
  unchanged: z.record(z.string(), time),
  paused: z.strictObject({ since: time, until: time.nullable(), reason: z.string() }).nullable(),
  /** When the last pause ended, by `resume`, or by its own end. */
  resumedAt: time.nullable(),
  /** Backups whose holds were released after they were held. */
  released: z.array(z.string()),
  /** The newest hold or release of each backup: two vaults' histories are merged by it. */
  holdChanges: z.record(z.string(), time),
  /** Ids that `holdfast ack` named, newest 1000: anomalies somebody has looked at, leftovers that may be swept. */
  acknowledged: z.array(z.string()),
  /** Alerts that are open, by key. */
  alerts: z.record(z.string(), openAlert),
  /** The newest change of each alert: two vaults' histories are merged by it. */
  alertChanges: z.record(z.string(), time),
  /** Runs by day (UTC), the newest 35: for the plan's `kpi`. `fullSeconds` is the sum over runs that stored a backup. */
  days: z.record(
    z.string(),
    z.strictObject({ ok: z.int(), failed: z.int(), stored: z.int(), fullSeconds: z.number() }),
  ),
  /** The newest restore or proof that was measured. */
  restore: z.strictObject({ at: time, seconds: z.number(), id: z.string() }).nullable(),
  retainedAt: time.nullable(),
});
export type SourceHistory = z.output<typeof historySchema>;

const DAYS_KEPT = 35;
const ACKNOWLEDGED_KEPT = 1000;
const LEFTOVERS_KEPT = 100;
const UNCHANGED_KEPT = 20;
/** Closed alerts are remembered so long, to be stronger than another vault's older word that they are open. */
const CHANGES_KEPT = 500;

export function emptyHistory(): SourceHistory {
  return {
    format: 1,
    seq: 0,
    sha256: null,
    firstAt: null,
    lastAt: null,
    scheduled: {},
    lastOk: null,
    failing: null,
    leftovers: {},
    proof: null,
    unchanged: {},
    paused: null,
    resumedAt: null,
    released: [],
    holdChanges: {},
    acknowledged: [],
    alerts: {},
    alertChanges: {},
    days: {},
    restore: null,
    retainedAt: null,
  };
}

/** Null when it is none, or of another format: then the ledger is read from its start. */
export function readHistory(json: unknown): SourceHistory | null {
  const parsed = historySchema.safeParse(json);
  return parsed.success ? parsed.data : null;
}

/**
 * Adds one entry; `history` is changed in place and returned. Entries of an unexpected shape change only what they can
 * be read as: a ledger outlives the versions that wrote it.
 */
export function fold(history: SourceHistory, entry: LedgerEntry): SourceHistory {
  const { at, id } = entry;
  const details = detailsOf(entry);
  history.seq = entry.seq;
  history.sha256 = entry.sha256;
  history.firstAt ??= at;
  history.lastAt = at;
  switch (entry.event) {
    case 'backup':
      answered(history, entry, 'ok');
      history.lastOk = { at, id };
      history.failing = null;
      break;
    case 'unchanged':
      answered(history, entry, 'unchanged');
      history.lastOk = { at, id };
      if (id !== null) history.unchanged = newest(moved(history.unchanged, id, at), UNCHANGED_KEPT);
      history.failing = null;
      break;
    case 'failed':
      answered(history, entry, 'failed');
      history.failing = {
        since: history.failing?.since ?? at,
        at,
        count: (history.failing?.count ?? 0) + 1,
        id,
        code: details.text('code') ?? 'unknown',
        message: details.text('message') ?? 'no reason was written down',
      };
      if (id !== null && details.text('left') !== null) history.leftovers[id] = details.text('left') as string;
      history.leftovers = newest(history.leftovers, LEFTOVERS_KEPT);
      break;
    case 'proof':
      foldProof(history, entry);
      break;
    case 'restore':
      foldRestore(history, entry);
      break;
    case 'pause':
      history.paused = { since: at, until: details.time('until'), reason: details.text('reason') ?? '' };
      break;
    case 'resume':
      history.paused = null;
      history.resumedAt = at;
      break;
    case 'hold':
    case 'release':
      if (id === null) break;
      history.released = history.released.filter((one) => one !== id);
      if (entry.event === 'release') history.released.push(id);
      history.holdChanges[id] = at;
      break;
    case 'ack':
      foldAcknowledgement(history, entry);
      break;
    case 'retained':
      history.retainedAt = at;
      if (id !== null) delete history.leftovers[id];
      break;
    case 'alert-opened':
    case 'alert-repeated': {
      const parsed = openAlert.safeParse(entry.details);
      if (parsed.success) {
        history.alerts[parsed.data.key] = parsed.data;
        history.alertChanges[parsed.data.key] = at;
        history.alertChanges = newest(history.alertChanges, CHANGES_KEPT);
      }
      break;
    }
    case 'alert-closed': {
      const key = details.text('key');
      if (key !== null) {
        delete history.alerts[key];
        history.alertChanges[key] = at;
      }
      break;
    }
    default:
      break;
  }
  return history;
}

/** What several vaults' ledgers of one source say together: of each thing the newest word. */
export function mergeHistories(histories: readonly SourceHistory[]): SourceHistory {
  const merged = emptyHistory();
  for (const one of histories) {
    merged.firstAt = least(merged.firstAt, one.firstAt);
    merged.lastAt = greatest(merged.lastAt, one.lastAt);
    for (const [schedule, run] of Object.entries(one.scheduled)) {
      const known = merged.scheduled[schedule];
      const newer = run.scheduledAt > (known?.scheduledAt ?? '');
      if (newer || (run.scheduledAt === known?.scheduledAt && run.at > known.at)) merged.scheduled[schedule] = run;
    }
    merged.lastOk = later(merged.lastOk, one.lastOk);
    const { failing, paused } = one;
    if (failing && !isEndedElsewhere(failing.at, ({ lastOk }) => lastOk?.at, one, histories))
      merged.failing = later(merged.failing, failing);
    merged.proof = later(merged.proof, one.proof);
    for (const [id, at] of Object.entries(one.unchanged))
      merged.unchanged[id] = greatest(merged.unchanged[id] ?? null, at) ?? at;
    merged.restore = later(merged.restore, one.restore);
    merged.resumedAt = greatest(merged.resumedAt, one.resumedAt);
    merged.retainedAt = greatest(merged.retainedAt, one.retainedAt);
    if (
      paused &&
      !isEndedElsewhere(paused.since, ({ resumedAt }) => resumedAt, one, histories) &&
      paused.since > (merged.paused?.since ?? '')
    )
      merged.paused = paused;
    Object.assign(merged.leftovers, one.leftovers);
    mergeHolds(merged, one);
    merged.acknowledged = [...new Set([...merged.acknowledged, ...one.acknowledged])];
    mergeAlerts(merged, one);
    for (const [day, counts] of Object.entries(one.days)) {
      const known = merged.days[day];
      if (!known || counts.ok + counts.failed > known.ok + known.failed) merged.days[day] = counts;
    }
  }
  for (const id of merged.acknowledged) delete merged.leftovers[id];
  return merged;
}

/**
 * What ended well after the last failure has ended it, whichever vault says so; and a pause, who resumed. Within one ledger
 * the order of its entries has said that already, and a clock that was ahead for a night cannot silence the failures of years.
 */
function isEndedElsewhere(
  begun: string,
  endOf: (history: SourceHistory) => string | null | undefined,
  one: SourceHistory,
  histories: readonly SourceHistory[],
): boolean {
  const isEnded = (history: SourceHistory): boolean => (endOf(history) ?? '') >= begun;
  return !isEnded(one) && histories.some((other) => other !== one && isEnded(other));
}

function mergeHolds(merged: SourceHistory, one: SourceHistory): void {
  for (const [id, changedAt] of Object.entries(one.holdChanges)) {
    const known = merged.holdChanges[id];
    if (known !== undefined && known >= changedAt) continue;
    merged.holdChanges[id] = changedAt;
    merged.released = merged.released.filter((released) => released !== id);
    if (one.released.includes(id)) merged.released.push(id);
  }
}

function mergeAlerts(merged: SourceHistory, one: SourceHistory): void {
  for (const [key, changedAt] of Object.entries(one.alertChanges)) {
    const known = merged.alertChanges[key];
    if (known !== undefined && known >= changedAt) continue;
    merged.alertChanges[key] = changedAt;
    const open = one.alerts[key];
    if (open) merged.alerts[key] = open;
    else delete merged.alerts[key];
  }
}

/** Whether the source is paused at this moment; a pause past its end is none. */
export function pausedAt(history: SourceHistory, now: Date): NonNullable<SourceHistory['paused']> | null {
  const { paused } = history;
  return paused && (paused.until === null || new Date(paused.until) > now) ? paused : null;
}

function foldProof(history: SourceHistory, entry: LedgerEntry): void {
  const details = detailsOf(entry);
  const { at, id } = entry;
  if (id === null) return;
  const outcome = details.text('outcome') ?? 'inconclusive';
  const seconds = details.number('seconds') ?? 0;
  history.proof = { id, at, outcome, reason: details.text('reason'), seconds };
  if (outcome === 'proven') history.restore = { at, seconds, id };
}

/** One that failed, or that only asked for a thaw, was not measured. */
function foldRestore(history: SourceHistory, entry: LedgerEntry): void {
  const seconds = detailsOf(entry).number('seconds');
  const { at, id } = entry;
  if (id !== null && seconds !== null) history.restore = { at, seconds, id };
}

function foldAcknowledgement(history: SourceHistory, entry: LedgerEntry): void {
  const details = detailsOf(entry);
  const { id } = entry;
  if (id !== null) {
    history.acknowledged = [...history.acknowledged.filter((one) => one !== id), id].slice(-ACKNOWLEDGED_KEPT);
    delete history.leftovers[id];
  }
  const key = details.text('key');
  const alert = key === null ? undefined : history.alerts[key];
  if (alert) alert.acknowledged = true;
}

/** A run, by its schedule and by its day. */
function answered(history: SourceHistory, entry: LedgerEntry, outcome: z.output<typeof runOutcome>): void {
  const details = detailsOf(entry);
  const schedule = details.text('schedule');
  const scheduledAt = details.time('scheduledAt');
  if (schedule !== null && scheduledAt !== null) {
    const known = history.scheduled[schedule];
    // A time that had not come when this was written was made by a clock that was ahead: it must not stand for ever.
    if (!known || scheduledAt >= known.scheduledAt || known.scheduledAt > entry.at) {
      const before = known?.scheduledAt === scheduledAt ? (known.failures ?? 0) : 0;
      const failures = before + (outcome === 'failed' ? 1 : 0);
      history.scheduled[schedule] = { scheduledAt, at: entry.at, outcome, failures };
    }
  }
  const day = entry.at.slice(0, 10);
  const counts = history.days[day] ?? { ok: 0, failed: 0, stored: 0, fullSeconds: 0 };
  const seconds = details.number('seconds');
  history.days[day] = {
    ok: counts.ok + (outcome === 'failed' ? 0 : 1),
    failed: counts.failed + (outcome === 'failed' ? 1 : 0),
    stored: counts.stored + (outcome === 'ok' && seconds !== null ? 1 : 0),
    fullSeconds: counts.fullSeconds + (outcome === 'ok' ? (seconds ?? 0) : 0),
  };
  const days = Object.keys(history.days).sort();
  for (const old of days.slice(0, Math.max(0, days.length - DAYS_KEPT))) delete history.days[old];
}

interface Details {
  text(name: string): string | null;
  time(name: string): string | null;
  number(name: string): number | null;
}

function detailsOf(entry: LedgerEntry): Details {
  const read = (name: string): unknown => (Object.hasOwn(entry.details, name) ? entry.details[name] : null);
  const text = (name: string): string | null => {
    const value = read(name);
    return typeof value === 'string' ? value : null;
  };
  return {
    text,
    time(name) {
      const value = text(name);
      return value !== null && time.safeParse(value).success ? value : null;
    },
    number(name) {
      const value = read(name);
      return typeof value === 'number' ? value : null;
    },
  };
}

/** With a value for `key`, as the one added last. */
function moved<T>(values: Record<string, T>, key: string, value: T): Record<string, T> {
  const { [key]: _before, ...rest } = values;
  return { ...rest, [key]: value };
}

/** The last `limit` of those added. */
function newest<T>(values: Record<string, T>, limit: number): Record<string, T> {
  const all = Object.entries(values);
  return all.length <= limit ? values : Object.fromEntries(all.slice(-limit));
}

function later<T extends { readonly at: string }>(a: T | null, b: T | null): T | null {
  if (a === null || b === null) return a ?? b;
  return b.at > a.at ? b : a;
}

function least(a: string | null, b: string | null): string | null {
  if (a === null || b === null) return a ?? b;
  return a < b ? a : b;
}

function greatest(a: string | null, b: string | null): string | null {
  if (a === null || b === null) return a ?? b;
  return a > b ? a : b;
}
