import type { Condition } from '#core/alert';
import { nextDue } from '#core/due';
import { formatSeconds } from '#core/duration';
import { pausedAt } from '#core/history';
import { type Kpi, kpisOf } from '#core/kpi';
import { isoTime } from '#core/manifest';
import { objectivesOf } from '#core/objectives';
import type { Source } from '#core/plan';
import { isOverdue, sourceConditions } from '#core/source-conditions';
import { useOf, vaultConditions } from '#core/vault-conditions';
import type { JobEnvironment } from '#jobs/environment';
import { lookAtSource, type SourceLook } from '#jobs/source-look';
import { lookAtVault, vaultsOfSources } from '#jobs/vault-look';
import { readWatchNotes } from '#jobs/watch-notes';

export interface SourceStatus {
  readonly source: string;
  readonly healthy: boolean;
  readonly newestProven: { readonly id: string; readonly snapshotAt: string; readonly vault: string } | null;
  /** Since the source last equalled a proven backup. */
  readonly ageSeconds: number | null;
  readonly rpoSeconds: number;
  readonly rpoIsDefault: boolean;
  /** What the newest restore or proof took: measured, not promised. */
  readonly restoreSeconds: number | null;
  /** What comes before it, by the plan: the thaw of the newest proven backup; 0 = none. */
  readonly thawSeconds: number;
  readonly rtoSeconds: number | null;
  readonly unprovenByChoice: boolean;
  /** Stored bytes of the newest backup, and the median of the ten before it. */
  readonly bytes: number | null;
  readonly medianBytes: number | null;
  /** Null: paused without an end, or nobody can tell. */
  readonly nextRun: string | null;
  readonly paused: { readonly since: string; readonly until: string | null; readonly reason: string } | null;
  /** Nobody acknowledged them. */
  readonly anomalies: readonly { readonly id: string; readonly kind: string; readonly message: string }[];
  readonly problems: readonly string[];
  /** Worth saying, and no reason to be unhealthy. */
  readonly notes: readonly string[];
}

export interface VaultStatus {
  readonly name: string;
  readonly url: string;
  readonly reachable: boolean;
  readonly freeBytes: number | null;
  /** The plan's `capacity`, else the disk's size. */
  readonly capacityBytes: number | null;
  /** Part of it that is in use, 0 to 1. */
  readonly use: number | null;
  readonly problem: string | null;
}

export interface Status {
  readonly healthy: boolean;
  readonly sources: readonly SourceStatus[];
  readonly vaults: readonly VaultStatus[];
  /** Of the plan's `kpi`; empty where it names none. */
  readonly kpis: readonly Kpi[];
}

/**
 * How things stand, from the vaults alone, and read only. It looks at ledgers, listings and the newest manifests, never
 * at all of them, so that it stays quick over ten thousand backups.
 */
export async function status(sources: readonly string[], environment: JobEnvironment): Promise<Status> {
  const { plan } = environment.plan;
  const now = environment.run.clock.now();
  const noted = await readWatchNotes(environment);
  const looks: SourceLook[] = [];
  for (const source of sources) looks.push(await lookAtSource(source, noted, false, environment));
  const lines = looks.map((look) => sourceStatus(look, now, environment));
  const vaults: VaultStatus[] = [];
  for (const name of vaultsOfSources(sources, environment))
    vaults.push(await vaultStatus(name, looks, now, environment));
  const lags = looks.flatMap(({ facts }) => facts.copies.map(({ lagSeconds }) => lagSeconds));
  const restores = looks.flatMap(({ restoreSeconds, thawSeconds }) =>
    restoreSeconds === null ? [] : [restoreSeconds + thawSeconds],
  );
  return {
    healthy: lines.every((line) => line.healthy) && vaults.every((vault) => vault.problem === null),
    sources: lines,
    vaults,
    kpis: kpisOf(
      plan.kpi,
      {
        histories: looks.map(({ facts }) => facts.history),
        lagSeconds: looks.every(({ away }) => away.size === 0) ? Math.max(0, ...lags) : null,
        recoverySeconds: restores.length === 0 ? null : Math.max(...restores),
      },
      now,
    ),
  };
}

