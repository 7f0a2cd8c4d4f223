import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { loadPlan } from '#core/plan-load';
import { checkedPlan, isWhole } from '#core/plan-value';
import { variablesOfChannels, variablesOfHeartbeat, variablesOfVaults } from '#core/plan-variables';
import { placesOfSources, seenFromAws } from '#core/where';

const EXAMPLES = new URL('../../examples/', import.meta.url);
const plans = readdirSync(EXAMPLES)
  .filter((file) => file.endsWith('.yaml'))
  .map((file) => loadPlan(readFileSync(new URL(file, EXAMPLES), 'utf8'), file));

describe('a plan beside a function', () => {
  for (const loaded of plans)
    test(`${loaded.file}: what was read at synthesis is the same plan, and whole`, () => {
      const value: unknown = JSON.parse(JSON.stringify(loaded.value));
      const read = checkedPlan(value, loaded.text, loaded.file);
      assert.deepEqual(read.plan, loaded.plan);
      assert.equal(read.sha256, loaded.sha256);
      assert.ok(isWhole(read));
      assert.ok(!isWhole({ ...read, text: 'a piece' }));
    });

  for (const { file, plan } of plans)
    test(`${file}: AWS sees its buckets alone, and every source of the cloud whole`, () => {
      const seen = seenFromAws(plan);
      assert.ok(Object.values(seen.vaults).every((vault) => 's3' in vault));
      for (const { source, where } of placesOfSources(plan))
        if (where === 'cloud') assert.deepEqual(seen.sources[source], plan.sources[source]);
      for (const { schedule } of Object.values(seen.sources))
        assert.ok(
          schedule.length > 0 && schedule.every(({ to }) => to.every((name) => Object.hasOwn(seen.vaults, name))),
        );
    });
});

test('what a function is given the values of: keys of other stores, its channels, the dead man’s address', () => {
  const { plan } = loadPlan(
    `version: 1
name: shop
encryption: none
vaults:
  space: { s3: shop, endpoint: "https://sgp1.example.com", accessKeyId: "\${SPACES_KEY}", secretAccessKey: "\${SPACES_SECRET}" }
tiers: { daily: { keep: 30d } }
sources:
  events: { postgres: { url: "\${DATABASE_URL}" }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [space] }] }
alerts:
  critical: [{ slack: "\${SLACK_WEBHOOK}" }, { email: ops@example.com }]
  high: [{ webhook: "https://example.com/\${TOKEN}" }]
  heartbeat: "\${HEARTBEAT}"
`,
    'holdfast.yaml',
  );
  assert.deepEqual(variablesOfVaults(plan), ['SPACES_KEY', 'SPACES_SECRET']);
  assert.deepEqual(variablesOfChannels(plan, 'critical'), ['SLACK_WEBHOOK']);
  assert.deepEqual(variablesOfChannels(plan, 'high'), ['TOKEN']);
  assert.deepEqual(variablesOfHeartbeat(plan), ['HEARTBEAT']);
});
