import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ownRoutes, possibleVaults, routesOf, wantedVaults, withReplicas } from '#core/copy-rules';
import { scheduleKeys } from '#core/due';
import { loadPlan } from '#core/plan-load';

const { plan } = loadPlan(
  `version: 1
name: ways
encryption: none
vaults:
  a: { disk: /a }
  b: { disk: /b, replica: { vault: c, lag: 5m, concurrent: 2 } }
  c: { disk: /c, replica: { vault: b } }
  d: { disk: /d }
tiers: { hourly: { keep: 7d }, daily: { keep: 30d } }
sources:
  app:
    sqlite: { file: app.db }
    schedule:
      - { every: 1h, tier: hourly, to: [a] }
      - { every: 4h, tiers: [hourly, daily], to: [d, a] }
  tree: { files: { paths: [x] }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [a, b] }] }
`,
  'holdfast.yaml',
);

describe('where a backup belongs', () => {
  test('into all vaults of the schedule it was made under, and of no other of its tier', () => {
    const [often, seldom] = scheduleKeys(plan.sources['app'] as NonNullable<(typeof plan.sources)['app']>);
    const wanted = (schedule: string | null): string[] => [
      ...wantedVaults(plan, 'app', { tier: 'hourly', schedule }, ['a']),
    ];
    assert.deepEqual(wanted(often as string), ['a']);
    assert.deepEqual(wanted(seldom as string).sort(), ['a', 'd']);
    // Of a schedule that is not in the plan any more: what the plan now says of its tier.
    assert.deepEqual(wanted('0 9 * * *').sort(), ['a', 'd']);
    assert.deepEqual(wanted(null).sort(), ['a', 'd']);
    assert.deepEqual([...possibleVaults(plan, 'app', 'hourly', ['a'])].sort(), ['a', 'd']);
  });

  test('from a vault with a replica into that one too, and rings of replicas end', () => {
    const tree = wantedVaults(plan, 'tree', { tier: 'daily', schedule: '0 2 * * *' }, ['a']);
    assert.deepEqual([...tree].sort(), ['a', 'b', 'c']);
    assert.deepEqual([...withReplicas(plan, ['c'])].sort(), ['b', 'c']);
    // A tier or source that left the plan is still copied with its vault.
    assert.deepEqual([...wantedVaults(plan, 'gone', { tier: 'old', schedule: null }, ['b'])].sort(), ['b', 'c']);
  });

  test('the ways: from the first vault of a schedule to the others, and back to it from the second', () => {
    const ways = routesOf(plan, 'app').map(({ from, to }) => `${from}→${to}`);
    assert.deepEqual(ways, ['b→c', 'c→b', 'd→a', 'a→d']);
    // Where it goes by the plan of today: a replica of a vault that it does not write is none of its own ways.
    assert.deepEqual(
      ownRoutes(plan, 'app').map(({ from, to }) => `${from}→${to}`),
      ['d→a', 'a→d'],
    );
    assert.deepEqual(
      ownRoutes(plan, 'tree').map(({ from, to }) => `${from}→${to}`),
      ['b→c', 'c→b', 'a→b', 'b→a'],
    );
    assert.deepEqual(ownRoutes(plan, 'gone'), []);
    assert.deepEqual(routesOf(plan, 'gone')[0], { from: 'b', to: 'c', limitSeconds: 300, concurrent: 2 });
  });
});
