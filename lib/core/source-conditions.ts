import type { Condition } from '#core/alert';
import type { Anomaly } from '#core/anomaly';
import { scheduleKeys } from '#core/due';
import { formatSeconds } from '#core/duration';
import { pausedAt, type SourceHistory } from '#core/history';
import { isoTime } from '#core/manifest';
import type { MissedRun } from '#core/missed-runs';
import type { Finding } from '#core/objectives';
import type { Plan } from '#core/plan';
import { type ProofFacts, proofConditions } from '#core/proof-conditions';

/** What is known of one source at one moment: enough to say what is wrong with it. */
export interface SourceFacts extends ProofFacts {
  /** All reachable vaults' ledgers together. */
  readonly history: SourceHistory;
  /** Of `judge`, and the age it found. */
  readonly findings: readonly Finding[];
  readonly ageSeconds: number | null;
  readonly rpoSeconds: number;
  /** The first run that was ever due, and how much later it may end. */
  readonly firstDue: Date;
  readonly graceSeconds: number;
  readonly newestProven: { readonly id: string } | null;
  /** Those that nobody acknowledged. */
  readonly anomalies: readonly (Anomaly & { readonly snapshotAt: Date })[];
  /** Ids of backups that a clock which was ahead has stamped, and that nobody acknowledged; oldest first. */
  readonly stampedAhead: readonly string[];
  readonly copies: readonly CopyLag[];
  readonly missed: readonly MissedRun[];
  /** A backup run that holds a lease and beats. */
  readonly running: { readonly since: Date; readonly who: string } | null;
}

export interface CopyLag {
  readonly from: string;
  readonly to: string;
  readonly missing: number;
  readonly oldest: string | null;
  readonly lagSeconds: number;
  readonly limitSeconds: number | null;
  /** Backups that both vaults hold and that are not the same. */
  readonly differences: readonly string[];
}

/** Where the plan says no `replica.lag`: a run copies at its end, and `replicate` makes up for what it could not. */
const DEFAULT_LAG_SECONDS = 3600;
/** A pause without an end is told when it is so old. */
const FORGOTTEN_SECONDS = 7 * 86_400;
const LONGEST_RUN_SECONDS = 6 * 3600;
const TIMES_USUAL = 4;

/** Everything that is wrong with a source now. */
export function sourceConditions(facts: SourceFacts, plan: Plan, now: Date): Condition[] {
  const quiet = isQuiet(facts, now);
  return [
    ...failing(facts, plan),
    ...(quiet ? [] : missed(facts)),
    ...tooLong(facts, now),
    ...proofConditions(facts, plan),
    ...aged(facts, quiet, now),
    ...anomalies(facts),
    ...ahead(facts, now),
    ...copies(facts, now),
    ...forgottenPause(facts, now),
  ];
}

/** Paused, or just resumed: what was missed meanwhile is being caught up. */
function isQuiet({ history, graceSeconds }: SourceFacts, now: Date): boolean {
  if (pausedAt(history, now)) return true;
  const ended = [history.resumedAt, history.paused?.until].flatMap((time) => (time ? [Date.parse(time)] : []));
  const last = Math.max(...ended);
  return last <= now.getTime() && now.getTime() - last < graceSeconds * 1000;
}

function* failing({ source, history }: SourceFacts, plan: Plan): Iterable<Condition> {
  const { failing: runs, leftovers } = history;
  const next = [`holdfast ledger ${source}`, `holdfast check`, `holdfast backup ${source}`];
  if (runs) {
    const left = runs.id === null ? undefined : leftovers[runs.id];
    const times = runs.count === 1 ? 'The run' : `${runs.count} runs in a row`;
    yield {
      key: 'failed',
      kind: 'failed',
      source,
      title: `${source}: backup failed${runs.count === 1 ? '' : ` ${runs.count} times`}: ${runs.message}`,
      happened: [
        `${times} ended without a backup, the last at ${runs.at} (${runs.code}): ${runs.message}`,
        ...(left === undefined ? [] : [`What it left lies in ${left} and is kept until somebody acknowledges it.`]),
      ].join('\n'),
      since: new Date(runs.since),
      count: runs.count,
      next: left === undefined ? next : [...next, `holdfast ack ${source} --id ${runs.id} --reason "…"`],
    };
    return;
  }
  // One schedule's good runs do not make up for another's that fail. One that left the plan will never run again.
  const settings = plan.sources[source];
  const keys = settings ? scheduleKeys(settings) : [];
  const bad = Object.entries(history.scheduled).filter(
    ([key, { outcome }]) => outcome === 'failed' && keys.includes(key),
  );
  const [first] = bad;
  if (!first) return;
  const count = Math.max(...bad.map(([, { failures }]) => failures ?? 1));
  const words = bad.map(([key, { scheduledAt, failures }]) => `${key} (${failures ?? 1} times for ${scheduledAt})`);
  yield {
    key: 'failed',
    kind: 'failed',
    source,
    title: `${source}: runs of ${bad.map(([key]) => key).join(', ')} fail, while others end well`,
    happened: `These schedules' last runs ended without a backup: ${words.join('; ')}. The ledger says why.`,
    since: new Date(Math.min(...bad.map(([, { at }]) => Date.parse(at)))),
    count,
    next,
  };
}

