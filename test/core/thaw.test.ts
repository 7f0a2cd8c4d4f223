import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { loadPlan } from '#core/plan-load';
import { archivedByPlan, slowestClass, thawSeconds, thawSecondsNow } from '#core/thaw';

const { plan } = loadPlan(
  `version: 1
name: cold
encryption: none
vaults:
  cloud: { s3: one-bucket, region: eu-north-1 }
  space: { s3: two-bucket, endpoint: "https://sgp1.example.com" }
  ssd: { disk: /b }
tiers:
  daily: { keep: 30d }
  monthly: { keep: 12mo, class: archive, after: 10d }
  yearly: { keep: forever, class: deep-archive }
sources:
  app: { sqlite: { file: a.db }, schedule: [{ cron: "0 2 * * *", tiers: [daily, monthly, yearly], to: [cloud, space, ssd] }] }
`,
  'holdfast.yaml',
);
const HOUR = 3600;
const backup = (tier: string, bytes = 1_000_000) => ({
  tier,
  snapshotAt: '2026-11-01T02:00:00Z',
  artifacts: [
    { name: 'x', volumes: [{ name: 'x.zst', bytes, sha256: '0'.repeat(64) }], plain: { bytes, sha256: null } },
  ],
});
const on = (day: string): Date => new Date(`${day}T12:00:00Z`);

describe('what a thaw takes', () => {
  test('a class and a speed have the longest time that AWS names; deep-archive has no quick one', () => {
    assert.equal(thawSeconds('archive', 'standard'), 5 * HOUR);
    assert.equal(thawSeconds('deep-archive', 'standard'), 12 * HOUR);
    assert.equal(thawSeconds('deep-archive', 'bulk'), 48 * HOUR);
    assert.equal(thawSeconds('deep-archive', 'expedited'), null);
    assert.equal(slowestClass(['archive', 'deep-archive', 'archive']), 'deep-archive');
    assert.equal(slowestClass([]), null);
  });

  test('by the plan, a backup needs one from `after:` on, 30 days unless told', () => {
    const monthly = archivedByPlan(plan, 'cloud', backup('monthly'));
    assert.equal(monthly?.from.toISOString(), '2026-11-11T02:00:00.000Z');
    assert.deepEqual([monthly?.class, monthly?.seconds], ['archive', 5 * HOUR]);
    assert.equal(archivedByPlan(plan, 'cloud', backup('yearly'))?.from.toISOString(), '2026-12-01T02:00:00.000Z');
  });

  test('never a small one, of another class or tier, on a disk, or in a store whose classes nobody knows', () => {
    assert.equal(archivedByPlan(plan, 'cloud', backup('yearly', 128 * 1024)), null);
    for (const tier of ['daily', 'gone']) assert.equal(archivedByPlan(plan, 'cloud', backup(tier)), null);
    for (const vault of ['space', 'ssd', 'none']) assert.equal(archivedByPlan(plan, vault, backup('yearly')), null);
  });

  test('it is added to a restore only while every copy needs one', () => {
    assert.equal(thawSecondsNow(plan, ['cloud'], backup('monthly'), on('2026-11-10')), 0);
    assert.equal(thawSecondsNow(plan, ['cloud'], backup('monthly'), on('2026-11-12')), 5 * HOUR);
    assert.equal(thawSecondsNow(plan, ['cloud', 'ssd'], backup('monthly'), on('2026-11-12')), 0);
    assert.equal(thawSecondsNow(plan, [], backup('monthly'), on('2026-11-12')), 0);
  });
});
