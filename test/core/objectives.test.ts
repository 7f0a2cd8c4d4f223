import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseDuration } from '#core/duration';
import { firstDueRun, type History, judge, objectivesOf } from '#core/objectives';
import type { Source } from '#core/plan';

type Promising = Pick<Source, 'schedule' | 'objectives' | 'prove'>;

const nightly: Promising = { schedule: [{ cron: '0 2 * * *', tier: 'daily', to: ['ssd'] }] };
const now = new Date('2026-11-21T12:00:00Z');
const hoursAgo = (hours: number): Date => new Date(now.getTime() - hours * 3_600_000);

const history: History = {
  firstDue: hoursAgo(1000),
  newestProven: null,
  unchangedAt: null,
  newest: null,
  reason: null,
  restoreSeconds: null,
  thawSeconds: 0,
};
const proven = (hours: number): Partial<History> => ({
  newestProven: { id: 'P', snapshotAt: hoursAgo(hours) },
  newest: { id: 'P', snapshotAt: hoursAgo(hours), proof: 'proven' },
});

function said(source: Promising, known: Partial<History>): string[] {
  const { healthy, findings } = judge(source, { ...history, ...known }, now);
  assert.equal(
    healthy,
    findings.every(({ rings }) => !rings),
  );
  return findings.map(({ rings, message }) => `${rings ? '!' : '·'} ${message}`);
}

describe('objectives', () => {
  test('the default RPO is two of the longest intervals and an hour, and is marked as default', () => {
    assert.deepEqual(objectivesOf(nightly), { rpoSeconds: 49 * 3600, rpoIsDefault: true, rtoSeconds: null });
    const objectives = { rpo: parseDuration('26h')!, rto: parseDuration('4h')! };
    const told = { rpoSeconds: 26 * 3600, rpoIsDefault: false, rtoSeconds: 4 * 3600 };
    assert.deepEqual(objectivesOf({ ...nightly, objectives }), told);
  });

  test('the first due run is the earliest of all schedules, in the plan’s zone', () => {
    const weekly = { cron: '0 3 * * 1', tier: 'weekly', to: ['ssd'] };
    const source = { schedule: [weekly, ...nightly.schedule] };
    assert.equal(firstDueRun(source, 'Europe/Stockholm', now).toISOString(), '2026-11-22T01:00:00.000Z');
  });

  test('I10: where proofs have their own time, nothing rings before the first of them', () => {
    const source: Promising = { ...nightly, prove: { cron: '0 4 * * *' } };
    const firstDue = firstDueRun(source, 'UTC', now);
    assert.equal(firstDue.toISOString(), '2026-11-22T04:00:00.000Z');
    assert.deepEqual(said(source, { firstDue }), ['· no backup yet, first proof due 2026-11-22T04:00:00.000Z']);
  });
});

