import { COMPARED_WITH, medianOf } from '#core/anomaly';
import type { Known } from '#core/due';
import type { HoldfastError, RecordInvalid } from '#core/errors';
import type { SourceHistory } from '#core/history';
import { timeOfId } from '#core/manifest';
import { graceSeconds, missedRuns } from '#core/missed-runs';
import { firstDueRun, judge, objectivesOf } from '#core/objectives';
import type { Plan, Source } from '#core/plan';
import type { Vault } from '#core/ports';
import type { SourceFacts } from '#core/source-conditions';
import { isAhead } from '#core/stamped-ahead';
import { thawSecondsNow } from '#core/thaw';
import type { JobEnvironment } from '#jobs/environment';
import { missingCopies } from '#jobs/newest-copies';
import { withoutStampedAhead } from '#jobs/source-ahead';
import { openAnomalies } from '#jobs/source-anomalies';
import { type FoundHistory, historyOf } from '#jobs/source-history';
import {
  AnsweringVaults,
  counts,
  manifestsOf,
  newestBackups,
  type ReadBackup,
  type SeenBackup,
} from '#jobs/source-listing';
import { disprovenCopies, type NewestProven, newestThatCounts, stampOf, triedAfter } from '#jobs/source-proofs';
import type { WatchNotes } from '#jobs/watch-notes';
import { readVaultIdentity } from '#vault/identity';
import { openLease } from '#vault/lease';

/** A watcher that slept for long does not read a year of manifests. */
const MOST_READ = 200;

export interface SourceLook {
  readonly facts: SourceFacts;
  readonly found: FoundHistory;
  /** For what is due. */
  readonly known: Known;
  /** Vaults that answered to the end; what the others said instead. */
  readonly answered: readonly Vault[];
  readonly away: ReadonlyMap<string, HoldfastError>;
  readonly newestProven: NewestProven | null;
  /** Stored bytes of the newest backup that counts, and the median of the ten before it. */
  readonly bytes: { readonly newest: number; readonly median: number | null } | null;
  /** The last measured restore or proof. */
  readonly restoreSeconds: number | null;
  /** The thaw that comes before a restore of the newest proven backup, by the plan; 0 = none. */
  readonly thawSeconds: number;
  /** Newest proven backup that was compared with those before it. */
  readonly judged: string | null;
}

/**
 * How a source stands, from the ledgers, the listings and the newest manifests of its vaults.
 * @param noted what the watcher remembers; null = nothing
 * @param thorough also what takes longer: all proofs, leases. For `watch`
 */
export async function lookAtSource(
  source: string,
  noted: WatchNotes | null,
  thorough: boolean,
  environment: JobEnvironment,
): Promise<SourceLook> {
  const { plan } = environment.plan;
  const settings = plan.sources[source] as Source;
  const now = environment.run.clock.now();
  const found = await historyOf(source, environment);
  const { history } = found;
  const vaults = new AnsweringVaults(
    [...found.byVault.keys()].map((name) => environment.vault(name)),
    new Map(found.missing.map(({ vault, error }) => [vault, error])),
  );
  const invalid = new Map<string, string>();
  const onInvalid = (id: string, { message }: RecordInvalid): void => {
    invalid.set(id, message);
  };
  const judgedUntil = judgedBefore(noted?.judged[source] ?? null, now);
  const listed = await newestBackups(vaults, source, settings, now, judgedUntil);
  const { seen, ahead } = await withoutStampedAhead(listed, vaults, now, onInvalid);
  const backups = await manifestsOf(wanted(seen, settings, judgedUntil), vaults, onInvalid);
  const newestProven = await newestThatCounts(backups, settings, vaults, onInvalid);
  const unproven = await triedAfter(newestProven?.id ?? '', seen, backups, vaults, onInvalid);
  const since = await heardOf(source, found, noted, vaults, environment);
  const firstDue = firstDueRun(settings, plan.timezone, since);
  const measured = history.restore !== null && history.restore.seconds > 0 ? history.restore.seconds : null;
  const restoreSeconds = measured ?? newestProven?.seconds ?? null;
  const provenBackup = backups.find(({ manifest }) => manifest.id === newestProven?.id);
  const thawSeconds = provenBackup ? thawOf(provenBackup, plan, now) : 0;
  const last = seen.at(-1);
  const newest = backups.find(({ manifest }) => manifest.id === last?.place.id);
  const equalledAt = newestProven === null ? undefined : history.unchanged[newestProven.id];
  const judgement = judge(
    settings,
    {
      firstDue,
      newestProven,
      unchangedAt: equalledAt === undefined ? null : new Date(equalledAt),
      newest: last && newest ? { ...stampOf(newest), proof: last.proof } : null,
      reason: unproven.find(({ id }) => id === last?.place.id)?.reason ?? null,
      restoreSeconds,
      thawSeconds,
    },
    now,
  );
  const histories = [...found.byVault.values()];
  const missed = missedRuns(
    settings,
    plan.timezone,
    histories,
    (key) => scheduleSince(key, source, since, histories, noted),
    now,
  );
  const proven = backups.filter((one) => one.seen.proof === 'proven');
  const someAnswered = vaults.all.length > 0;
  const facts: SourceFacts = {
    source,
    history,
    // Where no vault answers nobody knows how old anything is: that is the vaults' trouble to tell (I14).
    findings: someAnswered ? judgement.findings : [],
    ageSeconds: someAnswered ? judgement.ageSeconds : null,
    rpoSeconds: objectivesOf(settings).rpoSeconds,
    firstDue,
    graceSeconds: graceSeconds(settings, plan.timezone, now),
    newestProven,
    unproven,
    disproven: await disprovenCopies(source, seen, newestProven, unproven, history, vaults, thorough),
    invalid: [...invalid].map(([id, message]) => ({ id, message })),
    anomalies: openAnomalies(
      proven,
      seen,
      history,
      { ...history.alerts, ...noted?.unwritten[source]?.open },
      judgedUntil,
    ),
    stampedAhead: unknownAhead(ahead, history.acknowledged),
    copies: missingCopies(source, backups, vaults, now, environment),
    // A run is written down in the vault that took it first: with one away, nobody knows what was missed.
    missed: vaults.away.size === 0 ? missed : [],
    running: thorough || missed.length > 0 ? await runningNow(source, vaults, environment) : null,
  };
  return {
    facts,
    found,
    known: { zone: plan.timezone, histories, since },
    answered: vaults.all,
    away: vaults.away,
    newestProven,
    bytes: sizesOf(backups.filter((one) => counts(one.seen.proof, settings))),
    restoreSeconds,
    thawSeconds,
    judged: proven.at(-1)?.manifest.id ?? null,
  };
}