function* missed({ source, missed: runs, running }: SourceFacts): Iterable<Condition> {
  if (running) return;
  for (const { schedule, firstAt, count } of runs)
    yield {
      key: `missed/${schedule}`,
      kind: 'failed',
      source,
      title: `${source}: ${count === 1 ? 'a run was' : `${count} runs were`} missed (${schedule})`,
      happened: `By its schedule ${schedule} a run was due at ${isoTime(firstAt)}${count === 1 ? '' : `, and ${count - 1} since`}, and no ledger knows of any: not of a failed one either. Whatever should start it does not: serve, the timer, or cron.`,
      since: firstAt,
      next: [`holdfast backup ${source} --due`, 'systemctl list-timers, or crontab -l, or is holdfast serve running?'],
    };
}

function* tooLong({ source, running, history }: SourceFacts, now: Date): Iterable<Condition> {
  if (!running) return;
  const days = Object.values(history.days);
  const stored = days.reduce((sum, day) => sum + day.stored, 0);
  const usual = stored === 0 ? null : days.reduce((sum, day) => sum + day.fullSeconds, 0) / stored;
  const seconds = (now.getTime() - running.since.getTime()) / 1000;
  if (seconds <= Math.max(LONGEST_RUN_SECONDS, TIMES_USUAL * (usual ?? 0))) return;
  yield {
    key: 'stuck',
    kind: 'failed',
    source,
    title: `${source}: a backup has been under way for ${formatSeconds(seconds)}`,
    happened: `${running.who} has held the lease since ${isoTime(running.since)}${usual === null ? '' : `; a backup usually takes ${formatSeconds(usual)}`}. No other run can begin before it ends.`,
    since: running.since,
    next: ['look what it waits for: its log, a lock in the source, a vault that hangs; end the process if need be'],
  };
}

function* aged(facts: SourceFacts, quiet: boolean, now: Date): Iterable<Condition> {
  const { source, findings, ageSeconds, rpoSeconds, firstDue, graceSeconds, running } = facts;
  const hasNone = ageSeconds === null;
  // The first run of all is under way, or has not had its time.
  const waits = hasNone && (running !== null || now.getTime() < firstDue.getTime() + graceSeconds * 1000);
  for (const { about, rings, message } of findings) {
    if (!rings || (about === 'age' && (quiet || waits))) continue;
    if (about !== 'age' && about !== 'clock' && about !== 'rto') continue;
    yield {
      key: about,
      kind: 'age',
      source,
      title: `${source}: ${message}`,
      happened: HAPPENED[about],
      since: about === 'age' ? (hasNone ? firstDue : new Date(now.getTime() - (ageSeconds - rpoSeconds) * 1000)) : now,
      next: NEXT[about](source),
    };
  }
}

const HAPPENED = {
  age: 'If the source were lost now, more would be lost with it than the plan allows.',
  clock:
    'The clock of this machine, of the one that made the backup, or of the vault is wrong. Ages cannot be trusted, and nothing is removed before it is set right.',
  rto: 'Giving the data back takes longer than the plan promises. It was measured by a proof or a restore, on that machine.',
} as const;

