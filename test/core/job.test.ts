import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { ownRoutes } from '#core/copy-rules';
import { UsageError } from '#core/errors';
import { clientToken, type JobDocument, jobFor, readJob, readStartPayload } from '#core/job';
import { planOfJob } from '#core/job-plan';
import { loadPlan } from '#core/plan-load';

const EXAMPLES = new URL('../../examples/', import.meta.url);
const plans = readdirSync(EXAMPLES)
  .filter((file) => file.endsWith('.yaml'))
  .map((file) => loadPlan(readFileSync(new URL(file, EXAMPLES), 'utf8'), file));

function request(source: string, over: Partial<JobDocument> = {}): Parameters<typeof jobFor>[1] {
  return {
    job: 'backup',
    source,
    attempt: '0',
    id: null,
    tier: null,
    point: null,
    reason: null,
    trigger: { by: 'schedule', schedule: '0 2 * * *', scheduledAt: '2026-11-21T02:00:00Z' },
    deadline: '2026-11-21T08:00:00Z',
    ...over,
  };
}

describe('a job document', () => {
  for (const plan of plans)
    for (const source of Object.keys(plan.plan.sources))
      test(`${plan.file} ${source}: under 6 KB, and reads back as the same source with everything it names`, () => {
        const document = jobFor(plan, request(source));
        const text = JSON.stringify(document);
        assert.ok(Buffer.byteLength(text) <= 6144);
        assert.deepEqual(readJob(text), document);
        const read = planOfJob(document);
        assert.equal(read.sha256, plan.sha256);
        assert.deepEqual(Object.entries(read.plan.sources), [[source, plan.plan.sources[source]]]);
        assert.deepEqual(read.plan.encryption, plan.plan.encryption);
      });

  test('I7: secrets stay the names they are in the plan', () => {
    const plan = plans.find(({ plan: { name } }) => name === 'archon72');
    assert.ok(plan);
    const text = JSON.stringify(jobFor(plan, request(Object.keys(plan.plan.sources)[0] as string)));
    assert.match(text, /\$\{[A-Z_]+\}/);
  });

  test('two launches for one scheduled time are the same bytes and the same token; another time, job or attempt are not', () => {
    const [plan] = plans;
    assert.ok(plan);
    const [source] = Object.keys(plan.plan.sources) as [string];
    const first = jobFor(plan, request(source));
    assert.equal(JSON.stringify(first), JSON.stringify(jobFor(plan, request(source))));
    assert.match(clientToken(first), /^[0-9a-f]{64}$/);
    const later = jobFor(plan, request(source, { trigger: { ...first.trigger, scheduledAt: '2026-11-22T02:00:00Z' } }));
    const proof = jobFor(plan, request(source, { job: 'prove' }));
    const again = jobFor(plan, request(source, { attempt: '1' }));
    assert.equal(new Set([first, later, proof, again].map(clientToken)).size, 4);
  });

  test('one that does not fit into a task’s overrides says how long it is', () => {
    const probes = Array.from({ length: 100 }, (_, index) => `      p${index}: "select ${index} ${'x'.repeat(50)}"`);
    const plan = loadPlan(
      `version: 1
name: big
encryption: none
vaults: { cloud: { s3: big-backups } }
tiers: { daily: { keep: 30d } }
sources:
  one:
    postgres: { url: "\${DATABASE_URL}" }
    probes:
${probes.join('\n')}
    schedule: [{ every: 1d, tier: daily, to: [cloud] }]
`,
      'big.yaml',
    );
    assert.throws(() => jobFor(plan, request('one')), /source one needs \d+ bytes of the plan .* at most 6144 fit/);
  });

  describe('of copies', () => {
    const plan = loadPlan(
      `version: 1
name: shop
encryption: { recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p], identity: { env: KEY } }
vaults:
  ssd:   { disk: /var/backups/shop }
  cloud: { s3: shop, region: eu-north-1, lock: governance, replica: { vault: space, lag: 5m, concurrent: 2 } }
  space: { s3: shop, endpoint: "https://sgp1.example.com", accessKeyId: "\${SPACE_KEY}", secretAccessKey: "\${SPACE_SECRET}", replica: { vault: ssd } }
  other: { s3: others }
tiers: { hourly: { keep: 2d }, daily: { keep: 30d }, yearly: { keep: 7y, class: infrequent } }
sources:
  files:
    files: { paths: [x] }
    objectives: { rpo: 2h }
    before: ["stop it"]
    schedule:
      - { every: 1h, tier: hourly, to: [ssd] }
      - { cron: "0 2 * * *", tier: daily, to: [ssd, cloud] }
  events:
    postgres: { url: "\${DATABASE_URL}" }
    probes: { newest: select max(n) from events }
    schedule: [{ cron: "0 2 * * *", tier: daily, to: [other] }]
cloud: { region: eu-north-1 }
`,
      'holdfast.yaml',
    );

    test('the buckets between which one source goes, every tier, and nothing of how it is captured or proven', () => {
      const document = jobFor(plan, request('files', { job: 'replicate' }));
      const { plan: read, sha256 } = planOfJob(readJob(JSON.stringify(document)));
      assert.equal(sha256, plan.sha256);
      assert.deepEqual(Object.keys(read.vaults), ['cloud', 'space']);
      assert.deepEqual(read.vaults['cloud'], plan.plan.vaults['cloud']);
      assert.equal(read.vaults['space']?.replica, undefined, 'the directory is not the task’s to write');
      assert.deepEqual(read.tiers, plan.plan.tiers);
      const settings = read.sources['files'];
      assert.deepEqual(
        settings?.schedule.map(({ cron, to }) => [cron, to]),
        [['0 2 * * *', ['cloud']]],
      );
      assert.deepEqual([settings?.before, settings?.objectives], [undefined, undefined]);
      assert.deepEqual(ownRoutes(read, 'files'), [{ from: 'cloud', to: 'space', limitSeconds: 300, concurrent: 2 }]);
    });

    test('a source of one vault has none, and the answer names those that have', () => {
      assert.throws(
        () => jobFor(plan, request('events', { job: 'replicate' })),
        /nothing of "events" is copied .* by a task, want one of files/,
      );
    });
  });

  test('what is none, or of another version, is refused', () => {
    assert.throws(() => readJob('{'), UsageError);
    assert.throws(() => readJob('{"holdfast":2}'), /not one this version knows/);
  });
});

describe('what start-job is sent', () => {
  test('a wrong payload answers what is allowed', () => {
    for (const wrong of [
      null,
      {},
      { action: 'bakcup', source: 'events' },
      { action: 'backup' },
      { action: 'backup', source: 'events', teir: 'daily' },
      { action: 'pause', source: 'events' },
      { action: 'replicate' },
    ])
      assert.throws(
        () => readStartPayload(wrong),
        (error: unknown) =>
          error instanceof UsageError &&
          /actions: backup, prove, retain, pause, resume, replicate/.test(error.hint ?? ''),
        JSON.stringify(wrong),
      );
  });

  test('the one-liner of the manual is accepted', () => {
    for (const action of ['backup', 'replicate'] as const)
      assert.deepEqual(readStartPayload({ action, source: 'events' }), { action, source: 'events' });
  });
});
