import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CloudFailed, VaultUnreachable } from '#core/errors';
import type { JobDocument } from '#core/job';
import type { StartAnswer } from '#jobs/launch';
import { CloudWorld, nightly } from '#test/jobs/cloud-world';
import { acquireLease } from '#vault/lease';

const NIGHT = '2026-11-21T02:00:00Z';

function error(answer: StartAnswer): { code: string; message: string; hint: string | null } {
  assert.ok(!answer.ok, JSON.stringify(answer));
  return answer.error;
}

async function night(): Promise<CloudWorld> {
  return (await CloudWorld.open()).to('2026-11-21T02:03:00Z');
}

describe('start-job, backup', () => {
  test('a new bucket becomes a vault, holds the whole plan, and a task is started with one source of it', async () => {
    const world = await night();
    const answer = await world.start(nightly(NIGHT));
    assert.ok(answer.ok && 'task' in answer);
    assert.equal(answer.already, false);
    assert.match(answer.log, /^aws logs tail \/holdfast\/shop\/worker --log-stream-names events-backup\/worker\/1 /);
    const [{ document, scratchGiB }] = world.tasks as [(typeof world.tasks)[number]];
    assert.equal(scratchGiB, null);
    assert.equal(document.run, answer.run);
    assert.equal(document.deadline, '2026-11-21T08:00:00.000Z');
    assert.deepEqual(document.trigger, {
      by: 'schedule',
      schedule: '0 2 * * *',
      scheduledAt: '2026-11-21T02:00:00.000Z',
    });
    assert.deepEqual(Object.keys(document.plan['sources'] as object), ['events']);
    const stored = await world.vault.get(`plans/${document.planSha256}.yaml`);
    assert.equal(Buffer.from(stored).toString(), world.text);
    assert.match(Buffer.from(await world.vault.get('vault.json')).toString(), /"plan": "shop"/);
  });

  test('launching twice for one scheduled time starts one task', async () => {
    const world = await night();
    await world.start(nightly(NIGHT));
    const again = await world.start(nightly(NIGHT));
    assert.ok(again.ok && 'task' in again && again.already);
    assert.equal(world.tasks.length, 1);
  });

  test('what a person asks for twice is two runs; the same request delivered twice is one', async () => {
    const world = await night();
    await world.start({ action: 'backup', source: 'events' }, 'a');
    await world.start({ action: 'backup', source: 'events' }, 'a');
    assert.equal(world.tasks.length, 1);
    await world.start({ action: 'backup', source: 'events' }, 'b');
    assert.equal(world.tasks.length, 2);
    assert.equal(world.tasks[0]?.document.trigger.by, 'manual');
  });

  test('a delivery that comes when the run was made long ago starts nothing', async () => {
    const world = await night();
    await world.start(nightly(NIGHT));
    await world.stored(world.tasks[0]?.document as JobDocument);
    const answer = await world.to('2026-11-21T04:00:00Z').start(nightly(NIGHT));
    assert.ok(answer.ok && 'done' in answer);
    assert.match(answer.done, /was made already/);
    assert.equal(world.tasks.length, 1);
  });

  test('a paused source is left alone by its schedule, and backed up with a word when somebody asks', async () => {
    const world = await night();
    await world.start({ action: 'backup', source: 'events' });
    const paused = await world.start({ action: 'pause', source: 'events', reason: 'the server moves' });
    assert.ok(paused.ok && 'done' in paused);
    assert.match(paused.done, /events is paused, written in cloud/);
    const byTime = await world.start(nightly(NIGHT));
    assert.ok(byTime.ok && 'done' in byTime);
    assert.match(byTime.done, /paused: the server moves/);
    const asked = await world.start({ action: 'backup', source: 'events' });
    assert.ok(asked.ok && 'task' in asked);
    assert.match(asked.warnings.join(), /paused.*all the same/);
    await world.start({ action: 'resume', source: 'events' });
    const resumed = await world.start(nightly(NIGHT));
    assert.ok(resumed.ok && 'task' in resumed);
  });

  test('I7: a secret without a value is named before anything is launched, with the line that gives it one', async () => {
    const world = await night();
    world.secretless = ['DATABASE_URL', 'HOLDFAST_IDENTITY'];
    const { message, hint } = error(await world.start(nightly(NIGHT)));
    // The identity is nothing that a backup is given (I9).
    assert.match(message, /events needs DATABASE_URL, and no value/);
    assert.match(hint ?? '', /^aws secretsmanager put-secret-value --secret-id holdfast\/shop\/DATABASE_URL /);
    assert.equal(world.tasks.length, 0);
  });

  test('what the schedule could not start is a failed run in the ledger, with the time of its next attempt', async () => {
    const world = await night();
    await world.start({ action: 'backup', source: 'events' });
    world.ecs = () => new CloudFailed('could not start the backup task of events: RESOURCE:MEMORY');
    const { code } = error(await world.start(nightly(NIGHT)));
    assert.equal(code, 'cloud-failed');
    const [entry] = await world.ledger();
    assert.equal(entry?.event, 'failed');
    assert.match(String(entry?.details['message']), /could not be started: .*RESOURCE:MEMORY/);
    assert.equal(entry?.details['retryAt'], '2026-11-21T02:18:00.000Z');
    // By hand it is only told to who asked.
    error(await world.start({ action: 'backup', source: 'events' }));
    assert.equal((await world.ledger()).length, 1);
  });

  test('I14: when neither ECS nor a vault answers it throws, so that whoever delivered it tries again', async () => {
    const world = await night();
    world.vault.before = () => {
      throw new VaultUnreachable('S3 does not answer');
    };
    await assert.rejects(world.start(nightly(NIGHT)), VaultUnreachable);
  });

  test('I12: while a run that lives holds the source, the answer says since when', async () => {
    const world = await night();
    await world.start({ action: 'backup', source: 'events' });
    const { clock } = world.environment.run;
    const holder = { host: 'fargate:x', pid: 1, start: null, boot: null, namespace: null };
    const lease = await acquireLease(world.vault, { source: 'events', job: 'backup', holder }, clock, () => false);
    const { code, message } = error(await world.start(nightly(NIGHT)));
    assert.equal(code, 'busy');
    assert.match(message, /backup of events is under way since 2026-11-21T02:03:00.000Z: lease 1 in cloud/);
    assert.deepEqual(await world.events(), []);
    await lease.release();
  });

  test('a wrong source is answered with those that are right', async () => {
    const world = await night();
    assert.match(error(await world.start({ action: 'backup', source: 'evnets' })).message, /want one of events/);
    assert.match(error(await world.start({ action: 'backup', source: 'notes' })).message, /no source "notes"/);
  });

  test('a plan that changed meanwhile: a schedule that is no more starts nothing and fails nothing', async () => {
    const world = await night();
    await world.start({ action: 'backup', source: 'events' });
    const { message } = error(await world.start({ ...nightly(NIGHT), schedule: '0 5 * * *' } as never));
    assert.match(message, /no schedule of events is "0 5 \* \* \*" any more/);
    assert.deepEqual(await world.events(), []);
  });
});

