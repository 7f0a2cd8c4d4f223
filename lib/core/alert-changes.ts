import { type Condition, type OpenAlert, SEVERITIES, type Severity } from '#core/alert';
import { isoTime } from '#core/manifest';

/**
 * From what is wrong now and what was told before to what is to be told. An alert is told when it opens, spaced out while
 * it lasts, once with more weight when nobody mends it, and once when it is over.
 */

export interface AlertSettings {
  /** By kind, where the condition has no severity of its own. */
  severityOf(kind: Condition['kind']): Severity;
  /** Told so many times, or failed so often, and it goes one severity up. */
  readonly escalateAfter: number;
  /** From the first telling to the second; doubles with each, up to a week. */
  readonly repeatEverySeconds: number;
}

export const DEFAULT_ESCALATE_AFTER = 3;
export const DEFAULT_REPEAT_SECONDS = 86_400;
const LONGEST_REPEAT_SECONDS = 7 * 86_400;
/** Back within so long of its end: the end was none. */
const CAME_BACK_SECONDS = 86_400;
/** What came back must be gone for so long before it is called over again. */
const SETTLED_SECONDS = 2 * 3600;

export interface AlertChange {
  readonly what: 'opened' | 'repeated' | 'escalated' | 'closed';
  /** As the ledger is to remember it; of a closed one, as it was. */
  readonly alert: OpenAlert;
  /** Null when it is over. */
  readonly condition: Condition | null;
  /** Severities whose channels have heard of it before, and hear of this too. */
  readonly also: readonly Severity[];
}

export interface AlertsBefore {
  /** Open alerts by key. */
  readonly open: Readonly<Record<string, OpenAlert>>;
  /** When each alert last changed, also of those that are closed. */
  readonly changedAt: Readonly<Record<string, string>>;
  /** Open ones that were not wrong any more when last looked at, and since when. */
  readonly absentSince: Readonly<Record<string, string>>;
}

export interface AlertsNow {
  readonly conditions: readonly Condition[];
  /** Whether what would tell that this alert is over could not be looked at: then it stays as it is (I14). */
  undecided(alert: OpenAlert): boolean;
}

export interface AlertsAfter {
  readonly changes: readonly AlertChange[];
  readonly absentSince: Readonly<Record<string, string>>;
}

/** @returns what to tell, in the order of keys; whoever tells it writes each change down when it was told */
export function alertChanges(
  before: AlertsBefore,
  { conditions, undecided }: AlertsNow,
  settings: AlertSettings,
  now: Date,
): AlertsAfter {
  const byKey = new Map(conditions.map((condition) => [condition.key, condition]));
  const keys = [...new Set([...byKey.keys(), ...Object.keys(before.open)])].sort();
  const absentSince: Record<string, string> = {};
  const changes = keys.flatMap((key): AlertChange[] => {
    const condition = byKey.get(key);
    const open = Object.hasOwn(before.open, key) ? before.open[key] : undefined;
    if (condition) {
      const change = changeOf(condition, open, before.changedAt[key], settings, now);
      return change ? [change] : [];
    }
    if (!open || undecided(open)) return [];
    const since = before.absentSince[key] ?? isoTime(now);
    if (open.flaps && now.getTime() - Date.parse(since) < SETTLED_SECONDS * 1000) {
      absentSince[key] = since;
      return [];
    }
    return [{ what: 'closed', alert: open, condition: null, also: open.escalated ? below(open.severity) : [] }];
  });
  return { changes, absentSince };
}

function changeOf(
  condition: Condition,
  open: OpenAlert | undefined,
  changedAt: string | undefined,
  settings: AlertSettings,
  now: Date,
): AlertChange | null {
  const { key, kind, title } = condition;
  const own = condition.severity ?? settings.severityOf(kind);
  const often = (condition.count ?? 0) >= settings.escalateAfter;
  const toldAt = isoTime(now);
  if (!open) {
    const escalated = often && above(own) !== null;
    const alert: OpenAlert = {
      key,
      kind,
      severity: escalated ? (above(own) as Severity) : own,
      title,
      since: isoTime(condition.since < now ? condition.since : now),
      toldAt,
      told: 1,
      escalated,
      acknowledged: false,
      ...(changedAt !== undefined && secondsBetween(changedAt, now) < CAME_BACK_SECONDS ? { flaps: true } : {}),
    };
    return { what: 'opened', alert, condition, also: escalated ? below(alert.severity) : [] };
  }
  // A clock that was ahead may have opened it: nothing has lasted since a time that has not come.
  const since = new Date(open.since) > now ? toldAt : open.since;
  const again = { ...open, title, since, toldAt, told: open.told + 1 };
  // It has become worse by itself: disproven, where it was only inconclusive.
  if (rank(own) > rank(open.severity))
    return {
      what: 'escalated',
      alert: { ...again, severity: own, acknowledged: false },
      condition,
      also: [open.severity],
    };
  if (open.acknowledged) return null;
  const sinceTold = secondsBetween(open.toldAt, now);
  // Told by a clock that was far ahead: it would else be silent until that time comes.
  const isDue = sinceTold >= repeatAfter(open.told, settings) || sinceTold < -LONGEST_REPEAT_SECONDS;
  const higher = above(open.severity);
  if (!open.escalated && higher !== null && (often || (isDue && open.told + 1 >= settings.escalateAfter)))
    return {
      what: 'escalated',
      alert: { ...again, severity: higher, escalated: true },
      condition,
      also: [open.severity],
    };
  if (!isDue) return null;
  return { what: 'repeated', alert: again, condition, also: open.escalated ? below(open.severity) : [] };
}

/** After the nth telling. */
export function repeatAfter(told: number, { repeatEverySeconds }: Pick<AlertSettings, 'repeatEverySeconds'>): number {
  const longest = Math.max(LONGEST_REPEAT_SECONDS, repeatEverySeconds);
  return Math.min(repeatEverySeconds * 2 ** Math.min(told - 1, 30), longest);
}

/** Negative counts as no time: a clock was set back, and nothing is repeated for that. */
function secondsBetween(earlier: string, later: Date): number {
  return (later.getTime() - Date.parse(earlier)) / 1000;
}

function rank(severity: Severity): number {
  return SEVERITIES.indexOf(severity);
}

function above(severity: Severity): Severity | null {
  return SEVERITIES[rank(severity) + 1] ?? null;
}

/** The one below: an alert is escalated by one step. */
function below(severity: Severity): Severity[] {
  return SEVERITIES.slice(0, rank(severity)).slice(-1);
}
