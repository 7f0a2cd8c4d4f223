import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { isLockDay, lockTerm, renewedLock } from '#core/lock-renewal';
import { loadPlan } from '#core/plan-load';

const { plan } = loadPlan(
  `version: 1
name: locked
encryption: none
vaults:
  year: { s3: one-bucket, region: eu-north-1, lock: governance }
  week: { s3: two-bucket, region: eu-north-1, lock: compliance, lockFor: 7d }
  open: { s3: three-bucket, region: eu-north-1 }
  ssd: { disk: /b }
tiers: { daily: { keep: 30d }, yearly: { keep: forever }, config: { keep: { versions: 10 }, every: 1h } }
sources:
  app: { sqlite: { file: a.db }, schedule: [{ cron: "0 2 * * *", tiers: [daily, yearly], to: [year, week, open, ssd] }] }
`,
  'holdfast.yaml',
);

const DAY = 86_400_000;
const now = new Date('2026-11-21T00:00:10Z');
const ago = (days: number): Date => new Date(now.getTime() - days * DAY);
const kept = (tier: string, age: number, expires: Date | null = null) => ({ tier, snapshotAt: ago(age), expires });

describe('locks that retain renews', () => {
  test('what is kept for ever is locked for lockFor, whatever its manifest promised', () => {
    const year = { mode: 'governance', seconds: 365 * 86_400, why: 'kept for ever' } as const;
    assert.deepEqual(lockTerm(plan, 'year', kept('yearly', 300), 'keep', now), year);
    assert.deepEqual(lockTerm(plan, 'year', kept('yearly', 300, ago(200)), 'keep', now), year);
    assert.deepEqual(lockTerm(plan, 'week', kept('yearly', 300), 'hold', now), {
      mode: 'compliance',
      seconds: 7 * 86_400,
      why: 'kept for ever',
    });
  });

  test('what is held, or kept beyond its promise, is locked a month at a time, so that it can go soon after', () => {
    const month = (why: string) => ({ mode: 'governance', seconds: 30 * 86_400, why });
    assert.deepEqual(lockTerm(plan, 'year', kept('daily', 5, ago(-25)), 'hold', now), month('held'));
    assert.deepEqual(lockTerm(plan, 'year', kept('config', 5), 'hold', now), month('held'));
    const beyond = month('kept beyond its promise');
    assert.deepEqual(lockTerm(plan, 'year', kept('daily', 40, ago(10)), 'keep', now), beyond);
    assert.deepEqual(lockTerm(plan, 'year', kept('gone', 40), 'keep', now), beyond, 'promised without an end');
    assert.equal(lockTerm(plan, 'week', kept('daily', 40, ago(10)), 'keep', now)?.seconds, 7 * 86_400);
  });

  test('a lock that ends with its promise is left alone, and so is all that has none or is given up', () => {
    assert.equal(lockTerm(plan, 'year', kept('daily', 5, ago(-25)), 'keep', now), null);
    assert.equal(lockTerm(plan, 'year', kept('config', 5), 'keep', now), null, 'one of the versions');
    assert.equal(lockTerm(plan, 'year', kept('yearly', 300), 'remove', now), null);
    for (const vault of ['open', 'ssd', 'none'])
      assert.equal(lockTerm(plan, vault, kept('yearly', 300), 'hold', now), null);
  });

  test('renewed when less than half is left; a longer lock stays', () => {
    const term = { mode: 'governance', seconds: 10 * 86_400, why: 'held' } as const;
    const anew = { mode: 'governance', until: ago(-10) };
    assert.deepEqual(renewedLock(term, null, now), anew);
    assert.deepEqual(renewedLock(term, ago(1), now), anew);
    assert.deepEqual(renewedLock(term, ago(-4.9), now), anew);
    assert.equal(renewedLock(term, ago(-5), now), null);
    assert.equal(renewedLock(term, ago(-400), now), null);
  });

  test('a night looks at a seventh of the backups, and no lock runs out though every third night fails', () => {
    const terms = fc.constantFrom(7, 14, 30, 90, 365, 730);
    fc.assert(
      fc.property(terms, fc.integer({ min: 0, max: 86_399 }), fc.integer({ min: 0, max: 2 }), (days, second, lost) => {
        const term = { mode: 'governance', seconds: days * 86_400, why: 'kept for ever' } as const;
        const backup = { snapshotAt: new Date(Date.UTC(2026, 0, 1) + second * 1000) };
        let until = new Date(backup.snapshotAt.getTime() + term.seconds * 1000);
        let looks = 0;
        const nights = 2000;
        for (let night = 1; night <= nights; night++) {
          const at = new Date(Date.UTC(2026, 0, 1) + night * DAY + 10_000);
          assert.ok(until > at, `unlocked in night ${night} of a lock of ${days} days`);
          if (!isLockDay(backup, term, at)) continue;
          looks++;
          if (looks % 3 === lost) continue;
          until = renewedLock(term, until, at)?.until ?? until;
        }
        if (days >= 56) assert.ok(looks <= Math.ceil(nights / 7));
      }),
    );
  });
});
