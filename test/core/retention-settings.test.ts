import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { objectivesOf } from '#core/objectives';
import type { Source } from '#core/plan';
import { loadPlan } from '#core/plan-load';
import { settingsIn } from '#core/retention-settings';

const { plan } = loadPlan(
  `version: 1
name: p
encryption: none
vaults: { ssd: { disk: a, replica: { vault: copy } }, hdd: { disk: b }, cloud: { disk: c }, copy: { disk: d }, old: { disk: e } }
tiers: { hourly: { keep: 7d }, daily: { keep: 30d }, weekly: { keep: 90d } }
sources:
  app:
    sqlite: { file: app.db }
    objectives: { rpo: 3h }
    schedule:
      - { every: 1h, tier: hourly, to: [ssd] }
      - { cron: "15 3 * * *", tier: daily, to: [hdd] }
      - { cron: "30 3 * * 0", tier: weekly, to: [cloud, hdd] }
`,
  'p.yaml',
);
const app = plan.sources['app'] as Source;
const HOUR = 3600;

describe('how old the newest proven backup of one vault may be before nothing is removed there', () => {
  for (const [vault, seconds, why] of [
    ['ssd', 3 * HOUR, 'the source’s RPO where its densest schedule comes'],
    ['copy', 3 * HOUR, 'the same where that is copied to'],
    ['hdd', 49 * HOUR, 'two days and an hour where the daily is the densest'],
    ['cloud', (14 * 24 + 1) * HOUR, 'two weeks and an hour where only the weekly comes'],
    ['old', 3 * HOUR, 'the source’s RPO where none comes any more'],
  ] as const)
    test(`${vault}: ${why}`, () => {
      assert.equal(objectivesOf(settingsIn(plan, app, vault)).rpoSeconds, seconds);
    });

  test('a longer RPO of the plan’s own is never shortened', () => {
    const patient: Source = { ...app, objectives: { rpo: { text: '30d', seconds: 30 * 24 * HOUR } } };
    assert.equal(settingsIn(plan, patient, 'hdd'), patient);
  });
});
