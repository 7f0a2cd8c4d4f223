import type { Duration } from '#core/duration';
import type { Plan } from '#core/plan';
import type { KeepOptions, ObjectLock } from '#core/ports';

const DAY_MILLISECONDS = 86_400_000;
const YEAR_SECONDS = 365 * 86_400;

/**
 * How a vault should keep a backup's objects (DESIGN section 4): the class that is chosen at put, and the lock. `archive`
 * and `deep-archive` are transitions that come later, and no class at put.
 * @param expires when the promise of its tier ends; null = never, or counted in versions
 */
export function keepOptions(
  plan: Plan,
  vault: string,
  tier: string,
  expires: Date | null,
  now: Date,
): Pick<KeepOptions, 'storageClass' | 'lock'> {
  const chosen = Object.hasOwn(plan.tiers, tier) ? plan.tiers[tier]?.class : undefined;
  const lock = lockOf(plan, vault, tier, expires, now);
  return {
    ...(chosen === 'infrequent' || chosen === 'archive-instant' ? { storageClass: chosen } : {}),
    ...(lock ? { lock } : {}),
  };
}

/**
 * The Object Lock of a backup's objects: until a day before it expires, so that retention never has to wait for it. What
 * is kept for ever is locked for `lockFor` from now, to be renewed. What is kept by number of versions is not locked:
 * nobody knows when its time is over.
 */
export function lockOf(plan: Plan, vault: string, tier: string, expires: Date | null, now: Date): ObjectLock | null {
  const settings = plan.vaults[vault];
  if (!settings || !('s3' in settings) || !settings.lock) return null;
  const keep = Object.hasOwn(plan.tiers, tier) ? plan.tiers[tier]?.keep : undefined;
  const forever = keep !== undefined && 'seconds' in keep && !Number.isFinite(keep.seconds);
  const until = expires
    ? expires.getTime() - DAY_MILLISECONDS
    : forever
      ? now.getTime() + lockForSeconds(settings.lockFor) * 1000
      : 0;
  return until > now.getTime() ? { mode: settings.lock, until: new Date(until) } : null;
}

/** How long what is kept for ever is locked, and locked again by retain (`core/lock-renewal`). */
export function lockForSeconds(lockFor: Duration | undefined): number {
  return lockFor === undefined || !Number.isFinite(lockFor.seconds) ? YEAR_SECONDS : lockFor.seconds;
}
