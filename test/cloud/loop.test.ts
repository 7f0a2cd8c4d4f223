import assert from 'node:assert/strict';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { clientToken, type JobDocument } from '#core/job';
import type { LedgerEntry } from '#core/ledger';
import { BUNDLED_PLAN } from '#core/settings';
import { outcomesOf } from '#jobs/catalog';
import type { StartAnswer } from '#jobs/launch';
import { childrenIn, commandOf } from '#test/cli/children';
import { REGION } from '#test/cloud/cloud-plan';
import type { DeployedFunction } from '#test/cloud/deployment';
import { type Loop, startLoop } from '#test/cloud/loop';
import { newKey } from '#test/cloud/worker-trial';
import { AwsError } from '#test/servers/aws-stand-in';
import type { RunTaskInput, StoodTask } from '#test/servers/ecs-stand-in';
import { type PostgresServer, startPostgres } from '#test/servers/postgres';
import { type RedisServer, startRedis } from '#test/servers/redis';
import { until } from '#test/until';

const PASSWORD = 'cache-pass-93';
const key = newKey();
const dir = mkdtempSync(join(tmpdir(), 'hf-lp'));
chmodSync(dir, 0o711);
let postgres: PostgresServer;
let redis: RedisServer;
let loop: Loop;

const PLAN = `version: 1
name: shop
encryption: { recipients: [${key.recipient}], identity: { env: HOLDFAST_IDENTITY } }
vaults: { cloud: { s3: shop-backups, region: ${REGION}, prefix: prod } }
tiers: { daily: { keep: 30d } }
sources:
  events:
    postgres: { url: "\${DATABASE_URL}" }
    probes: { newest: select max(n) from events }
    schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }]
  cache:
    redis: { url: "\${REDIS_URL}" }
    schedule: [{ every: 4h, tier: daily, to: [cloud] }]
alerts:
  critical: [{ webhook: "\${ALERT_HOOK}" }]
  high: [{ webhook: "\${ALERT_HOOK}" }]
cloud: { region: ${REGION} }
`;

before(async () => {
  mkdirSync(join(dir, 'redis'));
  [postgres, redis] = await Promise.all([
    startPostgres(join(dir, 'p')),
    startRedis(join(dir, 'redis'), { config: [`requirepass ${PASSWORD}`] }),
  ]);
  await postgres.sql('postgres', 'create database shop');
  await postgres.sql('shop', 'create table events as select n, md5(n::text) as hash from generate_series(1, 500) n');
  await redis.cli(['-a', PASSWORD, 'SET', 'session:1', 'ann']);
  loop = await startLoop({
    plan: PLAN,
    values: {
      DATABASE_URL: postgres.url('shop'),
      REDIS_URL: `redis://:${PASSWORD}@127.0.0.1:${redis.port}`,
      HOLDFAST_IDENTITY: key.identity,
    },
  });
});

