import assert from 'node:assert/strict';
import { readFileSync, renameSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { ProofState } from '#core/proof';
import { good, ledgerOf, newest, refused, runsOf, SCHEDULE, type SmallPlan, smallPlan } from '#test/cli/small-plan';

/** Section 8 of the design: what the exit code and `error` say, so that a script need not read anything else. */

describe('exit codes', () => {
  let small: SmallPlan;
  const tree = `tree: { files: { paths: [tree] }, ${SCHEDULE} }`;

  before(async () => {
    small = await smallPlan();
    await good(small.place.run('check', '--create'));
    await good(small.place.run('backup', 'app'));
  });
  after(() => small.place.remove());

  function proofOf(result: unknown): ProofState | undefined {
    return (result as { proofs: readonly { result: ProofState }[] }).proofs[0]?.result;
  }

  test('6, not 2, where a backup was stored and the variable of its key is missing: 2 says that nothing was done', async () => {
    const { place, recipient } = small;
    small.plan({ encryption: `{ recipients: [${recipient}], identity: { env: HOLDFAST_TEST_IDENTITY } }` });
    const backup = await refused(place, ['backup', 'app'], 6, /\$\{HOLDFAST_TEST_IDENTITY\}.*not set/);
    const [run] = runsOf(backup);
    assert.deepEqual([run?.status, run?.proof, run?.error?.code], ['ok', 'inconclusive', 'not-provable-here']);
    assert.equal(proofOf((await refused(place, ['prove', 'app'], 6, /not set/)).json().result), 'inconclusive');
    const { event, details } = (await ledgerOf(place, 'app')).at(-1) ?? {};
    assert.deepEqual([event, details?.['outcome']], ['proof', 'inconclusive'], 'whoever watches hears of it');
    await refused(place, ['restore', 'app', '--to', './out'], 2, /HOLDFAST_TEST_IDENTITY/);
    place.environment['HOLDFAST_TEST_IDENTITY'] = readFileSync(place.path('holdfast.key'), 'utf8');
    await good(place.run('prove', 'app'));
    delete place.environment['HOLDFAST_TEST_IDENTITY'];
    small.plan();
  });

  test('a key in Secrets Manager is not there yet: 2 for a proof and a restore, 6 for a backup, which is stored', async () => {
    const { place, recipient } = small;
    small.plan({ encryption: `{ recipients: [${recipient}], identity: { secret: "arn:aws:secretsmanager:x" } }` });
    const backup = await refused(place, ['backup', 'app'], 6, /secret/);
    assert.deepEqual(
      runsOf(backup).map(({ status, proof }) => [status, proof]),
      [['ok', 'inconclusive']],
    );
    const { error } = (await refused(place, ['prove', 'app'], 2, /not there yet/)).json();
    assert.deepEqual([error?.code, error?.at?.split(':').slice(0, 2)], ['not-there-yet', ['holdfast.yaml', '3']]);
    await refused(place, ['restore', 'app', '--to', './out'], 2, /secret/);
    await good(place.run('prove', 'app', '--stored'));
    small.plan();
  });

  test('2 for a proof of what cannot be backed up yet: the hint is not to take a backup first', async () => {
    small.plan({ sources: [`code: { git: { repository: . }, ${SCHEDULE} }`, tree] });
    const { error } = (await refused(small.place, ['prove', 'code'], 2, /not there yet/)).json();
    assert.deepEqual([error?.code, error?.source], ['not-there-yet', 'code']);
    small.plan();
  });

  test('2 for a name that nothing has, also one that every object of JavaScript has', async () => {
    const { place } = small;
    const { id } = await newest(place, 'app');
    for (const args of [
      ['restore', 'nope', '--to', './out'],
      ['hold', 'nope', '--id', id, '--reason', 'x'],
      ['release', 'nope', '--id', id],
      ['ack', 'nope', '--id', id, '--reason', 'x'],
      ['show', 'constructor'],
      ['list', '--from', 'constructor'],
      ['backup', 'app', '--tier', 'nope'],
    ])
      assert.equal((await refused(place, args, 2, /want one of/)).json().error?.code, 'usage', args.join(' '));
  });

  test('3 with an error where one of two vaults could not be told of a hold, a pause or an acknowledgement', async () => {
    const { place } = small;
    small.plan({
      vaults: '{ here: { disk: ./vault }, there: { disk: ./second } }',
      sources: [`app: { sqlite: { file: app.db }, ${SCHEDULE.replace('[here]', '[here, there]')} }`],
    });
    await good(place.run('check', '--create'));
    const { id } = await newest(place, 'app');
    renameSync(place.path('second'), place.path('away'));
    for (const args of [
      ['hold', 'app', '--id', id, '--reason', 'audit'],
      ['ack', 'app', '--id', id, '--reason', 'seen'],
      ['release', 'app', '--id', id],
      ['pause', 'app', '--reason', 'move', '--for', '1h'],
      ['resume', 'app'],
    ]) {
      const { error, warnings } = (await refused(place, args, 3, /in here, and not in there/)).json();
      assert.deepEqual([error?.code, error?.source], ['partly-done', 'app'], args.join(' '));
      assert.match(warnings.join('\n'), /second/, 'why');
    }
    renameSync(place.path('away'), place.path('second'));
    small.plan();
  });
});
