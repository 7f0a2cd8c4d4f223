import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type Condition, DEFAULT_ROUTES, type OpenAlert } from '#core/alert';
import {
  type AlertChange,
  type AlertSettings,
  type AlertsBefore,
  alertChanges,
  repeatAfter,
} from '#core/alert-changes';

const START = Date.parse('2026-03-01T00:00:00Z');
const MINUTE = 60_000;
const DAY = 86_400_000;

const settings: AlertSettings = {
  severityOf: (kind) => DEFAULT_ROUTES[kind],
  escalateAfter: 3,
  repeatEverySeconds: 86_400,
};

function condition(key: string, more: Partial<Condition> = {}): Condition {
  return {
    key,
    kind: 'failed',
    source: 'events',
    title: `events: ${key}`,
    happened: 'It did.',
    since: new Date(START),
    next: [],
    ...more,
  };
}

/** A watch that remembers as the ledger does. */
class Watcher {
  before: { open: Record<string, OpenAlert>; changedAt: Record<string, string>; absentSince: Record<string, string> } =
    { open: {}, changedAt: {}, absentSince: {} };
  readonly said: string[] = [];

  look(at: number, conditions: readonly Condition[], undecided = (_alert: OpenAlert): boolean => false): AlertChange[] {
    const now = new Date(START + at);
    const after = alertChanges(this.before as AlertsBefore, { conditions, undecided }, settings, now);
    this.before.absentSince = { ...after.absentSince };
    for (const { what, alert } of after.changes) {
      this.said.push(`${time(at)} ${what} ${alert.severity} ${alert.key}`);
      this.before.changedAt[alert.key] = now.toISOString();
      if (what === 'closed') delete this.before.open[alert.key];
      else this.before.open[alert.key] = alert;
    }
    return [...after.changes];
  }
}

function time(milliseconds: number): string {
  const minutes = Math.round(milliseconds / MINUTE);
  return `${Math.floor(minutes / 1440)}d${String(Math.floor((minutes % 1440) / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`;
}

describe('what is told', () => {
  test('an alert opens once, is repeated after 1, 2, 4 and then every 7 days, and is escalated once', () => {
    const watcher = new Watcher();
    for (let at = 0; at <= 30 * DAY; at += 5 * MINUTE) watcher.look(at, [condition('failed')]);
    assert.deepEqual(watcher.said, [
      '0d00:00 opened high failed',
      '1d00:00 repeated high failed',
      '3d00:00 escalated critical failed',
      '7d00:00 repeated critical failed',
      '14d00:00 repeated critical failed',
      '21d00:00 repeated critical failed',
      '28d00:00 repeated critical failed',
    ]);
  });

  test('recovery is told once, to all who were told', () => {
    const watcher = new Watcher();
    watcher.look(0, [condition('age', { kind: 'age' })]);
    assert.deepEqual(
      watcher.look(5 * MINUTE, []).map(({ what, also }) => [what, also]),
      [['closed', []]],
    );
    assert.deepEqual(watcher.look(10 * MINUTE, []), []);
    for (const at of [2, 3, 5]) watcher.look(at * DAY, [condition('failed')]);
    const [closed] = watcher.look(5 * DAY + MINUTE, []);
    assert.equal(closed?.alert.severity, 'critical');
    assert.deepEqual(closed?.also, ['high']);
  });

  test('what fails for the third time is escalated at once', () => {
    const watcher = new Watcher();
    watcher.look(0, [condition('failed', { count: 1 })]);
    watcher.look(15 * MINUTE, [condition('failed', { count: 2 })]);
    const [third] = watcher.look(45 * MINUTE, [condition('failed', { count: 3 })]);
    assert.deepEqual([third?.what, third?.alert.severity, third?.also], ['escalated', 'critical', ['high']]);
    assert.deepEqual(watcher.look(105 * MINUTE, [condition('failed', { count: 4 })]), []);
  });

  test('what has failed often before anybody looked is told once, and at once to those above', () => {
    const watcher = new Watcher();
    const [only] = watcher.look(0, [condition('failed', { count: 7 })]);
    assert.deepEqual([only?.what, only?.alert.severity, only?.also], ['opened', 'critical', ['high']]);
    assert.deepEqual(watcher.look(5 * MINUTE, [condition('failed', { count: 7 })]), []);
  });

  test('above critical there is nobody: it is only repeated', () => {
    const watcher = new Watcher();
    for (let day = 0; day < 8; day++) watcher.look(day * DAY, [condition('proof', { kind: 'proof', count: day })]);
    assert.deepEqual(
      watcher.said.map((line) => line.split(' ')[1]),
      ['opened', 'repeated', 'repeated', 'repeated'],
    );
  });

  test('what somebody acknowledged is not repeated and not escalated; its end is told', () => {
    const watcher = new Watcher();
    watcher.look(0, [condition('failed')]);
    (watcher.before.open['failed'] as OpenAlert).acknowledged = true;
    for (let day = 1; day < 30; day++)
      assert.deepEqual(watcher.look(day * DAY, [condition('failed', { count: 9 })]), []);
    assert.equal(watcher.look(30 * DAY, [])[0]?.what, 'closed');
  });

  test('what becomes worse is told, also when the lesser trouble was acknowledged', () => {
    const watcher = new Watcher();
    watcher.look(0, [condition('proof', { kind: 'proof', severity: 'high' })]);
    (watcher.before.open['proof'] as OpenAlert).acknowledged = true;
    const [worse] = watcher.look(5 * MINUTE, [condition('proof', { kind: 'proof' })]);
    assert.deepEqual([worse?.what, worse?.alert.severity, worse?.alert.acknowledged], ['escalated', 'critical', false]);
    assert.deepEqual(watcher.look(10 * MINUTE, [condition('proof', { kind: 'proof', severity: 'high' })]), []);
  });

  test('a severity of its own goes before the route', () => {
    const [opened] = new Watcher().look(0, [condition('proof', { kind: 'proof', severity: 'medium' })]);
    assert.equal(opened?.alert.severity, 'medium');
  });

  test('I14: what could not be looked at is not over', () => {
    const watcher = new Watcher();
    watcher.look(0, [condition('failed')]);
    assert.deepEqual(
      watcher.look(DAY, [], () => true),
      [],
    );
    assert.equal(watcher.look(2 * DAY, []).length, 1);
  });

  test('a clock that is set back repeats nothing', () => {
    const watcher = new Watcher();
    watcher.look(DAY, [condition('failed')]);
    assert.deepEqual(watcher.look(0, [condition('failed')]), []);
  });

  test('what comes and goes is told twice, and then called over only after two quiet hours', () => {
    const watcher = new Watcher();
    // Every ten minutes it is there, and ten minutes later it is not; for six hours.
    for (let turn = 0; turn < 36; turn++)
      watcher.look(turn * 10 * MINUTE, turn % 2 === 0 ? [condition('vault/ssd', { kind: 'storage' })] : []);
    for (let turn = 36; turn < 72; turn++) watcher.look(turn * 10 * MINUTE, []);
    assert.deepEqual(watcher.said, [
      '0d00:00 opened medium vault/ssd',
      '0d00:10 closed medium vault/ssd',
      '0d00:20 opened medium vault/ssd',
      '0d07:50 closed medium vault/ssd',
    ]);
  });

  test('the spacing of repetitions is bounded, however often it was told', () => {
    assert.equal(repeatAfter(1, settings), 86_400);
    assert.equal(repeatAfter(500, settings), 7 * 86_400);
    assert.equal(repeatAfter(9, { repeatEverySeconds: 30 * 86_400 }), 30 * 86_400);
  });
});

