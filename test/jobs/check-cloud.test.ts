import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { loadPlan } from '#core/plan-load';
import type { CheckLine } from '#core/ports';
import { checkCloud } from '#jobs/check-cloud';

const TO = 'schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }]';

function lines(
  postgres: string,
  versions: Readonly<Record<string, string>>,
  more: { vault?: string; cloud?: string } = {},
): CheckLine[] {
  const loaded = loadPlan(
    `version: 1
name: shop
encryption: { recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p], identity: { env: KEY } }
vaults: { cloud: { s3: shop-backups, ${more.vault ?? 'region: eu-north-1'} } }
tiers: { daily: { keep: 30d } }
sources:
  events: { ${postgres}, ${TO} }
${more.cloud ?? 'cloud: { region: eu-north-1 }'}
`,
    'holdfast.yaml',
  );
  return [...checkCloud(loaded, new Map(Object.entries(versions)))];
}

function image(postgres: string, version: string): CheckLine | undefined {
  return lines(postgres, { events: version }).find(({ name }) => name === 'events: image');
}

describe('check of a plan with cloud:, on a machine that reaches the server', () => {
  test('no version and a server of another major than the image: wrong, with the line to write', () => {
    const line = image('postgres: { url: "${DATABASE_URL}" }', '16.4');
    assert.equal(line?.ok, false);
    assert.match(
      line?.message ?? '',
      /^holdfast\.yaml:7:\d+ sources\.events\.postgres\.version: got nothing, which is 17, and the server is PostgreSQL 16\.4/,
    );
    assert.equal(line?.hint, 'write version: 16');
  });

  test('a version that is not the server’s is wrong, with the line to write', () => {
    const line = image('postgres: { url: "${DATABASE_URL}", version: 15 }', '17.2');
    assert.equal(line?.ok, false);
    assert.match(line?.message ?? '', /got 15, and the server is PostgreSQL 17\.2/);
    assert.equal(line?.hint, 'write version: 17');
  });

  test('the server’s own is well; none that happens to fit is well until the server is another, and is advised of', () => {
    const own = image('postgres: { url: "${DATABASE_URL}", version: "16.1" }', '16.4');
    assert.deepEqual([own?.ok, own?.hint], [true, null]);
    const lucky = image('postgres: { url: "${DATABASE_URL}" }', '17.2');
    assert.deepEqual([lucky?.ok, lucky?.hint], [true, 'write version: 17']);
  });

  test('nothing is said of a server that did not answer, of one whose jobs run here, and of a plan without cloud:', () => {
    const named = (all: readonly CheckLine[]): readonly string[] => all.map(({ name }) => name);
    assert.deepEqual(named(lines('postgres: { url: "${DATABASE_URL}" }', {})), ['events: runs']);
    const here = lines('runs: here, postgres: { url: "${DATABASE_URL}" }', { events: '16.4' });
    assert.deepEqual(named(here), ['events: runs']);
    assert.deepEqual(lines('postgres: { url: "${DATABASE_URL}" }', { events: '16.4' }, { cloud: '' }), []);
  });

  test('a bucket, or its replica, in a region where the deployment does not make it is refused with its line', () => {
    const wrong = (vault: string): readonly string[] =>
      lines('redis: { url: "${REDIS_URL}" }', {}, { vault }).flatMap(({ ok, message }) => (ok ? [] : [message]));
    const [elsewhere, ...more] = wrong('region: eu-west-1');
    assert.deepEqual(more, []);
    assert.match(elsewhere ?? '', /^holdfast\.yaml:4:\d+ vaults\.cloud\.region: got eu-west-1, want eu-north-1: /);
    assert.match(wrong('replica: { region: eu-north-1 }')[0] ?? '', /replica\.region: got eu-north-1, .* want another/);
    for (const well of [
      'replica: { region: eu-west-1 }',
      'replica: { region: eu-north-1, account: "111122223333" }',
      'region: eu-west-1, existing: true',
      'region: sgp1, endpoint: "https://sgp1.example.com"',
    ])
      assert.deepEqual(wrong(well), [], well);
  });
});
