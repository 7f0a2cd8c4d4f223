import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { VaultMissing, VaultUnreachable } from '#core/errors';
import { hostOfRun, type JobDocument, type StartPayload } from '#core/job';
import { loadPlan } from '#core/plan-load';
import { CLOUD_TEXT, CloudWorld, nightly } from '#test/jobs/cloud-world';

const NIGHT = '2026-11-21T02:00:00Z';

/** A task that was started by its schedule and has run for a minute. */
async function running(): Promise<{ world: CloudWorld; document: JobDocument }> {
  const world = (await CloudWorld.open()).to('2026-11-21T02:03:00Z');
  await world.start(nightly(NIGHT));
  world.to('2026-11-21T02:04:00Z');
  return { world, document: world.tasks[0]?.document as JobDocument };
}

describe('a backup task ends', () => {
  test('well: its proof is started once, under the prover’s role, and nobody is told of anything', async () => {
    const { world, document } = await running();
    const { id } = await world.stored(document);
    const finished = await world.finish(world.ended());
    assert.deepEqual([finished.outcome, finished.id, finished.words, finished.again], ['backup', id, null, false]);
    assert.deepEqual(world.invoked, [{ action: 'prove', source: 'events', id, attempt: '0' }]);
    assert.deepEqual(world.metric('runFailed'), [0]);
    assert.deepEqual(world.metric('runSeconds'), [60]);
    assert.deepEqual(world.heard(), []);
  });

  test('the same event twice, and once more after the proof: one proof is started, figures are counted once', async () => {
    const { world, document } = await running();
    const manifest = await world.stored(document);
    const detail = world.ended();
    await world.finish(detail);
    assert.equal((await world.finish(detail)).again, true);
    const started = [await world.startInvoked(), await world.startInvoked()];
    assert.equal(started.filter((answer) => answer.ok && 'task' in answer && !answer.already).length, 1);
    assert.equal(world.tasks.length, 2);
    await world.proved(world.tasks[1]?.document as JobDocument, manifest);
    const before = world.invoked.length;
    await world.finish(detail);
    assert.equal(world.invoked.length, before);
    assert.deepEqual(world.metric('runFailed'), [0]);
  });

  test('two events at the same moment: one of them tells', async () => {
    const { world } = await running();
    const detail = world.ended({ exitCode: 137 });
    const both = await Promise.all([world.finish(detail), world.finish(detail)]);
    assert.deepEqual(both.map(({ again }) => again).sort(), [false, true]);
    assert.deepEqual(world.messenger.lines(), ['opened high events failed']);
  });

  test('I1: dead after its manifest and before its ledger entry, it is a backup with a warning, and is proven', async () => {
    const { world, document } = await running();
    const manifest = await world.stored(document, { ledger: false });
    const finished = await world.finish(world.ended({ exitCode: 137 }));
    assert.equal(finished.outcome, 'backup');
    assert.match(finished.words ?? '', /is stored and whole, but the task was killed, most likely for its memory/);
    const [entry] = await world.ledger();
    assert.deepEqual([entry?.event, entry?.id, entry?.host], ['backup', manifest.id, manifest.host]);
    assert.match(String(entry?.details['adopted']), /killed/);
    assert.equal(entry?.details['scheduledAt'], '2026-11-21T02:00:00.000Z');
    assert.equal(world.invoked[0]?.action, 'prove');
    assert.deepEqual(world.metric('runFailed'), [0]);
    assert.deepEqual(world.heard(), []);
    await world.finish(world.ended({ exitCode: 137 }));
    assert.deepEqual(await world.events(), ['backup']);
  });

  test('I13: killed for its memory, it is a failed run with a plain reason, what it left, and its next attempt', async () => {
    const { world } = await running();
    const id = '20261121T020000Z-0b27';
    await world.vault.putOnce(`backups/events/daily/${id}/database.dump.zst.age`, Buffer.from('half'));
    const finished = await world.finish(world.ended({ exitCode: 137 }));
    assert.equal(finished.outcome, 'failed');
    const [entry] = await world.ledger();
    assert.equal(entry?.event, 'failed');
    assert.equal(entry?.id, id);
    assert.deepEqual(
      [entry?.details['left'], entry?.details['retryAt'], entry?.details['schedule']],
      [`backups/events/daily/${id}`, '2026-11-21T02:19:00.000Z', '0 2 * * *'],
    );
    assert.match(
      String(entry?.details['message']),
      /killed, most likely for its memory \(exit 137\); give the source a larger worker/,
    );
    assert.deepEqual(world.metric('runFailed'), [1]);
    const [telling] = world.heard();
    assert.equal(telling?.title.startsWith('events: backup failed: the task was killed'), true);
    assert.deepEqual(world.invoked, []);
  });

  test('the bytes of a run of another time are not taken for its own', async () => {
    const { world } = await running();
    await world.vault.putOnce('backups/events/daily/20261121T023000Z-aaaa/database.dump.zst', Buffer.from('half'));
    await world.finish(world.ended({ exitCode: 1 }));
    assert.equal((await world.ledger())[0]?.details['left'], null);
  });

  for (const [title, end, said] of [
    [
      'never started: an image or a secret that is missing',
      {
        stopCode: 'TaskFailedToStart',
        stoppedReason: 'ResourceInitializationError: unable to pull secrets',
        containers: [],
      },
      /the task never started: ResourceInitializationError/,
    ],
    ['its host went away', { stopCode: 'TerminationNotice', containers: [] }, /took the task’s host away/],
    [
      'stopped past its deadline',
      { stopCode: 'UserInitiated', stoppedReason: 'backup of events ran past its deadline, 2026-11-21T08:00:00.000Z' },
      /ran past its deadline, 2026-11-21T08/,
    ],
    ['it ended well and there is no backup', { exitCode: 0 }, /ended well, and there is no backup/],
  ] as const)
    test(`${title}: a failed run`, async () => {
      const { world } = await running();
      const finished = await world.finish(world.ended(end as never));
      assert.equal(finished.outcome, 'failed');
      assert.match(String((await world.ledger())[0]?.details['message']), said);
      assert.deepEqual(world.messenger.lines(), ['opened high events failed']);
    });

  test('what the worker itself wrote down is not written twice, and is told in its words', async () => {
    const { world, document } = await running();
    await world.failed(document, 'the server at db.example.com does not answer');
    const finished = await world.finish(world.ended({ exitCode: 1 }));
    assert.equal(finished.words, 'the server at db.example.com does not answer');
    assert.deepEqual((await world.events()).filter((event) => event === 'failed').length, 1);
    assert.match(world.heard()[0]?.title ?? '', /db\.example\.com does not answer/);
  });

  test('another run held the source: no failure, and nobody is told', async () => {
    const { world } = await running();
    assert.equal((await world.finish(world.ended({ exitCode: 4 }))).outcome, 'busy');
    assert.deepEqual(await world.events(), []);
    assert.deepEqual(world.heard(), []);
  });

  test('I14: while the vault does not answer nobody says how it ended, and it is asked again', async () => {
    const { world, document } = await running();
    await world.stored(document);
    world.vault.before = () => {
      throw new VaultUnreachable('S3 does not answer');
    };
    await assert.rejects(world.finish(world.ended()), VaultMissing);
    world.vault.before = () => undefined;
    assert.equal((await world.finish(world.ended())).outcome, 'backup');
  });

  test('it is not over yet, or no task of ours: nothing', async () => {
    const { world } = await running();
    const detail = world.ended();
    assert.equal((await world.finish({ ...detail, lastStatus: 'RUNNING' })).outcome, 'ignored');
    const { overrides: _none, ...foreign } = detail;
    assert.equal((await world.finish(foreign)).outcome, 'ignored');
    assert.deepEqual(world.metrics, []);
  });

  test('a plan that changed meanwhile: the backup counts, and of a source that left it no proof is started', async () => {
    const { world, document } = await running();
    const { id } = await world.stored(document);
    const text = CLOUD_TEXT.replace('  events:', '  orders:');
    loadPlan(text, 'changed.yaml');
    await world.deploy(text);
    const finished = await world.finish(world.ended());
    assert.deepEqual([finished.outcome, finished.id], ['backup', id]);
    assert.deepEqual(world.invoked, []);
  });

  test('prove: never, and proofs of times of their own, start no proof here', async () => {
    for (const prove of ['never', '{ cron: "0 4 * * *" }']) {
      const { world, document } = await running();
      await world.stored(document);
      await world.deploy(CLOUD_TEXT.replace('    objectives: { rpo: 26h }', `    prove: ${prove}`));
      await world.finish(world.ended());
      assert.deepEqual(world.invoked, [] as StartPayload[]);
    }
  });
});

