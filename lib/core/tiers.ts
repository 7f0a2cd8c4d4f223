import type { Duration } from '#core/duration';
import type { Schedule, Tier } from '#core/plan';
import type { ProofState } from '#core/proof';
import { previousRun } from '#core/schedule';
import { firstInstantAt, wallSeconds } from '#core/zone';

/** Retention classes whose period is a piece of the calendar. Users' own say `every:`. */
export const CALENDAR_TIERS = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const;
type CalendarTier = (typeof CALENDAR_TIERS)[number];

/** A backup of the source, as far as tiers care. */
export interface TierEntry {
  readonly tier: string;
  /** The time it was scheduled for where there is one, else its `snapshotAt`. */
  readonly at: Date;
  readonly proof: ProofState;
}

export interface DueTier {
  readonly tier: string;
  /** False when no tier was due and the run belongs to the lowest. */
  readonly due: boolean;
  /**
   * Whether the run may not end as "unchanged": its tier is due, and the copy that this one equals will expire one day.
   * Versions do not age, and a tier without a period promises no copy per period.
   */
  readonly mustStore: boolean;
}

/** The tiers a schedule names, lowest first. */
export function tiersOf(schedule: Pick<Schedule, 'tier' | 'tiers'>): readonly string[] {
  return schedule.tiers ?? (schedule.tier === undefined ? [] : [schedule.tier]);
}

/**
 * The tier a run belongs to: the highest of `names` (lowest first) that is due, else the lowest. A tier is due when its
 * present period has no backup of it yet that is not disproven: what was disproven has to be made up for.
 * @param moment the time the run was scheduled for, or now
 */
export function dueTier(
  names: readonly string[],
  tiers: Readonly<Record<string, Tier>>,
  zone: string,
  moment: Date,
  existing: readonly TierEntry[],
): DueTier {
  const due = names.findLast((name) => {
    const period = periodStart(name, tiers[name]?.every, zone, moment)?.getTime();
    // A single own tier needs no `every:`: each run is one of it.
    if (period === undefined) return true;
    return !existing.some(
      ({ tier, at, proof }) =>
        tier === name && proof !== 'disproven' && periodStart(name, tiers[name]?.every, zone, at)?.getTime() === period,
    );
  });
  const lowest = names[0];
  if (lowest === undefined) throw new Error('a schedule without a tier passed the plan check');
  if (due === undefined) return { tier: lowest, due: false, mustStore: false };
  const settings = tiers[due];
  const promised = settings !== undefined && periodSeconds(due, settings) !== null && 'seconds' in settings.keep;
  return { tier: due, due: true, mustStore: promised };
}

/** When the tier's period that the moment lies in began; undefined for an own tier without `every:`. */
export function periodStart(name: string, every: Duration | undefined, zone: string, moment: Date): Date | undefined {
  if (every) return previousRun({ every }, zone, moment) ?? undefined;
  if (!isCalendarTier(name)) return undefined;
  if (name === 'hourly') return previousRun({ every: { text: '1h', seconds: 3600 } }, zone, moment) ?? undefined;
  const today = new Date(wallSeconds(Math.floor(moment.getTime() / 1000), zone) * 1000);
  const [year, month, day] = [today.getUTCFullYear(), today.getUTCMonth(), today.getUTCDate()];
  const starts = {
    daily: Date.UTC(year, month, day),
    // ISO weeks begin on Monday; 0 is Sunday.
    weekly: Date.UTC(year, month, day - ((today.getUTCDay() + 6) % 7)),
    monthly: Date.UTC(year, month, 1),
    yearly: Date.UTC(year, 0, 1),
  };
  return new Date(firstInstantAt(starts[name] / 1000, zone) * 1000);
}

export function isCalendarTier(name: string): name is CalendarTier {
  return (CALENDAR_TIERS as readonly string[]).includes(name);
}

const PERIOD_SECONDS = { hourly: 3600, daily: 86_400, weekly: 604_800, monthly: 30 * 86_400, yearly: 365 * 86_400 };

/** Length of a tier's period, roughly; null for an own tier without `every:`. */
export function periodSeconds(name: string, tier: Tier): number | null {
  if (tier.every) return tier.every.seconds;
  return isCalendarTier(name) ? PERIOD_SECONDS[name] : null;
}

/** When the tier's promise ends; null when it keeps for ever, or counts versions. */
export function expiresAt(tier: Pick<Tier, 'keep'>, snapshotAt: Date): Date | null {
  if (!('seconds' in tier.keep) || !Number.isFinite(tier.keep.seconds)) return null;
  return new Date(snapshotAt.getTime() + tier.keep.seconds * 1000);
}
