import { Cancelled, HoldfastError, KeyMissing } from '#core/errors';
import { isLockDay, type LockTerm, lockTerm, renewedLock } from '#core/lock-renewal';
import { isoTime } from '#core/manifest';
import type { Keeping, Vault } from '#core/ports';
import type { Decision } from '#core/retention';
import type { JobEnvironment } from '#jobs/environment';
import type { NotRenewed, Renewed } from '#jobs/retain-result';
import type { Surveyed } from '#jobs/retain-survey';
import { inTurns } from '#vault/in-turns';

const LOOKED_AT_ONCE = 8;

interface Due {
  readonly backup: Surveyed;
  readonly term: LockTerm;
}

/**
 * Makes the locks longer that would run out on what is kept. Only the manifest's own lock is read, which is renewed last:
 * a run that was killed between two objects begins anew with the same backup. It decides nothing and removes nothing;
 * what fails is told, and the rest of retention stands.
 * @param kept what retention has decided to keep, and how
 */
export async function renewLocks(
  kept: readonly { readonly backup: Surveyed; readonly action: Decision['action'] }[],
  vault: Vault,
  source: string,
  dryRun: boolean,
  { plan, run }: JobEnvironment,
): Promise<{ readonly renewed: readonly Renewed[]; readonly notRenewed: readonly NotRenewed[] }> {
  const now = run.clock.now();
  const { keeping } = vault;
  const due = kept.flatMap(({ backup, action }): Due[] => {
    const term = keeping ? lockTerm(plan.plan, vault.name, backup, action, now) : null;
    return term && isLockDay(backup, term, now) ? [{ backup, term }] : [];
  });
  const renewed: Renewed[] = [];
  if (!keeping || due.length === 0) return { renewed, notRenewed: [] };
  try {
    await inTurns(due, LOOKED_AT_ONCE, async (one) => {
      if (run.signal.aborted) throw new Cancelled('stopped while renewing locks', { source, cause: run.signal.reason });
      const until = await renew(one, keeping, dryRun, now);
      if (until)
        renewed.push({
          vault: vault.name,
          source,
          id: one.backup.id,
          why: one.term.why,
          until: isoTime(until),
          done: !dryRun,
        });
    });
  } catch (error) {
    if (!(error instanceof HoldfastError) || run.signal.aborted) throw error;
    const { code, message: reason, hint } = error;
    return { renewed: sorted(renewed), notRenewed: [{ vault: vault.name, source, code, reason, hint }] };
  }
  return { renewed: sorted(renewed), notRenewed: [] };
}

/** Until when it is locked now; null: there was nothing to do. */
async function renew({ backup, term }: Due, keeping: Keeping, dryRun: boolean, now: Date): Promise<Date | null> {
  const { manifest, rest } = backup.folder;
  if (manifest === null) return null;
  try {
    const lock = renewedLock(term, await keeping.lockedUntil(manifest), now);
    if (!lock) return null;
    if (!dryRun) {
      await keeping.extendLock(rest, lock);
      await keeping.extendLock([manifest], lock);
    }
    return lock.until;
  } catch (error) {
    // It went while this was under way.
    if (error instanceof KeyMissing) return null;
    throw error;
  }
}

function sorted(renewed: readonly Renewed[]): Renewed[] {
  return renewed.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}
