import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { keepOptions, lockOf } from '#core/keeping';
import { loadPlan } from '#core/plan-load';

const { plan } = loadPlan(
  `version: 1
name: kept
encryption: none
vaults:
  locked: { s3: one, region: eu-north-1, lock: governance }
  long: { s3: two, region: eu-north-1, lock: compliance, lockFor: 2y }
  open: { s3: three, region: eu-north-1 }
  disk: { disk: /d }
tiers:
  daily: { keep: 30d }
  weekly: { keep: 90d, class: infrequent }
  monthly: { keep: 12mo, class: archive-instant }
  yearly: { keep: forever, class: deep-archive }
  config: { keep: { versions: 10 }, every: 1h }
sources:
  app: { sqlite: { file: app.db }, schedule: [{ cron: "0 2 * * *", tiers: [daily, weekly, monthly, yearly], to: [locked, long, open, disk] }] }
`,
  'holdfast.yaml',
);
const now = new Date('2026-01-10T00:00:00Z');
const expires = new Date('2026-02-09T00:00:00Z');

describe('how a vault should keep the objects of a backup', () => {
  test('locked until a day before it expires, so that retention never waits for the lock', () => {
    assert.deepEqual(lockOf(plan, 'locked', 'daily', expires, now), {
      mode: 'governance',
      until: new Date('2026-02-08T00:00:00Z'),
    });
    assert.equal(lockOf(plan, 'open', 'daily', expires, now), null);
    assert.equal(lockOf(plan, 'disk', 'daily', expires, now), null);
    // A copy that is made when its lock would be over: stores refuse a lock that has ended.
    assert.equal(lockOf(plan, 'locked', 'daily', new Date('2026-01-10T12:00:00Z'), now), null);
  });

  test('what is kept for ever is locked for lockFor, a year unless told; what is counted in versions is not', () => {
    assert.deepEqual(lockOf(plan, 'locked', 'yearly', null, now)?.until, new Date('2027-01-10T00:00:00Z'));
    assert.deepEqual(lockOf(plan, 'long', 'yearly', null, now), {
      mode: 'compliance',
      until: new Date('2028-01-10T00:00:00Z'),
    });
    assert.equal(lockOf(plan, 'locked', 'config', null, now), null);
    // Of a tier that left the plan only the manifest's own end is known.
    assert.equal(lockOf(plan, 'locked', 'gone', null, now), null);
    assert.equal(lockOf(plan, 'locked', 'gone', expires, now)?.mode, 'governance');
  });

  test('classes are chosen at put, but for the archives, which are moved to later', () => {
    const classOf = (tier: string): string | undefined => keepOptions(plan, 'open', tier, expires, now).storageClass;
    assert.deepEqual(['daily', 'weekly', 'monthly', 'yearly', 'gone'].map(classOf), [
      undefined,
      'infrequent',
      'archive-instant',
      undefined,
      undefined,
    ]);
  });
});