describe('I4: green means restored', () => {
  test('a proven backup younger than its RPO is healthy, and nothing is said', () => {
    assert.deepEqual(said(nightly, proven(10)), []);
    assert.equal(judge(nightly, { ...history, ...proven(10) }, now).ageSeconds, 36_000);
  });

  test('older than the RPO is not, and the default is named as default', () => {
    assert.deepEqual(said(nightly, proven(60)), [
      '! newest proven backup is 2d 12h old, older than its RPO 2d 1h (default)',
    ]);
    const strict = { ...nightly, objectives: { rpo: parseDuration('26h')! } };
    assert.deepEqual(said(strict, proven(27)), ['! newest proven backup is 1d 3h old, older than its RPO 1d 2h']);
  });

  test('an unchanged entry makes a proven backup as young as itself, and never older', () => {
    assert.deepEqual(said(nightly, { ...proven(400), unchangedAt: hoursAgo(1) }), []);
    assert.equal(judge(nightly, { ...history, ...proven(400), unchangedAt: hoursAgo(1) }, now).ageSeconds, 3600);
    assert.equal(judge(nightly, { ...history, ...proven(2), unchangedAt: hoursAgo(30) }, now).ageSeconds, 7200);
    assert.deepEqual(said(nightly, { unchangedAt: hoursAgo(1) }), ['! no backup yet']);
  });

  test('a fresh backup that is not proven does not make an old proven one young', () => {
    const unproven = { id: 'U', snapshotAt: hoursAgo(1), proof: 'unproven' } as const;
    assert.deepEqual(said(nightly, { ...proven(60), newest: unproven }), [
      '! newest proven backup is 2d 12h old, older than its RPO 2d 1h (default)',
      '· newest backup U is not proven yet',
    ]);
    assert.deepEqual(said(nightly, { newest: unproven }), [
      '! nothing proven yet',
      '· newest backup U is not proven yet',
    ]);
  });

  test('a disproven newest rings although a proven one is young; an inconclusive one is only said', () => {
    const disproven = { id: 'D', snapshotAt: hoursAgo(1), proof: 'disproven' } as const;
    assert.deepEqual(said(nightly, { ...proven(10), newest: disproven, reason: 'table t differs' }), [
      '! newest backup D is disproven: table t differs',
    ]);
    const inconclusive = { id: 'I', snapshotAt: hoursAgo(1), proof: 'inconclusive' } as const;
    assert.deepEqual(said(nightly, { ...proven(10), newest: inconclusive, reason: 'postgis is missing' }), [
      '· newest backup I cannot be proven here: postgis is missing',
    ]);
  });

  test('prove: never is unproven by choice: healthy by what is stored, and never called proven', () => {
    const never: Promising = { ...nightly, prove: 'never' };
    const stored = (hours: number) => ({
      newest: { id: 'U', snapshotAt: hoursAgo(hours), proof: 'unproven' as const },
    });
    assert.deepEqual(said(never, stored(10)), ['· unproven by choice (prove: never)']);
    assert.deepEqual(said(never, stored(60)), [
      '· unproven by choice (prove: never)',
      '! newest backup is 2d 12h old, older than its RPO 2d 1h (default)',
    ]);
    const broken = { newest: { id: 'D', snapshotAt: hoursAgo(1), proof: 'disproven' as const } };
    assert.deepEqual(said(never, broken), [
      '· unproven by choice (prove: never)',
      '! nothing stored yet',
      '! newest backup D is disproven',
    ]);
  });

  test('I10: nothing rings before the first due run, everything does after it', () => {
    const firstDue = new Date('2026-11-22T02:00:00Z');
    assert.deepEqual(said(nightly, { firstDue }), ['· no backup yet, first run due 2026-11-22T02:00:00.000Z']);
    assert.deepEqual(said(nightly, { firstDue: hoursAgo(1) }), ['! no backup yet']);
  });

  test('a restore slower than its RTO rings, and so does a backup from the future', () => {
    const source = { ...nightly, objectives: { rto: parseDuration('1h')! } };
    assert.deepEqual(said(source, { ...proven(10), restoreSeconds: 7200 }), [
      '! the last restore took 2h, longer than its RTO 1h',
    ]);
    assert.deepEqual(said(source, { ...proven(10), restoreSeconds: 60 }), []);
    assert.deepEqual(said(source, { ...proven(10), restoreSeconds: 60, thawSeconds: 12 * 3600 }), [
      '! the newest proven backup needs a thaw of up to 12h, and the last restore took 1m: together, longer than its RTO 1h',
    ]);
    assert.deepEqual(said(source, { ...proven(10), thawSeconds: 12 * 3600 }), [
      '! the newest proven backup needs a thaw of up to 12h, longer than its RTO 1h',
    ]);
    assert.deepEqual(said(nightly, proven(-2)), ['! newest backup lies 2h in the future: a clock is wrong']);
    assert.deepEqual(said(nightly, proven(-0.05)), []);
  });
});