describe('a proof task ends', () => {
  async function proving() {
    const { world, document } = await running();
    const manifest = await world.stored(document);
    await world.finish(world.ended());
    await world.startInvoked();
    world.metrics.length = 0;
    return { world, manifest, document: world.tasks[1]?.document as JobDocument };
  }

  test('proven: measured, and told to nobody', async () => {
    const { world, manifest, document } = await proving();
    await world.proved(document, manifest);
    assert.equal((await world.finish(world.ended())).outcome, 'proven');
    assert.deepEqual(world.metric('proofFailed'), [0]);
    assert.deepEqual(world.metric('restoreSeconds'), [42]);
    assert.deepEqual(world.heard(), []);
  });

  test('disproven: told at once, with the difference', async () => {
    const { world, manifest, document } = await proving();
    await world.proved(document, manifest, 'disproven');
    const finished = await world.finish(world.ended({ exitCode: 5 }));
    assert.match(finished.words ?? '', /^disproven: table public\.events: 10 rows, restored 9/);
    assert.deepEqual(world.metric('proofFailed'), [1]);
    assert.deepEqual(world.messenger.lines(), ['opened critical events proof']);
  });

  test('it lies in an archive class: nothing was tried, and nobody is alarmed', async () => {
    const { world, manifest, document } = await proving();
    const details = {
      outcome: 'inconclusive',
      archived: true,
      reason: 'it lies in GLACIER',
      testedIn: 'cloud',
      seconds: 0,
    };
    const { id, sha256 } = manifest;
    await world.entry('events', 'proof', { id, manifest: sha256, host: hostOfRun(document), details });
    const finished = await world.finish(world.ended({ exitCode: 6 }));
    assert.equal(finished.words, 'inconclusive: it lies in GLACIER');
    assert.deepEqual(world.metric('proofFailed'), []);
    assert.deepEqual(world.heard(), []);
  });

  test('killed: no proof, no false alarm about the backup', async () => {
    const { world } = await proving();
    const finished = await world.finish(world.ended({ exitCode: 137 }));
    assert.equal(finished.outcome, 'not proven');
    assert.match(finished.words ?? '', /killed/);
    assert.deepEqual(world.metric('proofFailed'), [1]);
    assert.deepEqual(await world.events(), ['backup']);
  });
});
