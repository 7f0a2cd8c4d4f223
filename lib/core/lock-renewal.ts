import type { Duration } from '#core/duration';
import { lockForSeconds } from '#core/keeping';
import type { Plan } from '#core/plan';
import type { ObjectLock } from '#core/ports';
import type { Decision } from '#core/retention';

/**
 * Which locks have to be made longer, in a vault with `lock:`. A lock is put on with the backup, until a day before its
 * promise ends; what is kept for ever has no such day, and what is kept beyond its promise has passed it.
 */

const DAY_SECONDS = 86_400;
const DAY_MILLISECONDS = DAY_SECONDS * 1000;
/** For what is held, or kept beyond its promise: it is to go soon after the reason has gone. */
const MEANWHILE_SECONDS = 30 * DAY_SECONDS;
/** Each backup's lock is looked at so often: thousands of them cost a seventh of that many requests a night. */
const LOOKED_AT_EVERY_DAYS = 7;

export interface LockTerm {
  readonly mode: ObjectLock['mode'];
  /** From now. */
  readonly seconds: number;
  readonly why: 'kept for ever' | 'held' | 'kept beyond its promise';
}

/** Days that a renewed lock may still last: what a policy must allow. One more than it is for, as clocks differ. */
export function lockDaysAtMost(lockFor: Duration | undefined): number {
  return Math.ceil(lockForSeconds(lockFor) / DAY_SECONDS) + 1;
}

interface Kept {
  readonly tier: string;
  readonly snapshotAt: Date;
  /** The manifest's own promise; null = it names no end. */
  readonly expires: Date | null;
}

/**
 * How long what is kept should be locked from now on; null: its lock needs nothing, or there is to be none. What is kept
 * by number of versions is not locked while it is one of them: nobody knows when its time is over.
 */
export function lockTerm(
  plan: Plan,
  vault: string,
  { tier, expires }: Kept,
  action: Decision['action'],
  now: Date,
): LockTerm | null {
  const settings = Object.hasOwn(plan.vaults, vault) ? plan.vaults[vault] : undefined;
  if (action === 'remove' || !settings || !('s3' in settings) || !settings.lock) return null;
  const mode = settings.lock;
  const longest = lockForSeconds(settings.lockFor);
  const keep = Object.hasOwn(plan.tiers, tier) ? plan.tiers[tier]?.keep : undefined;
  if (keep && 'seconds' in keep && !Number.isFinite(keep.seconds))
    return { mode, seconds: longest, why: 'kept for ever' };
  const meanwhile = Math.min(MEANWHILE_SECONDS, longest);
  if (action === 'hold') return { mode, seconds: meanwhile, why: 'held' };
  const endless = expires === null && !(keep && 'versions' in keep);
  const over = expires !== null && expires <= now;
  return endless || over ? { mode, seconds: meanwhile, why: 'kept beyond its promise' } : null;
}

/** Whether today is the day, of each few, on which this backup's lock is looked at. Counted in days of UTC since it was taken. */
export function isLockDay({ snapshotAt }: Pick<Kept, 'snapshotAt'>, { seconds }: LockTerm, now: Date): boolean {
  const day = (moment: Date): number => Math.floor(moment.getTime() / DAY_MILLISECONDS);
  const age = day(now) - day(snapshotAt);
  // An eighth of the term: two looks that did not happen still leave a quarter of it.
  const step = Math.max(1, Math.min(LOOKED_AT_EVERY_DAYS, Math.floor(seconds / DAY_SECONDS / 8)));
  return age > 0 && age % step === 0;
}

/** Until when to lock anew; null: more than half of the term is left. */
export function renewedLock({ mode, seconds }: LockTerm, lockedUntil: Date | null, now: Date): ObjectLock | null {
  const half = now.getTime() + (seconds * 1000) / 2;
  if (lockedUntil !== null && lockedUntil.getTime() >= half) return null;
  return { mode, until: new Date(now.getTime() + seconds * 1000) };
}
