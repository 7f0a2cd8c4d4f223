import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { VaultUnreachable } from '#core/errors';
import type { JobDocument } from '#core/job';
import type { StartAnswer } from '#jobs/launch';
import { CloudWorld, nightly } from '#test/jobs/cloud-world';
import { createVaultIdentity } from '#vault/identity';
import { acquireLease } from '#vault/lease';

const NOW = '2026-11-21T12:00:00Z';
const ASKED = { action: 'replicate', source: 'events', attempt: '20261121T120000Z-0123456789ab' } as const;

const TEXT = `version: 1
name: shop
encryption:
  recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
  identity: { env: HOLDFAST_IDENTITY }
vaults:
  cloud: { s3: shop-backups, region: eu-north-1, replica: { vault: space } }
  space: { s3: shop, endpoint: "https://sgp1.example.com", accessKeyId: "\${SPACE_KEY}", secretAccessKey: "\${SPACE_SECRET}" }
  other: { s3: shop-others, region: eu-north-1 }
tiers: { daily: { keep: 30d } }
sources:
  events:
    postgres: { url: "\${DATABASE_URL}" }
    objectives: { rpo: 26h }
    schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }]
  tree:  { files: { paths: [x] }, schedule: [{ cron: "0 3 * * *", tier: daily, to: [cloud] }] }
  cache: { redis: { url: "\${REDIS_URL}" }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [other] }] }
alerts: { high: [{ email: ops@example.com }], critical: [{ email: ops@example.com }] }
cloud: { region: eu-north-1 }
`;

function error(answer: StartAnswer): { code: string; message: string; hint: string | null } {
  assert.ok(!answer.ok, JSON.stringify(answer));
  return answer.error;
}

/** Watched once: each bucket is a vault. */
async function deployed(): Promise<CloudWorld> {
  const world = await CloudWorld.open(NOW, TEXT);
  await createVaultIdentity(world.vaultNamed('space'), { plan: 'shop', id: 'space', created: new Date(NOW) });
  await world.reconcile();
  world.metrics.length = 0;
  return world;
}

async function copying(): Promise<{ world: CloudWorld; document: JobDocument }> {
  const world = await deployed();
  await world.start(ASKED);
  world.to('2026-11-21T12:10:00Z');
  return { world, document: world.tasks[0]?.document as JobDocument };
}

describe('start-job, replicate', () => {
  test('a task of the source’s own, told the buckets it copies between, and nothing of the database', async () => {
    const world = await deployed();
    const answer = await world.start(ASKED);
    assert.ok(answer.ok && 'task' in answer, JSON.stringify(answer));
    assert.match(answer.log, /--log-stream-names events-replicate\/worker\/1 /);
    const [{ document, scratchGiB }] = world.tasks as [(typeof world.tasks)[number]];
    assert.deepEqual([document.job, document.source, scratchGiB], ['replicate', 'events', null]);
    assert.deepEqual(Object.keys(document.plan['vaults'] as object), ['cloud', 'space']);
    assert.equal(document.deadline, '2026-11-22T12:00:00.000Z');
    assert.equal(document.trigger.by, 'schedule');
  });

  test('what the function asks for twice is one task; what a person asks for twice is two', async () => {
    const world = await deployed();
    await world.start(ASKED);
    const again = await world.start(ASKED);
    assert.ok(again.ok && 'task' in again && again.already);
    assert.equal(world.tasks.length, 1);
    for (const request of ['a', 'a', 'b']) await world.start({ action: 'replicate', source: 'events' }, request);
    assert.equal(world.tasks.length, 3);
    assert.equal(world.tasks[2]?.document.trigger.by, 'manual');
  });

  test('I7, I9: asked for are the values of the vaults’ keys, never the database’s nor the identity', async () => {
    const world = await deployed();
    world.secretless = ['DATABASE_URL', 'HOLDFAST_IDENTITY'];
    assert.ok((await world.start(ASKED)).ok);
    world.secretless = ['SPACE_SECRET'];
    assert.match(error(await world.start(ASKED)).message, /events needs SPACE_SECRET, and no value/);
  });

  test('I12: while somebody copies the source, the answer says since when; its backup may run meanwhile', async () => {
    const world = await deployed();
    const { clock } = world.environment.run;
    const holder = { host: 'fargate:x', pid: 1, start: null, boot: null, namespace: null };
    await acquireLease(world.vaultNamed('space'), { source: 'events', job: 'replicate', holder }, clock, () => false);
    const { code, message } = error(await world.start(ASKED));
    assert.equal(code, 'busy');
    assert.match(message, /replicate of events is under way since 2026-11-21T12:00:00.000Z: lease 1 in space/);
    assert.ok((await world.start({ action: 'backup', source: 'events' })).ok);
  });

  test('a source that a machine backs up is copied all the same; one without a second bucket is not', async () => {
    const world = await deployed();
    assert.ok((await world.start({ action: 'replicate', source: 'tree' })).ok);
    const { message, hint } = error(await world.start({ action: 'replicate', source: 'cache' }));
    assert.match(
      message,
      /nothing of "cache" is copied from one bucket to another by a task, want one of events, tree/,
    );
    assert.match(hint ?? '', /replica: \{ vault \}/);
    assert.match(error(await world.start({ action: 'replicate', source: 'evnets' })).message, /"evnets"/);
    assert.equal(world.tasks.length, 1);
  });
});