const NEXT = {
  age: (source: string) => [`holdfast backup ${source}`, `holdfast ledger ${source}`, 'holdfast check'],
  clock: () => ['timedatectl'],
  rto: (source: string) => [
    `holdfast restore ${source} --to ./somewhere --dry-run`,
    'or write a longer objectives.rto',
  ],
} as const;

/** All that is odd about one backup is one matter: it is acknowledged at once. */
function* anomalies({ source, anomalies: found }: SourceFacts): Iterable<Condition> {
  for (const id of new Set(found.map((one) => one.id))) {
    const of = found.filter((one) => one.id === id);
    const words = of.map(({ message }) => message);
    const [first] = of;
    if (!first) continue;
    yield {
      key: `anomaly/${id}`,
      kind: 'anomaly',
      source,
      title: `${source}: ${words.join('; ')}`,
      happened: [
        `Backup ${id} is proven, so this is what the source held: ${words.join('; ')}.`,
        of.some(({ endangers }) => endangers)
          ? 'Until somebody acknowledges it, the newest proven backup before it is kept, whatever its age.'
          : 'Nothing is endangered by it but space.',
      ].join('\n'),
      since: first.snapshotAt,
      next: [`holdfast show ${source} ${id}`, `if it is right so: holdfast ack ${source} --id ${id} --reason "…"`],
    };
  }
}

function* ahead({ source, stampedAhead: ids }: SourceFacts, now: Date): Iterable<Condition> {
  const last = ids.at(-1);
  if (last === undefined) return;
  const [what, count] = ids.length === 1 ? [`backup ${last} was`, 'counts'] : [`${ids.length} backups were`, 'count'];
  yield {
    key: `ahead/${last}`,
    kind: 'age',
    source,
    severity: 'medium',
    title: `${source}: ${what} stamped by a clock that was ahead, and ${count} for nothing`,
    happened:
      'Others of an earlier time were made after that. A restore passes over what is stamped so, unless it is asked for by its id; until somebody acknowledges it, nothing of this source is removed.',
    since: now,
    next: ['date -u', `when the clock is right now: holdfast ack ${source} --id ${last} --reason "…"`],
  };
}

/** Copies are missing for longer than the plan allows, or than anybody would wait. */
export function isOverdue({ missing, lagSeconds, limitSeconds }: CopyLag): boolean {
  return missing > 0 && lagSeconds > (limitSeconds ?? DEFAULT_LAG_SECONDS);
}

function* copies({ source, copies: ways }: SourceFacts, now: Date): Iterable<Condition> {
  for (const way of ways) {
    const { from, to, missing, oldest, lagSeconds, differences } = way;
    if (isOverdue(way))
      yield {
        key: `copies/${from}/${to}`,
        kind: 'replication',
        source,
        title: `${source}: ${missing === 1 ? 'a backup is' : `${missing} backups are`} missing in ${to}, for ${formatSeconds(lagSeconds)}`,
        happened: `They are in ${from} and belong into ${to} too; the oldest is ${oldest}. Should ${from} be lost now, they are lost.`,
        since: new Date(now.getTime() - lagSeconds * 1000),
        next: [`holdfast replicate --from ${from} --to ${to}`],
      };
    if (differences.length > 0)
      yield {
        key: `differ/${from}/${to}`,
        kind: 'replication',
        source,
        title: `${source}: ${differences.length === 1 ? 'a copy differs' : `${differences.length} copies differ`} between ${from} and ${to}`,
        happened: differences.slice(0, 5).join('\n'),
        since: now,
        next: [`holdfast prove ${source} --id ID --stored`, `holdfast ledger verify ${source}`],
      };
  }
}

function* forgottenPause({ source, history }: SourceFacts, now: Date): Iterable<Condition> {
  const paused = pausedAt(history, now);
  if (!paused || paused.until !== null) return;
  const seconds = (now.getTime() - Date.parse(paused.since)) / 1000;
  if (seconds < FORGOTTEN_SECONDS) return;
  yield {
    key: 'paused',
    kind: 'age',
    source,
    severity: 'medium',
    title: `${source}: paused for ${formatSeconds(seconds)}, without an end: ${paused.reason}`,
    happened: 'Nothing of it runs by its schedules, and its age rings nobody, until somebody resumes it.',
    since: new Date(paused.since),
    next: [`holdfast resume ${source}`, `or give it an end: holdfast pause ${source} --until TIME --reason "…"`],
  };
}
