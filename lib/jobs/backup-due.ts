import { isAnswered, scheduleKeys } from '#core/due';
import { Busy, type HoldfastError, UsageError } from '#core/errors';
import type { SourceHistory } from '#core/history';
import { isoTime, timeOfId } from '#core/manifest';
import type { Schedule } from '#core/plan';
import type { SourceRef, Vault } from '#core/ports';
import { stateOf } from '#core/proof';
import { isAhead } from '#core/stamped-ahead';
import { dueTier, tiersOf } from '#core/tiers';
import type { BackupRequest, Trigger } from '#jobs/backup-run';
import { manifestAt, outcomesOf, placesAsMade, placesOf } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import { type HeldVault, isOfVault } from '#jobs/held-vault';
import { historyIn, keepHistory } from '#jobs/source-history';

/** What lies further back is of no period that a tier may have: a year, and a margin for zones and leap days. */
const LONGEST_PERIOD_MILLISECONDS = 370 * 86_400_000;

/**
 * The schedule that a run belongs to: the one it answers; by hand, the first that may land in the tier asked for.
 * @throws UsageError no schedule has that tier, or that key any more
 */
export function scheduleFor(
  source: SourceRef,
  tier: string | null,
  asked: string | null,
): { readonly schedule: Schedule; readonly key: string } {
  const { schedule } = source.settings;
  const keys = scheduleKeys(source.settings);
  const found = schedule.findIndex(
    (one, index) =>
      one.kind !== 'differential' &&
      (asked === null || keys[index] === asked) &&
      (tier === null || tiersOf(one).includes(tier)),
  );
  const [chosen, key] = [schedule[found], keys[found]];
  if (chosen && key !== undefined) return { schedule: chosen, key };
  if (asked !== null)
    throw new UsageError(`no schedule of ${source.name} is "${asked}", want one of ${keys.join(', ')}`, {
      source: source.name,
    });
  const allowed = [...new Set(schedule.flatMap(tiersOf))];
  throw new UsageError(`no schedule of ${source.name} has tier "${tier}", want one of ${allowed.join(', ')}`, {
    source: source.name,
  });
}

/**
 * Two processes may find the same run due; the second one gets the lease when the first has made it.
 * @throws Busy a run has answered this time, or a later one, meanwhile
 */
export async function refuseIfAnswered(
  { schedule, scheduledAt }: Trigger,
  source: SourceRef,
  held: readonly HeldVault[],
  environment: JobEnvironment,
): Promise<void> {
  if (schedule === null || scheduledAt === null) return;
  const histories: SourceHistory[] = [];
  const failed: HoldfastError[] = [];
  for (const { vault } of held) {
    try {
      const history = await historyIn(vault, source.name);
      histories.push(history);
      // So that each run, and whoever looks in between, reads on from here.
      await keepHistory(vault, source.name, history);
    } catch (error) {
      // The night is not lost with one disk: the others know, and take the backup if this one cannot.
      if (!isOfVault(error)) throw error;
      failed.push(error);
    }
  }
  if (failed[0] && failed.length === held.length) throw failed[0];
  if (isAnswered(schedule, scheduledAt, histories, environment.run.clock.now()))
    throw new Busy(`the run of ${source.name} for ${isoTime(scheduledAt)} (${schedule}) was made by another process`, {
      source: source.name,
      hint: `holdfast ledger ${source.name} tells by whom`,
    });
}

/** @param moment the time the run was scheduled for, or now */
export async function dueFor(
  asked: string | null,
  moment: Date,
  schedule: Schedule,
  source: SourceRef,
  home: Vault,
  environment: JobEnvironment,
): Promise<{ readonly tier: string; readonly mayskip: boolean }> {
  const { plan } = environment.plan;
  const since = new Date(moment.getTime() - LONGEST_PERIOD_MILLISECONDS);
  const outcomes = await outcomesOf(home, source.name, since);
  const existing = (await placesOf(home, source.name, since)).map((place) => ({
    tier: place.tier,
    at: timeOfId(place.id),
    proof: stateOf((outcomes.get(place.id) ?? []).map((entry) => entry.outcome)),
  }));
  const due = dueTier(tiersOf(schedule), plan.tiers, plan.timezone, moment, existing);
  return { tier: asked ?? due.tier, mayskip: asked === null && !due.mustStore };
}

/** Only where the plan says `onChange`, and not when somebody asked for this very moment. */
export function mayBeSkipped(request: BackupRequest, source: SourceRef, tierAllows: boolean): boolean {
  return tierAllows && source.settings.files?.onChange === true && request.point === null && request.reason === null;
}

export async function unchanged(source: SourceRef, home: Vault, environment: JobEnvironment): Promise<boolean> {
  const outcomes = await outcomesOf(home, source.name);
  const now = environment.run.clock.now();
  const newest = (await placesAsMade(home, source.name, now)).at(-1);
  // One from the future may have been stamped by a clock that was ahead: the next one tells.
  if (!newest || isAhead(timeOfId(newest.id), now)) return false;
  const state = stateOf((outcomes.get(newest.id) ?? []).map((entry) => entry.outcome));
  if (state === 'disproven') return false;
  const { unchangedSince } = environment.engine(source);
  if (!unchangedSince) return false;
  const manifest = await manifestAt(home, newest);
  if (manifest.fingerprint.content === null) return false;
  return unchangedSince(source, manifest.fingerprint.content, environment.run);
}