function sourceStatus(look: SourceLook, now: Date, environment: JobEnvironment): SourceStatus {
  const { plan } = environment.plan;
  const { facts, newestProven, bytes } = look;
  const settings = plan.sources[facts.source] as Source;
  const { rpoSeconds, rpoIsDefault, rtoSeconds } = objectivesOf(settings);
  const paused = pausedAt(facts.history, now);
  const problems = problemsOf(look, now, environment);
  const next = look.answered.length === 0 ? null : nextDue(settings, look.known, now);
  return {
    source: facts.source,
    healthy: problems.length === 0,
    newestProven:
      newestProven && settings.prove !== 'never'
        ? { id: newestProven.id, snapshotAt: isoTime(newestProven.snapshotAt), vault: newestProven.vault }
        : null,
    ageSeconds: facts.ageSeconds === null ? null : Math.round(facts.ageSeconds),
    rpoSeconds,
    rpoIsDefault,
    restoreSeconds: look.restoreSeconds,
    thawSeconds: look.thawSeconds,
    rtoSeconds: rtoSeconds !== null && Number.isFinite(rtoSeconds) ? rtoSeconds : null,
    unprovenByChoice: settings.prove === 'never',
    bytes: bytes?.newest ?? null,
    medianBytes: bytes?.median ?? null,
    nextRun: next && isoTime(next),
    paused,
    anomalies: facts.anomalies.map(({ id, kind, message }) => ({ id, kind, message })),
    problems,
    notes: notesOf(look, paused),
  };
}

/** As `judge` has it where it speaks of age, so that what is not told yet is shown; as `watch` would tell it else. */
function problemsOf(look: SourceLook, now: Date, { plan: { plan } }: JobEnvironment): string[] {
  const { facts, away } = look;
  const judged = facts.findings.filter(({ rings, about }) => rings && about !== 'proof').map(({ message }) => message);
  const others = sourceConditions(facts, plan, now).filter(({ key }) => !['age', 'clock', 'rto'].includes(key));
  return [
    ...[...away.keys()].map((name) => `vault ${name} is not there: its copies are unknown`),
    ...judged,
    ...others.map((condition) => shortTitle(condition)),
  ];
}

/** Without the source's name, which stands before each line. */
function shortTitle({ title, source }: Condition): string {
  return source !== null && title.startsWith(`${source}: `) ? title.slice(source.length + 2) : title;
}

function notesOf({ facts }: SourceLook, paused: SourceStatus['paused']): string[] {
  const tried = facts.unproven.length > 0;
  const findings = facts.findings.filter(({ rings, about }) => !rings && !(about === 'proof' && tried));
  const waiting = facts.anomalies.some(({ endangers }) => endangers);
  const left = Object.keys(facts.history.leftovers).length;
  return [
    ...(paused
      ? [`paused since ${paused.since}${paused.until === null ? '' : `, until ${paused.until}`}: ${paused.reason}`]
      : []),
    ...(facts.running ? [`a backup is under way since ${isoTime(facts.running.since)}`] : []),
    ...findings.map(({ message }) => message),
    ...facts.copies
      // Those that are overdue are a problem already.
      .filter((way) => way.missing > 0 && !isOverdue(way))
      .map(
        ({ missing, to, lagSeconds }) =>
          `${missing === 1 ? 'a copy is' : `${missing} copies are`} missing in ${to}, for ${formatSeconds(lagSeconds)}`,
      ),
    ...(waiting
      ? [`retention keeps what was before: holdfast ack ${facts.source} --id ID --reason "…", when it is right so`]
      : []),
    ...(left > 0
      ? [`${left === 1 ? "a failed run's" : `${left} failed runs'`} leftovers are kept until acknowledged`]
      : []),
  ];
}

async function vaultStatus(
  name: string,
  looks: readonly SourceLook[],
  now: Date,
  environment: JobEnvironment,
): Promise<VaultStatus> {
  const facts = await lookAtVault(name, looks, false, environment);
  const [trouble] = vaultConditions([facts], environment.plan.plan.alerts?.storageAbove, new Set(), now);
  return {
    name,
    url: facts.url,
    reachable: facts.problem === null,
    freeBytes: facts.free,
    capacityBytes: facts.capacity,
    use: useOf(facts),
    problem: facts.problem?.message ?? trouble?.title ?? null,
  };
}
