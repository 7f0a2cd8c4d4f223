import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CloudFailed } from '#core/errors';
import type { JobDocument } from '#core/job';
import { CLOUD_TEXT, CloudWorld, nightly } from '#test/jobs/cloud-world';

const NIGHT = '2026-11-21T02:00:00Z';

/** Deployed at noon, watched once; the next night's task runs. */
async function running(): Promise<{ world: CloudWorld; document: JobDocument }> {
  const world = await CloudWorld.open();
  await world.reconcile();
  await world.to('2026-11-21T02:03:00Z').start(nightly(NIGHT));
  world.metrics.length = 0;
  return { world, document: world.tasks[0]?.document as JobDocument };
}

/** All of a good night: stored, proven, and seen to. */
async function goodNight(): Promise<CloudWorld> {
  const { world, document } = await running();
  const manifest = await world.stored(document);
  await world.finish(world.to('2026-11-21T02:05:00Z').ended());
  await world.startInvoked();
  await world.proved(world.tasks[1]?.document as JobDocument, manifest);
  await world.finish(world.to('2026-11-21T02:06:00Z').ended());
  world.metrics.length = 0;
  world.invoked.length = 0;
  return world;
}

describe('the watcher in AWS', () => {
  test('I10: a deployment rings nothing: no vault yet, no backup yet, all figures are there and quiet', async () => {
    const world = await CloudWorld.open();
    const { started, stopped, found } = await world.reconcile();
    assert.deepEqual([started, stopped, found], [[], [], []]);
    assert.deepEqual(world.heard(), []);
    assert.deepEqual(world.metric('newestProvenAgeRatio'), [0]);
    assert.deepEqual(world.metric('watched'), [1]);
    assert.equal(world.metrics.at(-1)?.metric, 'watched');
    await world.to('2026-11-21T01:59:00Z').reconcile();
    assert.deepEqual(world.metric('newestProvenAgeRatio'), [0, 0]);
  });

  test('a good night: nothing is started, nobody is told, the age is counted from the snapshot', async () => {
    const world = await goodNight();
    await world.to('2026-11-21T15:03:00Z').reconcile();
    assert.deepEqual(world.invoked, []);
    assert.deepEqual(world.heard(), []);
    assert.deepEqual(world.metric('newestProvenAge'), [13 * 3600]);
    assert.deepEqual(world.metric('newestProvenAgeRatio'), [0.5]);
    assert.deepEqual(world.metric('runsPastDeadline'), [0]);
  });

  test('while the schedule’s own delivery may still come, nothing is started', async () => {
    const world = await CloudWorld.open();
    await world.reconcile();
    await world.to('2026-11-21T02:10:00Z').reconcile();
    assert.deepEqual(world.invoked, []);
  });

  test('a run that was missed is caught up once, however often the watcher looks', async () => {
    const world = await CloudWorld.open();
    await world.reconcile();
    const { started } = await world.to('2026-11-21T14:00:00Z').reconcile();
    assert.deepEqual(started, [
      {
        action: 'backup',
        source: 'events',
        schedule: '0 2 * * *',
        scheduledAt: '2026-11-21T02:00:00.000Z',
        catchUp: true,
        attempt: '0-20261121T140000Z',
      },
    ]);
    await world.startInvoked();
    const [task] = world.tasks;
    // A deadline that had passed already would end it at once.
    assert.equal(task?.document.deadline, '2026-11-21T20:00:00.000Z');
    assert.equal(task?.document.trigger.by, 'catch-up');
    await world.to('2026-11-21T14:05:00Z').reconcile();
    assert.equal(world.invoked.length, 1);
    await world.stored(task?.document as JobDocument);
    await world.finish(world.ended());
    world.invoked.length = 0;
    await world.to('2026-11-21T15:00:00Z').reconcile();
    assert.deepEqual(
      world.invoked.filter(({ action }) => action === 'backup'),
      [],
    );
  });

  test('a failed run is tried again after 15 minutes, then after 30, each attempt a task of its own', async () => {
    const { world } = await running();
    await world.finish(world.to('2026-11-21T02:05:00Z').ended({ exitCode: 137 }));
    await world.to('2026-11-21T02:15:00Z').reconcile();
    assert.equal(world.invoked.length, 0);
    await world.to('2026-11-21T02:20:00Z').reconcile();
    await world.startInvoked();
    assert.equal(world.tasks.length, 2);
    await world.finish(world.to('2026-11-21T02:25:00Z').ended({ exitCode: 137 }));
    await world.to('2026-11-21T02:50:00Z').reconcile();
    assert.equal(world.invoked.length, 1);
    await world.to('2026-11-21T02:55:00Z').reconcile();
    await world.startInvoked();
    assert.equal(world.tasks.length, 3);
    assert.deepEqual(
      world.tasks.map(({ document }) => document.attempt),
      ['0', '1-20261121T021500Z', '2-20261121T024500Z'],
    );
  });

  test('an end whose event was lost is found, written down and told, once', async () => {
    const { world } = await running();
    world.to('2026-11-21T02:10:00Z').ended({ exitCode: 137 });
    const { found } = await world.to('2026-11-21T02:15:00Z').reconcile();
    assert.equal(found.length, 1);
    assert.deepEqual(
      (await world.events()).filter((event) => event === 'failed'),
      ['failed'],
    );
    assert.deepEqual(world.messenger.lines(), ['opened high events failed']);
    assert.deepEqual(world.metric('runFailed'), [1]);
    // The event comes after all, and the watcher looks again.
    await world.finish(world.ended({ exitCode: 137 }, world.tasks[0]));
    assert.deepEqual((await world.to('2026-11-21T02:16:00Z').reconcile()).found, []);
    assert.deepEqual(
      (await world.events()).filter((event) => event === 'failed'),
      ['failed'],
    );
    assert.deepEqual(world.messenger.lines(), []);
  });

  test('a lost end of a good run starts its proof', async () => {
    const { world, document } = await running();
    const { id } = await world.stored(document);
    world.to('2026-11-21T02:10:00Z').ended();
    await world.to('2026-11-21T02:15:00Z').reconcile();
    assert.deepEqual(world.invoked, [{ action: 'prove', source: 'events', id, attempt: '0' }]);
  });

  test('a task past its deadline is stopped with the reason, and is a failed run when it has ended', async () => {
    const { world } = await running();
    const { stopped } = await world.to('2026-11-21T08:01:00Z').reconcile();
    assert.equal(stopped.length, 1);
    assert.deepEqual(world.stopped, [
      { task: world.tasks[0]?.task, reason: 'backup of events ran past its deadline, 2026-11-21T08:00:00.000Z' },
    ]);
    assert.deepEqual(world.metric('runsPastDeadline'), [1]);
    await world.finish(
      world.ended({ stopCode: 'UserInitiated', stoppedReason: world.stopped[0]?.reason, exitCode: 1 } as never),
    );
    const failed = (await world.ledger()).find(({ event }) => event === 'failed');
    assert.match(String(failed?.details['message']), /ran past its deadline, 2026-11-21T08:00/);
  });

  test('a proof that was lost is started again after 15 minutes, and less and less often', async () => {
    const { world, document } = await running();
    const { id } = await world.stored(document);
    await world.finish(world.to('2026-11-21T02:05:00Z').ended());
    // start-job never heard of it.
    world.invoked.length = 0;
    const at = async (time: string): Promise<number> => {
      await world.to(`2026-11-21T${time}:00Z`).reconcile();
      return world.invoked.splice(0).filter((one) => one.action === 'prove' && one.id === id).length;
    };
    assert.deepEqual(
      [
        await at('02:10'),
        await at('02:15'),
        await at('02:25'),
        await at('02:30'),
        await at('02:54'),
        await at('02:56'),
      ],
      [0, 0, 1, 0, 0, 1],
    );
  });

  test('prove: { cron } is started at its time', async () => {
    const world = await CloudWorld.open(
      '2026-11-20T12:00:00Z',
      CLOUD_TEXT.replace('    objectives: { rpo: 26h }', '    prove: { cron: "0 4 * * *" }'),
    );
    await world.reconcile();
    await world.to('2026-11-21T02:03:00Z').start(nightly(NIGHT));
    await world.stored(world.tasks[0]?.document as JobDocument);
    await world.finish(world.ended());
    await world.to('2026-11-21T03:55:00Z').reconcile();
    assert.deepEqual(world.invoked, []);
    await world.to('2026-11-21T04:00:00Z').reconcile();
    assert.deepEqual(world.invoked, [
      { action: 'prove', source: 'events', scheduledAt: '2026-11-21T04:00:00.000Z', attempt: '20261121T040000Z' },
    ]);
  });

  test('I14: when ECS does not say what runs, nothing is started, people are told, and `watched` is missing', async () => {
    const world = await CloudWorld.open();
    await world.reconcile();
    world.metrics.length = 0;
    world.ecs = () => new CloudFailed('could not list the tasks: ThrottlingException');
    await assert.rejects(world.to('2026-11-22T14:00:00Z').reconcile(), CloudFailed);
    assert.deepEqual(world.invoked, []);
    assert.deepEqual(world.metric('watched'), []);
    assert.notEqual(world.heard().length, 0);
    assert.equal(world.metric('newestProvenAge').length, 1);
  });

  test('a paused source is not caught up', async () => {
    const world = await CloudWorld.open();
    await world.reconcile();
    await world.start({ action: 'pause', source: 'events', reason: 'the server moves' });
    await world.to('2026-11-21T14:00:00Z').reconcile();
    assert.deepEqual(world.invoked, []);
  });

  test('the watcher’s notes outlive its machine', async () => {
    const world = await CloudWorld.open();
    await world.reconcile();
    const kept = [...world.vault.objects.keys()].filter((key) => key.startsWith('leases/_plan/'));
    assert.ok(kept.includes('leases/_plan/notes-watch.json'), kept.join());
  });
});