/** What was judged when a clock was ahead says nothing of what has come since. */
function judgedBefore(id: string | null, now: Date): string | null {
  return id !== null && isAhead(timeOfId(id), now) ? null : id;
}

/** Who has acknowledged one of them knows of all up to it: it was one clock. */
function unknownAhead(ahead: readonly string[], acknowledged: readonly string[]): readonly string[] {
  const known = ahead.findLastIndex((id) => acknowledged.includes(id));
  return ahead.slice(known + 1);
}

/** The newest eleven that count, those not judged yet with ten before them, and the newest of all. */
function wanted(seen: readonly SeenBackup[], settings: Source, judgedUntil: string | null): SeenBackup[] {
  const counting = seen.filter(({ proof }) => counts(proof, settings));
  const notJudged = judgedUntil === null ? 0 : counting.filter(({ place }) => place.id > judgedUntil).length;
  const read = counting.slice(-Math.min(COMPARED_WITH + Math.max(1, notJudged), MOST_READ));
  const last = seen.at(-1);
  return last && read.at(-1) !== last ? [...read, last] : read;
}

/** Since when the source is in the plan, as far as anybody knows: nothing rings before its first run after that (I10). */
async function heardOf(
  source: string,
  { history }: FoundHistory,
  noted: WatchNotes | null,
  vaults: AnsweringVaults,
  environment: JobEnvironment,
): Promise<Date> {
  const times = [environment.run.clock.now().getTime()];
  for (const vault of vaults.all) {
    const identity = await vaults.ask(vault, () => readVaultIdentity(vault, environment.plan.plan.name));
    if (identity) times.push(Date.parse(identity.created));
  }
  if (history.firstAt !== null) return new Date(Math.min(...times, Date.parse(history.firstAt)));
  return later(new Date(Math.min(...times)), noted?.seen[source]);
}

/** A schedule that nobody ever answered may be newer than its source. */
function scheduleSince(
  key: string,
  source: string,
  since: Date,
  histories: readonly SourceHistory[],
  noted: WatchNotes | null,
): Date {
  const answered = histories.some(({ scheduled }) => Object.hasOwn(scheduled, key));
  return answered ? since : later(since, noted?.seen[`${source} ${key}`]);
}

async function runningNow(
  source: string,
  vaults: AnsweringVaults,
  { isGone }: JobEnvironment,
): Promise<SourceFacts['running']> {
  for (const vault of vaults.all) {
    const held = await vaults.ask(vault, () => openLease(vault, { source, job: 'backup' }, isGone));
    if (held?.alive && held.since)
      return { since: held.since, who: held.holder ? `process ${held.holder.pid} on ${held.holder.host}` : 'somebody' };
  }
  return null;
}

function thawOf({ seen, manifest }: ReadBackup, plan: Plan, now: Date): number {
  return thawSecondsNow(
    plan,
    seen.in.map(({ vault }) => vault),
    manifest,
    now,
  );
}

function sizesOf(counting: readonly ReadBackup[]): SourceLook['bytes'] {
  const sizes = counting.map(({ manifest }) =>
    manifest.artifacts.flatMap(({ volumes }) => volumes).reduce((sum, { bytes }) => sum + bytes, 0),
  );
  const newest = sizes.at(-1);
  if (newest === undefined) return null;
  const before = sizes.slice(0, -1).slice(-COMPARED_WITH);
  return { newest, median: before.length === 0 ? null : medianOf(before) };
}

function later(a: Date, b: string | undefined): Date {
  return b !== undefined && new Date(b) > a ? new Date(b) : a;
}
