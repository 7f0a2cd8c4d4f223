import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { loadPlan } from '#core/plan-load';
import { checkedPlan, isWhole } from '#core/plan-value';
import { variablesOfChannels, variablesOfHeartbeat, variablesOfVaults } from '#core/plan-variables';
import { copiedInAws, placesOfSources, seenFromAws } from '#core/where';

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

describe('what AWS copies from bucket to bucket', () => {
  const planOf = (cloud: string) =>
    loadPlan(
      `version: 1
name: shop
encryption: none
vaults:
  ssd:   { disk: /var/backups/shop }
  cloud: { s3: shop, region: eu-north-1, replica: { vault: space } }
  space: { s3: shop, endpoint: "https://sgp1.example.com", replica: { vault: ssd } }
  other: { s3: shop-other, region: eu-north-1, replica: { region: eu-west-1 } }
tiers: { daily: { keep: 30d } }
sources:
  events: { postgres: { url: "\${DATABASE_URL}" }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }] }
  files:  { files: { paths: [x] }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [ssd, cloud] }] }
  twice:  { postgres: { url: "\${OTHER_URL}" }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [other, cloud] }] }
  alone:  { postgres: { url: "\${THIRD_URL}" }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [other] }] }
  local:  { files: { paths: [y] }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [ssd] }] }
${cloud}
`,
      'holdfast.yaml',
    ).plan;

  test('I14: a replica in a directory is its machine’s: nothing in AWS can say that it is away', () => {
    const { vaults } = seenFromAws(planOf(''));
    assert.equal(vaults['space']?.replica, undefined);
    assert.equal(vaults['cloud']?.replica?.vault, 'space');
    assert.equal(vaults['other']?.replica?.region, 'eu-west-1');
  });

  test('a task for each source with a second bucket, whatever machine it runs on; S3’s own replication needs none', () => {
    const copied = copiedInAws(planOf('cloud: { region: eu-north-1 }'));
    const ways = [...copied].map(([source, routes]) => [source, routes.map(({ from, to }) => `${from}→${to}`).join()]);
    assert.deepEqual(ways, [
      ['events', 'cloud→space'],
      ['files', 'cloud→space'],
      ['twice', 'cloud→space,other→cloud,cloud→other'],
    ]);
    assert.equal(copiedInAws(planOf('')).size, 0, 'without cloud: nothing runs as a task');
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
