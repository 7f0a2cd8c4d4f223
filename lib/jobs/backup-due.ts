import { UsageError } from '#core/errors';
import type { Schedule } from '#core/plan';
import type { SourceRef, Vault } from '#core/ports';
import { stateOf } from '#core/proof';
import { dueTier, tiersOf } from '#core/tiers';
import type { BackupRequest } from '#jobs/backup-run';
import { manifestAt, outcomesOf, placesOf } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';

/** What lies further back is of no period that a tier may have: a year, and a margin for zones and leap days. */
const LONGEST_PERIOD_MILLISECONDS = 370 * 86_400_000;

/** The schedule that a request by hand belongs to: the first that may land in the tier asked for. */
export function scheduleFor(source: SourceRef, tier: string | null): Schedule {
  const { schedule } = source.settings;
  const found = schedule.find((one) => one.kind !== 'differential' && (tier === null || tiersOf(one).includes(tier)));
  if (found) return found;
  const allowed = [...new Set(schedule.flatMap(tiersOf))];
  throw new UsageError(`no schedule of ${source.name} has tier "${tier}", want one of ${allowed.join(', ')}`, {
    source: source.name,
  });
}

export async function dueFor(
  asked: string | null,
  schedule: Schedule,
  source: SourceRef,
  home: Vault,
  environment: JobEnvironment,
): Promise<{ readonly tier: string; readonly mayskip: boolean }> {
  const { plan } = environment.plan;
  const moment = environment.run.clock.now();
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
  const places = await placesOf(home, source.name);
  const newest = places.at(-1);
  if (!newest) return false;
  const state = stateOf((outcomes.get(newest.id) ?? []).map((entry) => entry.outcome));
  if (state === 'disproven') return false;
  const { unchangedSince } = environment.engine(source);
  if (!unchangedSince) return false;
  const manifest = await manifestAt(home, newest);
  if (manifest.fingerprint.content === null) return false;
  return unchangedSince(source, manifest.fingerprint.content, environment.run);
}

function timeOfId(id: string): Date {
  const [, year, month, day, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z/.exec(id) ?? ([] as string[]);
  return new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}