describe('a task that copied ends', () => {
  /** Nothing that a run of the source would leave. */
  async function assertNoRun(world: CloudWorld): Promise<void> {
    assert.deepEqual(await world.events(), []);
    assert.deepEqual(world.metrics, []);
    assert.deepEqual(world.invoked, []);
    assert.deepEqual(world.heard(), []);
  }

  test('well: it is no run of the source, and nothing is proven', async () => {
    const { world } = await copying();
    const { outcome, id, again } = await world.finish(world.ended());
    assert.deepEqual([outcome, id, again], ['copied', null, false]);
    await assertNoRun(world);
    assert.deepEqual(world.warnings, []);
  });

  for (const [title, end, words] of [
    ['killed for its memory', { exitCode: 137 }, /killed, most likely for its memory/],
    ['never started', { stopCode: 'TaskFailedToStart', stoppedReason: 'CannotPull', containers: [] }, /never started/],
    ['not all of it could be copied', { exitCode: 3 }, /not all of it could be copied/],
    ['it failed', { exitCode: 1 }, /the worker failed \(exit 1\)/],
  ] as const)
    test(`I2: ${title}: no failed backup of the source; the log says it, with where to look`, async () => {
      const { world } = await copying();
      const detail = world.ended(end as never);
      const finished = await world.finish(detail);
      assert.equal(finished.outcome, 'not copied');
      assert.match(finished.words ?? '', words);
      assert.match(world.warnings.join('\n'), words);
      assert.match(world.warnings.join('\n'), /--log-stream-names events-replicate\/worker\/1/);
      await assertNoRun(world);
      assert.equal((await world.finish(detail)).again, true);
    });

  test('another one was at it: nothing to say', async () => {
    const { world } = await copying();
    assert.equal((await world.finish(world.ended({ exitCode: 4 }))).outcome, 'busy');
    assert.deepEqual(world.warnings, []);
    await assertNoRun(world);
  });

  test('I14: the end is seen to as long as one vault of the source answers, and else asked for again', async () => {
    const { world } = await copying();
    world.vaultNamed('space').before = () => {
      throw new VaultUnreachable('space does not answer');
    };
    assert.equal((await world.finish(world.ended())).outcome, 'copied');
    world.vault.before = () => {
      throw new VaultUnreachable('S3 does not answer');
    };
    await assert.rejects(world.finish(world.ended()), VaultUnreachable);
  });
});

describe('the watcher and a task that copies', () => {
  test('past its deadline it is stopped with the reason, and no backup has failed', async () => {
    const { world, document } = await copying();
    const { stopped } = await world.to('2026-11-22T12:01:00Z').reconcile();
    assert.equal(stopped.length, 1);
    assert.match(world.stopped[0]?.reason ?? '', /^replicate of events ran past its deadline, 2026-11-22T12:00/);
    const detail = world.ended({ stopCode: 'UserInitiated', stoppedReason: world.stopped[0]?.reason } as never);
    assert.equal((await world.finish(detail)).outcome, 'not copied');
    assert.ok(!(await world.events()).includes('failed'));
    assert.equal(document.job, 'replicate');
  });

  test('an end whose event was lost is found, once; the source’s backup is caught up while it copies', async () => {
    const { world } = await copying();
    await world.to('2026-11-22T02:20:00Z').reconcile();
    assert.deepEqual(
      world.invoked.map(({ action, source }) => [action, source]),
      [
        ['backup', 'events'],
        ['backup', 'cache'],
      ],
    );
    world.ended({ exitCode: 1 });
    world.invoked.length = 0;
    assert.equal((await world.reconcile()).found.length, 1);
    assert.equal((await world.reconcile()).found.length, 0);
    assert.ok(!(await world.events()).includes('failed'));
  });

  test('a night’s backup beside it is launched, ends and is proven as ever', async () => {
    const { world } = await copying();
    await world.to('2026-11-22T02:03:00Z').start(nightly('2026-11-22T02:00:00Z'));
    const manifest = await world.stored(world.tasks[1]?.document as JobDocument);
    assert.equal((await world.finish(world.ended())).outcome, 'backup');
    assert.deepEqual(world.invoked, [{ action: 'prove', source: 'events', id: manifest.id, attempt: '0' }]);
  });
});