after(async () => {
  await loop?.close();
  await redis?.stop();
  await postgres?.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** What a role asks for and does without: the bucket's own rules end half uploads. */
const DONE_WITHOUT = new Set(['s3:ListBucketMultipartUploads']);
/** A night before which nothing is due, and the times of the two sources in it. */
const EVENING = '2026-11-22T01:50:00Z';
const EVENTS_AT = '2026-11-22T02:00:00Z';
const BEFORE = '2026-11-22T03:50:00Z';
const AT = '2026-11-22T04:00:00Z';
const SHORTLY = '2026-11-22T04:00:10Z';
const NO_IMAGE = 'CannotPullContainerError: pull image manifest has been retried 7 time(s)';

/** Before each scenario of `cache`: its bucket is empty, and its time has come. */
async function night(): Promise<void> {
  await loop.deploy(BEFORE);
  loop.setClock(SHORTLY);
}

/** The scheduler's own call for its time, and all that follows from it. */
async function scheduled(): Promise<void> {
  await loop.schedule('cache', AT);
  await loop.settled();
}

async function watchAt(time: string): Promise<void> {
  loop.setClock(`2026-11-22T${time}Z`);
  await loop.watch();
}

async function events(source: string): Promise<readonly string[]> {
  return (await loop.ledgerOf(source)).map(({ event }) => event).filter((event) => !event.startsWith('alert-'));
}

async function only(source: string, event: LedgerEntry['event']): Promise<LedgerEntry> {
  const [found, ...more] = (await loop.ledgerOf(source)).filter((one) => one.event === event);
  assert.ok(found, `${source} has no ${event}: ${await events(source)}\n${loop.said.join('\n')}`);
  assert.deepEqual(more, [], `${source} has more than one ${event}`);
  return found;
}

async function outcomes(source: string): Promise<readonly string[]> {
  const found = await outcomesOf(loop.vault(), source);
  return [...found.values()].flatMap((one) => one.map(({ outcome }) => outcome));
}

function tasksOf(group: string): readonly StoodTask[] {
  return [...loop.ecs.tasks.values()].filter((task) => task.group === group);
}

function titles(): readonly string[] {
  return loop.told().map(({ what, severity, key }) => `${what} ${severity} ${key}`);
}

function figures(name: string, source: string): readonly number[] {
  return loop.cloudWatch.written
    .filter((one) => one.name === name && one.dimensions['source'] === source)
    .map(({ value }) => value);
}

/** Holds after every scenario, however it went. */
function assertSound(): void {
  const denied = loop.rights.denied.filter(({ action }) => !DONE_WITHOUT.has(action));
  assert.deepEqual(denied, [], 'least privilege: what a role asked for and may not');
  assert.deepEqual(loop.lambda.dead, []);
  assert.deepEqual(loop.queues.letters, []);
  assert.deepEqual(loop.runningWorkers(), []);
  assert.deepEqual(childrenIn(loop.scratch).map(commandOf), [], 'a process is left');
  const heard = `${loop.said.join('\n')}${JSON.stringify(loop.told())}${JSON.stringify(loop.ecs.asked)}`;
  const identity = key.identity.split('\n').find((line) => line.startsWith('AGE-SECRET-KEY')) as string;
  for (const secret of [postgres.password, encodeURIComponent(postgres.password), PASSWORD, identity])
    assert.ok(!heard.includes(secret), 'I7: a secret was said');
}

describe('the loop: functions, tasks and their events, from a schedule to a proof', () => {
  test('I1, I4, I9: a scheduled backup of each source is stored, proven, measured, and nobody is told anything', async () => {
    await loop.deploy(EVENING);
    for (const [source, at] of [
      ['events', EVENTS_AT],
      ['cache', AT],
    ] as const) {
      loop.setClock(new Date(Date.parse(at) + 20_000).toISOString());
      await loop.schedule(source, at);
      await loop.settled();
      assert.deepEqual(await events(source), ['backup', 'proof']);
      const { id, details } = await only(source, 'backup');
      assert.equal(details['trigger'], 'schedule');
      assert.equal(details['scheduledAt'], new Date(at).toISOString());
      assert.match(id ?? '', /^20261122T0[24]0000Z-/);
      assert.deepEqual(await outcomes(source), ['proven']);
      const [writes, proves] = [tasksOf(`backup:${source}`), tasksOf(`prove:${source}`)];
      assert.equal(writes.length + proves.length, 2);
      assert.deepEqual(figures('RunFailed', source), [0]);
      assert.deepEqual(figures('ProofFailed', source), [0]);
      assert.equal(figures('RunSeconds', source).length, 1);
      assert.equal(figures('RestoreSeconds', source).length, 1);
    }
    await watchAt('04:05:00');
    assert.deepEqual(loop.told(), []);
    assert.equal(figures('NewestProvenAgeSeconds', 'cache').at(-1)! < 600, true);
    assert.ok(loop.cloudWatch.written.some(({ name, value }) => name === 'Watched' && value === 1));
    const runbook = Buffer.from(await loop.vault().get('RUNBOOK.md')).toString('utf8');
    for (const source of ['events', 'cache']) assert.match(runbook, new RegExp(`\\b${source}\\b`));
    assertSound();
  });

  test('launched twice for one scheduled time it is one task, and one backup', async () => {
    await night();
    await loop.schedule('cache', AT);
    await loop.schedule('cache', AT);
    await loop.settled();
    await scheduled();
    assert.equal(tasksOf('backup:cache').length, 1);
    assert.deepEqual(await events('cache'), ['backup', 'proof']);
    const answer = (await loop.invoke('start-job', loop.scheduleOf('cache').event(AT))) as { done: string };
    assert.match(answer.done, /was made already/);
    assertSound();
  });

  test('a plan that changed between two launches for one time: the task that runs is the answer', async () => {
    await night();
    loop.hinder(() => NO_IMAGE);
    loop.deliver('never');
    const first = (await loop.invoke('start-job', loop.scheduleOf('cache').event(AT))) as StartAnswer;
    await loop.settled();
    loop.replace('start-job', withAnotherPlan());
    const second = (await loop.invoke('start-job', loop.scheduleOf('cache').event(AT))) as StartAnswer;
    assert.ok(first.ok && 'task' in first && second.ok && 'task' in second, JSON.stringify([first, second]));
    assert.deepEqual([first.already, second.already], [false, true]);
    assert.equal(second.task, first.task);
    const [one, two] = loop.ecs.asked.map(documentOf);
    assert.notEqual(one?.planSha256, two?.planSha256);
    assert.equal(loop.ecs.tasks.size, 1);
    assertSound();
  });

  test('I10: a task that never starts is told once, tried again with backoff, escalated, and told to be over', async () => {
    await night();
    loop.hinder(() => NO_IMAGE);
    await scheduled();
    const failed = await only('cache', 'failed');
    assert.match(String(failed.details['message']), /the task never started: CannotPullContainerError/);
    assert.match(String(failed.details['message']), /look at its image/);
    assert.deepEqual(titles(), ['opened high failed']);
    assert.deepEqual(figures('RunFailed', 'cache'), [1]);
    for (const [time, tasks, told] of [
      ['04:10:00', 1, ['opened high failed']],
      ['04:16:00', 2, ['opened high failed']],
      ['04:40:00', 2, ['opened high failed']],
      ['04:47:00', 3, ['opened high failed', 'escalated critical failed']],
    ] as const) {
      await watchAt(time);
      assert.equal(tasksOf('backup:cache').length, tasks, `at ${time}`);
      assert.deepEqual([...new Set(titles())], told, `at ${time}`);
    }
    loop.hinder(() => null);
    await watchAt('05:50:00');
    assert.deepEqual(await events('cache'), ['failed', 'failed', 'failed', 'backup', 'proof']);
    assert.ok(
      titles().some((title) => title.startsWith('closed')),
      titles().join(),
    );
    assert.deepEqual(await outcomes('cache'), ['proven']);
    assertSound();
  });

  test('I13: exit 137 is a failed run, said to be for want of memory; what it left is noted, and the next one takes over', async () => {
    await night();
    loop.s3.onDone(({ action, method, key }) => {
      // With bytes of the backup stored, and no manifest.
      if (action === 'PutObject' && method !== 'GET' && /backups\/cache\/.*\.age$/.test(key)) killWorkers();
    });
    await scheduled();
    loop.s3.onDone(() => undefined);
    const failed = await only('cache', 'failed');
    assert.match(String(failed.details['message']), /killed, most likely for its memory \(exit 137/);
    assert.match(String(failed.details['message']), /larger worker/);
    assert.match(String(failed.details['left']), /^backups\/cache\/daily\/20261122T040000Z-/);
    assert.deepEqual(titles(), ['opened high failed']);
    await watchAt('04:17:00');
    assert.deepEqual(await events('cache'), ['failed', 'backup', 'proof']);
    assert.deepEqual(await outcomes('cache'), ['proven']);
    assertSound();
  });

  test('I1: a worker that dies right after its manifest has made a backup: it is written down, proven, and no failure', async () => {
    await night();
    loop.s3.onDone(({ action, key }) => {
      if (action === 'PutObject' && key.endsWith('/manifest.json')) killWorkers();
    });
    await scheduled();
    const { details, host } = await only('cache', 'backup');
    assert.match(String(details['adopted']), /stored and whole, but the task was killed/);
    assert.match(host, /^fargate:/);
    assert.deepEqual(await events('cache'), ['backup', 'proof']);
    assert.deepEqual(await outcomes('cache'), ['proven']);
    assert.deepEqual(figures('RunFailed', 'cache'), [0]);
    assert.deepEqual(loop.told(), []);
    assert.ok(loop.said.some((line) => line.includes('WARN') && line.includes('stored and whole')));
    assertSound();
  });

  test('events that come twice are seen to once: one proof, one set of figures, one entry', async () => {
    await night();
    loop.deliver('twice');
    await scheduled();
    assert.deepEqual(await events('cache'), ['backup', 'proof']);
    assert.equal(tasksOf('prove:cache').length, 1);
    assert.deepEqual(figures('RunFailed', 'cache'), [0]);
    assert.deepEqual(figures('ProofFailed', 'cache'), [0]);
    assert.deepEqual(loop.told(), []);
    assertSound();
  });

  test('an end that is told twice is one failure, and one message', async () => {
    await night();
    loop.deliver('twice');
    loop.hinder(() => NO_IMAGE);
    await scheduled();
    await only('cache', 'failed');
    assert.deepEqual(titles(), ['opened high failed']);
    assertSound();
  });

  test('I10: events that are lost are found by the watcher: the end of a backup, and the end of its proof', async () => {
    await night();
    loop.deliver('never');
    await scheduled();
    assert.deepEqual(await events('cache'), ['backup']);
    assert.equal(tasksOf('prove:cache').length, 0);
    await watchAt('04:05:00');
    assert.deepEqual(await events('cache'), ['backup', 'proof']);
    assert.deepEqual(figures('ProofFailed', 'cache'), []);
    await watchAt('04:10:00');
    assert.deepEqual(figures('RunFailed', 'cache'), [0]);
    assert.deepEqual(figures('ProofFailed', 'cache'), [0]);
    await watchAt('04:15:00');
    assert.deepEqual(figures('ProofFailed', 'cache'), [0], 'seen to once');
    assert.equal(tasksOf('prove:cache').length, 1);
    assert.deepEqual(loop.told(), []);
    assertSound();
  });

  test('a failure whose event is lost is told by the watcher, and its run made again', async () => {
    await night();
    loop.deliver('never');
    loop.hinder(() => NO_IMAGE);
    await scheduled();
    assert.deepEqual(await events('cache'), []);
    await watchAt('04:05:00');
    await only('cache', 'failed');
    assert.deepEqual(titles(), ['opened high failed']);
    loop.hinder(() => null);
    loop.deliver('once');
    await watchAt('04:21:00');
    assert.deepEqual(await events('cache'), ['failed', 'backup', 'proof']);
    assertSound();
  });

  test('a schedule that never fired is caught up by the watcher, once', async () => {
    await loop.deploy(BEFORE);
    await watchAt('04:10:00');
    assert.equal(loop.ecs.tasks.size, 0, 'its delivery may be on its way');
    loop.hinder(() => NO_IMAGE);
    loop.deliver('never');
    await watchAt('05:30:00');
    await watchAt('05:35:00');
    assert.equal(tasksOf('backup:cache').length, 1);
    const [document] = loop.ecs.asked.map(documentOf);
    assert.deepEqual(document?.trigger, {
      by: 'catch-up',
      schedule: 'every 4h',
      scheduledAt: AT.replace('Z', '.000Z'),
    });
    assertSound();
  });

  test('a good answer of ECS without a task is a failed run with its reason, and tried again', async () => {
    await night();
    loop.ecs.onRunTask((_input, number) => (number === 1 ? { reason: 'Capacity is unavailable at this time.' } : null));
    await scheduled();
    const failed = await only('cache', 'failed');
    assert.match(String(failed.details['message']), /could not be started: .*Capacity is unavailable/);
    assert.deepEqual(loop.ecs.tasks.size, 0);
    await watchAt('04:05:00');
    assert.deepEqual(titles(), ['opened high failed']);
    await watchAt('04:16:00');
    assert.deepEqual(await events('cache'), ['failed', 'backup', 'proof']);
    assertSound();
  });

  test('throttled twice, it is one task all the same: each try carries the same token, and it is ours', async () => {
    await night();
    loop.hinder(() => NO_IMAGE);
    loop.deliver('never');
    loop.ecs.onRunTask((_input, number) => (number <= 2 ? new AwsError('ThrottlingException', 'Rate exceeded') : null));
    const answer = (await loop.invoke('start-job', { action: 'backup', source: 'cache' })) as StartAnswer;
    await loop.settled();
    assert.ok(answer.ok, JSON.stringify(answer));
    assert.equal(loop.ecs.asked.length, 3);
    const [first, ...more] = loop.ecs.asked.map((input) => [input.clientToken, clientToken(documentOf(input))]);
    assert.equal(first?.[0], first?.[1]);
    for (const one of more) assert.deepEqual(one, first);
    assert.equal(loop.ecs.tasks.size, 1);
    assertSound();
  });

  test('a run past its deadline is stopped by the watcher, and is a failed run that says so', async () => {
    await night();
    // It hangs.
    loop.onSays((worker) => worker.signal('SIGSTOP'));
    await loop.schedule('cache', AT);
    await until(() => loop.runningWorkers().length === 1, 'the task');
    await loop.lambda.settled();
    loop.setClock('2026-11-22T09:55:00Z');
    await loop.invoke('watch', {});
    assert.equal(loop.runningWorkers().length, 1, 'it may take six hours');
    loop.onSays(() => undefined);
    await watchAt('10:05:00');
    const failed = await only('cache', 'failed');
    assert.match(String(failed.details['message']), /backup of cache ran past its deadline/);
    assert.ok(titles().includes('opened high failed'), titles().join());
    assert.ok(loop.cloudWatch.written.some(({ name, value }) => name === 'RunsPastDeadline' && value === 1));
    assertSound();
  });

  test('a paused source is not backed up, and once it is resumed the time it missed is made up for', async () => {
    await loop.deploy(BEFORE);
    const paused = (await loop.invoke('start-job', {
      action: 'pause',
      source: 'cache',
      reason: 'moving it',
    })) as object;
    assert.match(JSON.stringify(paused), /cache is paused/);
    loop.setClock(SHORTLY);
    await scheduled();
    await watchAt('04:20:00');
    assert.equal(loop.ecs.asked.length, 0);
    loop.hinder(() => NO_IMAGE);
    loop.deliver('never');
    await loop.invoke('start-job', { action: 'resume', source: 'cache' });
    await watchAt('04:25:00');
    assert.equal(loop.ecs.asked.length, 1);
    assertSound();
  });

  test('a secret without a value is named, with the command that gives it one; nothing is started', async () => {
    await night();
    loop.secrets.put('holdfast/shop/REDIS_URL', null);
    const answer = (await loop.invoke('start-job', { action: 'backup', source: 'cache' })) as StartAnswer;
    assert.ok(!answer.ok);
    assert.match(answer.error.message, /REDIS_URL/);
    assert.match(answer.error.hint ?? '', /aws secretsmanager put-secret-value --secret-id holdfast\/shop\/REDIS_URL/);
    await scheduled();
    assert.match(String((await only('cache', 'failed')).details['message']), /REDIS_URL/);
    await watchAt('04:05:00');
    assert.deepEqual(titles(), ['opened high failed']);
    assert.equal(loop.ecs.asked.length, 0);
    assertSound();
  });

  test('a proof whose task never starts is started again by the watcher', async () => {
    await night();
    loop.hinder(({ group }) => (group.startsWith('prove:') ? NO_IMAGE : null));
    await scheduled();
    assert.deepEqual(await events('cache'), ['backup']);
    assert.deepEqual(figures('ProofFailed', 'cache'), [1]);
    loop.hinder(() => null);
    await watchAt('04:05:00');
    await watchAt('04:21:00');
    assert.deepEqual(await events('cache'), ['backup', 'proof']);
    assert.deepEqual(await outcomes('cache'), ['proven']);
    assertSound();
  });

  test('a person who mistypes is told what is allowed', async () => {
    const answer = (await loop.invoke('start-job', { action: 'back-up', source: 'cache' })) as StartAnswer;
    assert.ok(!answer.ok);
    assert.match(answer.error.hint ?? '', /actions: backup, prove, retain, pause, resume/);
    const unknown = (await loop.invoke('start-job', { action: 'backup', source: 'cash' })) as StartAnswer;
    assert.ok(!unknown.ok);
    assert.match(unknown.error.message, /no source "cash".*events, cache/);
  });
});

function documentOf({ overrides }: RunTaskInput): JobDocument {
  return JSON.parse(overrides?.containerOverrides?.[0]?.environment?.[0]?.value ?? '') as JobDocument;
}

function killWorkers(): void {
  for (const worker of loop.runningWorkers()) worker.signal('SIGKILL');
}

/** The asset of start-job as another deployment would make it: one comment more in the plan. */
function withAnotherPlan(): string {
  const { directory } = loop.deployment.functions.get('start-job') as DeployedFunction;
  const other = join(dir, 'start-job');
  cpSync(directory, other, { recursive: true });
  const file = join(other, BUNDLED_PLAN);
  const plan = JSON.parse(readFileSync(file, 'utf8')) as { readonly text: string };
  writeFileSync(file, JSON.stringify({ ...plan, text: `${plan.text}# changed\n` }));
  return other;
}
