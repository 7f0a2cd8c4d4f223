import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { clientToken, type JobDocument } from '#core/job';
import { outcomesOf, placesOf } from '#jobs/catalog';
import type { StartAnswer } from '#jobs/launch';
import { REGION } from '#test/cloud/cloud-plan';
import { type Loop, startLoop } from '#test/cloud/loop';
import { newKey } from '#test/cloud/worker-trial';
import type { RunTaskInput } from '#test/servers/ecs-stand-in';
import { type RedisServer, startRedis } from '#test/servers/redis';

const PASSWORD = 'copy-pass-58';
const BEFORE = '2026-11-22T01:55:00Z';
const AT = '2026-11-22T02:00:00Z';
/** What the function replicate is left with: a second, in which ten megabytes are sure, and what it needs to end well. */
const SHORT_SECONDS = 31;
/** Each is twelve kilobytes that nothing can make smaller; a thousand of them, and not a million small ones to compare. */
const VALUES = 1000;
const HASHES = 600;
/** What a role asks for and does without: the bucket's own rules end half uploads. */
const DONE_WITHOUT = new Set(['s3:ListBucketMultipartUploads']);
const NO_IMAGE = 'CannotPullContainerError: no such image';

const key = newKey();
const dir = mkdtempSync(join(tmpdir(), 'hf-lc'));
let redis: RedisServer;
let loop: Loop;

const PLAN = `version: 1
name: shop
encryption: { recipients: [${key.recipient}], identity: { env: HOLDFAST_IDENTITY } }
vaults:
  cloud: { s3: shop-backups, region: ${REGION}, prefix: prod, replica: { vault: far, lag: 2h } }
  far: { s3: shop-far, region: eu-west-1, existing: true }
tiers: { daily: { keep: 30d } }
sources:
  cache:
    redis: { url: "\${REDIS_URL}" }
    schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }]
alerts:
  critical: [{ webhook: "\${ALERT_HOOK}" }]
  high: [{ webhook: "\${ALERT_HOOK}" }]
  medium: [{ webhook: "\${ALERT_HOOK}" }]
cloud: { region: ${REGION} }
`;

before(async () => {
  mkdirSync(join(dir, 'redis'));
  redis = await startRedis(join(dir, 'redis'), { config: [`requirepass ${PASSWORD}`] });
  const fill = `for i = 1, ${VALUES} do
    local hashes = {}
    for j = 1, ${HASHES} do hashes[j] = redis.sha1hex(i * ${HASHES} + j) end
    redis.call('set', i, table.concat(hashes))
  end`;
  await redis.cli(['-a', PASSWORD, 'EVAL', fill, '0']);
  loop = await startLoop({
    plan: PLAN,
    values: { REDIS_URL: `redis://:${PASSWORD}@127.0.0.1:${redis.port}`, HOLDFAST_IDENTITY: key.identity },
  });
  Object.assign(loop.deployment.functions.get('replicate') ?? {}, { seconds: SHORT_SECONDS });
});

after(async () => {
  await loop?.close();
  await redis?.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** A night's backup, proven, that the second bucket lacks. */
async function night(): Promise<void> {
  await loop.deploy(BEFORE);
  loop.setClock('2026-11-22T02:01:00Z');
  await loop.schedule('cache', AT);
  await loop.settled();
  assert.deepEqual(
    (await loop.ledgerOf('cache')).map(({ event }) => event),
    ['backup', 'proof'],
  );
}

async function replicateAt(time: string): Promise<void> {
  loop.setClock(`2026-11-22T${time}Z`);
  await loop.carriers.fire(loop.scheduleOf('replicate'), loop.now().toISOString());
  await loop.settled();
}

function askedTo(job: string): readonly RunTaskInput[] {
  return loop.ecs.asked.filter(({ group }) => group === `${job}:cache`);
}

function documentOf({ overrides }: RunTaskInput): JobDocument {
  return JSON.parse(overrides?.containerOverrides?.[0]?.environment?.[0]?.value ?? '') as JobDocument;
}

/** Holds after every scenario. */
function assertSound(): void {
  assert.deepEqual(
    loop.rights.denied.filter(({ action }) => !DONE_WITHOUT.has(action)),
    [],
    'least privilege: what a role asked for and may not',
  );
  assert.deepEqual(loop.lambda.dead, []);
  assert.deepEqual(loop.runningWorkers(), []);
}

async function assertCopied(): Promise<void> {
  const [here, there] = await Promise.all([
    placesOf(loop.vault('cloud'), 'cache'),
    placesOf(loop.vault('far'), 'cache'),
  ]);
  assert.equal(here.length, 1);
  assert.deepEqual(there, here);
  const outcomes = [...(await outcomesOf(loop.vault('far'), 'cache')).values()].flat();
  assert.deepEqual(
    outcomes.map(({ outcome }) => outcome),
    ['proven'],
  );
}

describe('the loop: a copy that is too much for a function', () => {
  test('it asks for a task, which copies backup and proof; it is no run of the source, and nobody is told anything', async () => {
    await night();
    await replicateAt('02:15:00');
    const [task, ...more] = askedTo('replicate');
    assert.ok(task, loop.said.join('\n'));
    assert.deepEqual(more, []);
    assert.equal(task.clientToken, clientToken(documentOf(task)));
    assert.equal(task.taskDefinition, 'shop-cache-replicate');
    await assertCopied();
    const host = `fargate:${documentOf(task).run}`;
    assert.deepEqual(
      (await loop.ledgerOf('cache', 'far')).map((entry) => [entry.event, entry.host]),
      [
        ['copied-from', host],
        ['copied-from', host],
      ],
    );
    assert.deepEqual(
      (await loop.ledgerOf('cache')).map(({ event }) => event),
      ['backup', 'proof'],
    );
    assert.deepEqual([askedTo('backup').length, askedTo('prove').length], [1, 1]);
    assert.ok(loop.rights.used.has('task cache replicate s3:PutObject'));

    await replicateAt('02:30:00');
    await loop.watch();
    assert.equal(askedTo('replicate').length, 1);
    assert.deepEqual(loop.told(), []);
    assertSound();
  });

  test('a task that never starts is no failed backup; within the hour it is the same one; a person’s own arrives', async () => {
    await night();
    loop.hinder(({ group }) => (group.startsWith('replicate:') ? NO_IMAGE : null));
    await replicateAt('02:15:00');
    await replicateAt('02:30:00');
    assert.equal(new Set(askedTo('replicate').map((task) => task.clientToken)).size, 1);
    assert.equal(loop.ecs.tasks.size, 3);
    assert.match(loop.said.join('\n'), /replicate of cache: the task never started: CannotPullContainerError/);
    await loop.watch();
    assert.deepEqual(await placesOf(loop.vault('far'), 'cache'), []);
    loop.hinder(() => null);
    const answer = (await loop.invoke('start-job', { action: 'replicate', source: 'cache' })) as StartAnswer;
    assert.ok(answer.ok && 'log' in answer, JSON.stringify(answer));
    assert.match(answer.log, /--log-stream-names cache-replicate\/worker\//);
    await loop.settled();
    await assertCopied();
    assert.ok(!(await loop.ledgerOf('cache')).some(({ event }) => event === 'failed'));
    assert.deepEqual(loop.told(), []);
    assertSound();
  });
});
