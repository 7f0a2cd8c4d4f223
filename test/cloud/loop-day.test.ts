import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { outcomesOf } from '#jobs/catalog';
import { REGION } from '#test/cloud/cloud-plan';
import { type Loop, startLoop } from '#test/cloud/loop';
import { type Firing, firings } from '#test/cloud/schedules';
import { newKey } from '#test/cloud/worker-trial';
import { type RedisServer, startRedis } from '#test/servers/redis';

const PASSWORD = 'day-pass-57';
const key = newKey();
const dir = mkdtempSync(join(tmpdir(), 'hf-ld'));
let redis: RedisServer;
let loop: Loop;

const PLAN = `version: 1
name: shop
timezone: Europe/Stockholm
encryption: { recipients: [${key.recipient}], identity: { env: HOLDFAST_IDENTITY } }
vaults:
  cloud: { s3: shop-backups, region: ${REGION}, prefix: prod, replica: { vault: second, lag: 30m } }
  second: { s3: shop-second, region: eu-west-1, prefix: prod, existing: true }
tiers: { short: { keep: 12h }, daily: { keep: 30d } }
sources:
  cache:
    redis: { url: "\${REDIS_URL}" }
    schedule: [{ every: 8h, tier: short, to: [cloud] }]
  sessions:
    redis: { url: "\${REDIS_URL}" }
    schedule: [{ cron: "30 2 * * *", tier: daily, to: [cloud] }]
alerts:
  critical: [{ webhook: "\${ALERT_HOOK}" }]
  high: [{ webhook: "\${ALERT_HOOK}" }]
  medium: [{ webhook: "\${ALERT_HOOK}" }]
cloud: { region: ${REGION} }
`;

before(async () => {
  mkdirSync(join(dir, 'redis'));
  redis = await startRedis(join(dir, 'redis'), { config: [`requirepass ${PASSWORD}`] });
  await redis.cli(['-a', PASSWORD, 'SET', 'session:1', 'ann']);
  loop = await startLoop({
    plan: PLAN,
    values: {
      REDIS_URL: `redis://:${PASSWORD}@127.0.0.1:${redis.port}`,
      HOLDFAST_IDENTITY: key.identity,
    },
  });
});

after(async () => {
  await loop?.close();
  await redis?.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** What a role asks for and does without: the bucket's own rules end half uploads. */
const DONE_WITHOUT = new Set(['s3:ListBucketMultipartUploads']);
/** Midnights in Stockholm. */
const MIDNIGHT = new Date('2026-11-21T23:00:00Z');
const NEXT = new Date('2026-11-22T23:00:00Z');
const MINUTE = 60_000;
const OFTEN = 10;
const SELDOM_HOURS = 4;

/**
 * All that happens seldom; of what happens every few minutes the first time after each of those, and one in a few hours:
 * the others would find what the one before them found.
 */
function worthPlaying(all: readonly Firing[]): readonly Firing[] {
  const bySchedule = Map.groupBy(all, ({ schedule }) => schedule.id);
  const isSeldom = ({ schedule }: Firing): boolean => (bySchedule.get(schedule.id) ?? []).length < OFTEN;
  const seldom = all.filter(isSeldom);
  const after = seldom.flatMap(({ delivered }) =>
    [...bySchedule.values()].map((list) => list.find((one) => one.delivered > delivered)),
  );
  return all.filter(
    (one) => isSeldom(one) || after.includes(one) || Date.parse(one.at) % (SELDOM_HOURS * 60 * MINUTE) === 0,
  );
}

/** What is delivered at one moment is under way at one time. */
async function play(day: readonly Firing[]): Promise<void> {
  for (const [moment, together] of Map.groupBy(day, ({ delivered }) => delivered.getTime())) {
    loop.setClock(new Date(moment).toISOString());
    for (const { schedule, at } of together) await loop.carriers.fire(schedule, at);
    await loop.settled();
  }
}

function denied(): readonly string[] {
  return loop.rights.denied
    .filter(({ action }) => !DONE_WITHOUT.has(action))
    .map(({ who, action, resource }) => `${who} ${action} ${resource}`);
}

async function entries(source: string, vault: string): Promise<readonly string[]> {
  return (await loop.ledgerOf(source, vault)).map(({ event, id }) => `${event} ${id}`);
}

async function proven(source: string, vault: string): Promise<readonly string[]> {
  const found = await outcomesOf(loop.vault(vault), source);
  return [...found].flatMap(([id, all]) => (all.some(({ outcome }) => outcome === 'proven') ? [id.slice(0, 16)] : []));
}

describe('the loop: a whole day, by the schedules of the template alone', () => {
  test('I4, I5: from midnight to midnight all is backed up, proven, copied; what is over is marked; nobody is told', async () => {
    await loop.deploy(new Date(MIDNIGHT.getTime() - 4 * MINUTE).toISOString());
    const all = firings(loop.deployment.schedules, MIDNIGHT, new Date(NEXT.getTime() + 30 * MINUTE));
    assert.deepEqual(
      Object.fromEntries(
        [...Map.groupBy(all, ({ schedule }) => schedule.id.replace(/^Schedules|0?[0-9A-F]{8}$/g, ''))].map(
          ([name, list]) => [name, list.length],
        ),
      ),
      { cache: 4, sessions: 1, retain: 2, watch: 294, replicate: 98 },
    );
    await play(worthPlaying(all));

    const cache = ['20261121T230000Z', '20261122T070000Z', '20261122T150000Z', '20261122T230000Z'];
    // Half past two in Stockholm.
    const sessions = ['20261122T013000Z'];
    for (const vault of ['cloud', 'second']) {
      assert.deepEqual(await proven('cache', vault), cache, vault);
      assert.deepEqual(await proven('sessions', vault), sessions, vault);
    }
    const over = cache.slice(0, 2);
    for (const vault of ['cloud', 'second']) {
      const retained = (await entries('cache', vault)).filter((entry) => entry.startsWith('retained '));
      assert.deepEqual(retained.map((entry) => entry.split(' ')[1]?.slice(0, 16)).sort(), over, vault);
      assert.ok(!(await entries('sessions', vault)).some((entry) => entry.startsWith('retained ')), vault);
      const { marked, others } = await loop.buckets.marks(vault);
      const ofThose = (keyInVault: string): boolean =>
        over.some((id) => keyInVault.startsWith(`backups/cache/short/${id}-`));
      assert.equal(marked.length, 2 * over.length, 'artifact and manifest of each');
      assert.ok(marked.every(ofThose), marked.join());
      assert.ok(!others.some(ofThose), others.join());
    }
    for (const name of ['start-job', 'watch', 'retain', 'replicate'])
      assert.ok(loop.rights.used.has(`schedules of ${name} lambda:InvokeFunction`), name);
    const figures = new Set(loop.cloudWatch.written.map(({ name, value }) => `${name} ${value}`));
    for (const figure of ['Watched 1', 'RunFailed 0', 'ProofFailed 0']) assert.ok(figures.has(figure), figure);
    for (const figure of ['RunFailed 1', 'ProofFailed 1']) assert.ok(!figures.has(figure), figure);
    assert.deepEqual(loop.told(), []);
    assert.deepEqual(loop.lambda.dead, []);
    assert.deepEqual(loop.queues.letters, []);
    assert.deepEqual(denied(), []);
  });
});