describe('of any course of events', () => {
  /** For each of three troubles whether it is there, at each look. */
  const course = fc.array(
    fc.record({ minutes: fc.integer({ min: 1, max: 3000 }), there: fc.subarray(['a', 'b', 'c']), count: fc.nat(5) }),
    { maxLength: 60 },
  );

  test('openings and ends take turns, what is there is open, and each change of state is told exactly once', () => {
    fc.assert(
      fc.property(course, (looks) => {
        const watcher = new Watcher();
        const state = new Map<string, boolean>();
        const told = new Map<string, number>();
        let at = 0;
        for (const { minutes, there, count } of looks) {
          at += minutes * MINUTE;
          const changes = watcher.look(
            at,
            there.map((key) => condition(key, { count })),
          );
          assert.equal(new Set(changes.map(({ alert }) => alert.key)).size, changes.length, 'one word each');
          for (const { what, alert } of changes) {
            const { key } = alert;
            assert.equal(state.get(key) ?? false, what !== 'opened', `${what} of what was not so`);
            state.set(key, what !== 'closed');
            if (what === 'opened') told.set(key, 0);
            if (what === 'closed') continue;
            told.set(key, (told.get(key) ?? 0) + 1);
            assert.equal(alert.told, told.get(key));
          }
          for (const key of there) assert.ok(state.get(key), 'what is there is open');
          // The same look again finds nothing new.
          assert.deepEqual(
            watcher.look(
              at,
              there.map((key) => condition(key, { count })),
            ),
            [],
          );
        }
      }),
    );
  });

  test('an alert is escalated at most once, and never to a lower severity', () => {
    fc.assert(
      fc.property(course, (looks) => {
        const watcher = new Watcher();
        const escalations = new Map<string, number>();
        let at = 0;
        for (const { minutes, there, count } of looks) {
          at += minutes * MINUTE;
          for (const { what, alert } of watcher.look(
            at,
            there.map((key) => condition(key, { kind: 'storage', count })),
          )) {
            if (what === 'opened') escalations.set(alert.key, alert.escalated ? 1 : 0);
            if (what === 'escalated') escalations.set(alert.key, (escalations.get(alert.key) ?? 0) + 1);
            assert.ok((escalations.get(alert.key) ?? 0) <= 1);
            assert.equal(alert.severity, alert.escalated ? 'high' : 'medium');
          }
        }
      }),
    );
  });
});