describe('start-job, prove', () => {
  async function withBackup(plainBytes?: number): Promise<{ world: CloudWorld; id: string }> {
    const world = await night();
    await world.start(nightly(NIGHT));
    const document = world.tasks[0]?.document as JobDocument;
    const { id } = await world.stored(document, plainBytes === undefined ? {} : { plainBytes });
    return { world, id };
  }

  test('without an id the newest that nobody proved is proven', async () => {
    const { world, id } = await withBackup();
    const answer = await world.start({ action: 'prove', source: 'events' });
    assert.ok(answer.ok && 'task' in answer);
    assert.equal(answer.id, id);
    assert.equal(world.tasks[1]?.document.job, 'prove');
    assert.equal(world.tasks[1]?.scratchGiB, null);
  });

  test('what the machinery asks for twice is one task, and none once the backup is proven', async () => {
    const { world, id } = await withBackup();
    const asked = { action: 'prove', source: 'events', id, attempt: '0' } as const;
    await world.start(asked);
    await world.start(asked);
    assert.equal(world.tasks.length, 2);
    const document = world.tasks[1]?.document as JobDocument;
    const manifest = JSON.parse(
      Buffer.from(await world.vault.get(`backups/events/daily/${id}/manifest.json`)).toString(),
    );
    await world.proved(document, manifest);
    const answer = await world.start({ ...asked, attempt: '1' });
    assert.ok(answer.ok && 'done' in answer);
    assert.match(answer.done, /proven already/);
  });

  test('a task gets more scratch for a larger backup, and what cannot fit is refused with its size', async () => {
    const large = await withBackup(60 * 2 ** 30);
    await large.world.start({ action: 'prove', source: 'events' });
    assert.equal(large.world.tasks[1]?.scratchGiB, 125);
    const huge = await withBackup(250 * 2 ** 30);
    const { message, hint } = error(await huge.world.start({ action: 'prove', source: 'events' }));
    assert.match(message, /is 268 GB when it is unsealed, a task has at most 200 GiB of scratch \(215 GB\)/);
    assert.match(hint ?? '', /holdfast prove events --id /);
    assert.equal(huge.world.tasks.length, 1);
  });

  test('I9: the identity’s secret is asked for here', async () => {
    const { world } = await withBackup();
    world.secretless = ['HOLDFAST_IDENTITY'];
    assert.match(error(await world.start({ action: 'prove', source: 'events' })).message, /HOLDFAST_IDENTITY/);
  });

  test('no backup, no proof', async () => {
    const world = await night();
    assert.equal(error(await world.start({ action: 'prove', source: 'events' })).code, 'backup-missing');
  });
});
