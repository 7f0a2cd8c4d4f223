import { formatSeconds } from '#core/duration';
import { Busy } from '#core/errors';
import type { SourceHistory } from '#core/history';
import { backupFolder } from '#core/manifest';
import { collect } from '#jobs/catalog';
import { givenUpSince } from '#jobs/copies-held';
import { releaseLoudly } from '#jobs/held-vault';
import { type Applying, finish, type How, isThere, sweep, takeProofs } from '#jobs/retain-apply';
import type { Cleared } from '#jobs/retain-result';
import type { Folder, Survey } from '#jobs/retain-survey';
import { acquireLease, type Lease } from '#vault/lease';

const DAY_MILLISECONDS = 86_400_000;
/** Jobs that put nothing below `backups/`. */
const HARMLESS = new Set(['retain', 'prove']);

/**
 * Clears away what is no backup: what a killed run of retention left of one, and what failed runs left, once somebody
 * has acknowledged them or the keep of their tier is over (I13). Never while a run that could be writing there is under
 * way: it takes that run's own lease, so that one that only slept finds it lost and commits nothing.
 */
export async function clearLeftovers(
  survey: Survey,
  history: SourceHistory,
  applying: Applying,
): Promise<readonly Cleared[]> {
  const { vault, source, environment } = applying;
  const now = environment.run.clock.now();
  const gone = proofsOfTheGone(survey, applying);
  const oldest = [...survey.leftovers.map(({ id }) => id), ...gone.keys()].toSorted()[0];
  if (oldest === undefined) return [];
  const since = new Date(timeOf(oldest).getTime() - DAY_MILLISECONDS);
  const given = await givenUpSince(vault, source, since);
  const due = survey.leftovers.flatMap((folder) => {
    if (given.has(folder.id)) return [{ folder, begun: true, reason: 'its removal was begun, and is finished now' }];
    const reason = whyOver(folder, history, now, applying);
    return reason === null ? [] : [{ folder, begun: false, reason }];
  });
  const orphaned = [...gone].filter(([id]) => given.has(id));
  if (due.length === 0 && orphaned.length === 0) return [];

  const leases = await fence(applying);
  if (leases === null) return [];
  try {
    const cleared: Cleared[] = [];
    for (const { folder, begun, reason } of due) {
      // A run that was under way when all was looked at may have ended well since.
      if (await isThere(vault, `${backupFolder({ source, ...folder })}/manifest.json`)) continue;
      const proofs = (survey.proofs.get(folder.id) ?? []).map(({ key }) => key);
      let how: How = 'swept';
      if (begun) how = await finish(folder, proofs, applying);
      else await sweep(folder, reason, applying);
      cleared.push({ source, vault: vault.name, id: folder.id, tier: folder.tier, bytes: folder.bytes, how, reason });
    }
    for (const [, keys] of orphaned) await takeProofs(keys, 'removed', applying);
    return cleared;
  } finally {
    for (const lease of leases) await releaseLoudly(lease, environment);
  }
}

/** Proofs of backups of which nothing else is left. Where the store ends what is marked, they are its to end. */
function proofsOfTheGone({ backups, unreadable, leftovers, proofs }: Survey, { marking }: Applying) {
  const gone = new Map<string, readonly string[]>();
  if (marking.size > 0) return gone;
  const present = new Set([...backups.map(({ id }) => id), ...unreadable, ...leftovers.map(({ id }) => id)]);
  for (const [id, records] of proofs)
    if (!present.has(id))
      gone.set(
        id,
        records.map(({ key }) => key),
      );
  return gone;
}

/** Null: it stays where it lies. */
function whyOver({ id, tier }: Folder, history: SourceHistory, now: Date, { environment }: Applying): string | null {
  if (history.acknowledged.includes(id)) return 'left by a run that failed, which somebody acknowledged';
  const { tiers } = environment.plan.plan;
  const keep = Object.hasOwn(tiers, tier) ? tiers[tier]?.keep : undefined;
  if (!keep || 'versions' in keep || !Number.isFinite(keep.seconds)) return null;
  const age = (now.getTime() - timeOf(id).getTime()) / 1000;
  if (age <= keep.seconds) return null;
  return `left by a run that failed ${formatSeconds(age)} ago; ${tier} is kept ${keep.text}`;
}

/** The leases of all jobs that could be writing there; null: one of them is at work, and the next run looks again. */
async function fence({ vault, source, environment }: Applying): Promise<readonly Lease[] | null> {
  const { run, holder, isGone } = environment;
  const leases: Lease[] = [];
  for (const job of await collect(vault.folders(`leases/${source}/`))) {
    if (HARMLESS.has(job)) continue;
    try {
      leases.push(await acquireLease(vault, { source, job, holder }, run.clock, isGone));
    } catch (error) {
      for (const lease of leases) await releaseLoudly(lease, environment);
      if (!(error instanceof Busy)) throw error;
      run.log.info(`leftovers of ${source} in ${vault.name} stay for now: ${error.message}`);
      return null;
    }
  }
  return leases;
}

/** Ids begin with the time of their run. */
function timeOf(id: string): Date {
  const [, date, hour, minute, second] = /^(\d{8})T(\d\d)(\d\d)(\d\d)Z/.exec(id) ?? ([] as string[]);
  return new Date(`${date?.slice(0, 4)}-${date?.slice(4, 6)}-${date?.slice(6)}T${hour}:${minute}:${second}Z`);
}
