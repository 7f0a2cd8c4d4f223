import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DEFAULT_ROUTES } from '#core/alert';
import { alertChanges } from '#core/alert-changes';
import { emptyHistory, fold, mergeHistories, pausedAt, type SourceHistory } from '#core/history';
import { type LedgerFields, nextEntry } from '#core/ledger';
import { decide } from '#core/retention';
import { stampedAhead } from '#core/stamped-ahead';
import { asked, DAY, decisionOn, NOW, removedIds, rules, stored, tier } from '#test/core/retention-cases';

const YEAR_2038 = '2038-01-19T02:00:00Z';
const stamp = (at: string, lease: number) => ({ id: at, snapshotAt: new Date(at), lease });

describe('a clock that was ahead for one night', () => {
  test('what it stamped is known by the leases that were counted after it', () => {
    const before = stamp('2026-11-19T02:00:00Z', 7);
    const jumped = stamp(YEAR_2038, 8);
    const after = stamp('2026-11-21T02:00:00Z', 9);
    assert.deepEqual([...stampedAhead([before, jumped, after], NOW)], [YEAR_2038]);
    assert.deepEqual([...stampedAhead([before, jumped], NOW)], [], 'nothing came after it: it is the newest there is');
  });

  test('a machine whose own clock is behind, one without a battery, takes the newest for the newest all the same', () => {
    const nights = [1, 2, 3, 4].map((number) => stamp(`2026-11-0${number}T02:00:00Z`, number));
    for (const clock of ['1970-01-01T00:01:00Z', '2026-11-02T12:00:00Z'])
      assert.deepEqual([...stampedAhead(nights, new Date(clock))], [], clock);
  });

  test('I5: until somebody acknowledges it nothing is removed; then it counts for nothing and pushes nothing out', () => {
    const nights = [4, 3, 2, 1].map((ago, index) =>
      stored(new Date(NOW.getTime() - ago * DAY), { lease: index + 1, tier: 'config', expires: null }),
    );
    const old = stored(new Date(NOW.getTime() - 60 * DAY), { lease: 0 });
    const jumped = [0, 1, 2].map((minute) =>
      stored(new Date(Date.parse(YEAR_2038) + minute * 60_000), { lease: 2.5, tier: 'config', expires: null }),
    );
    const change = { tiers: { daily: tier('30d'), config: tier(3) }, settings: rules('0 2 * * *', ['config']) };
    const before = decide(asked([old, ...nights, ...jumped], change));
    assert.equal(before.stop?.why, 'clock');
    assert.deepEqual(removedIds(before), []);
    const known = decide(asked([old, ...nights, ...jumped], { ...change, acknowledged: [jumped[2]?.id as string] }));
    assert.equal(known.stop, null);
    assert.deepEqual(removedIds(known), [old.id, nights[0]?.id], 'as if there had been no such night');
    for (const one of jumped) assert.match(decisionOn(known, one).reasons.join(), /by a clock that was ahead/);
  });

  test('runs that fail afterwards are told of, and a pause holds: a ledger is in order whatever its clocks said', () => {
    const entries = (...words: (Partial<LedgerFields> & Pick<LedgerFields, 'event' | 'at'>)[]): SourceHistory => {
      const common = { source: 'app', vault: 'ssd', id: null, host: 'here', manifest: null, details: {} };
      let previous: ReturnType<typeof nextEntry> | null = null;
      const history = emptyHistory();
      for (const word of words) {
        previous = nextEntry(previous, { ...common, ...word });
        fold(history, previous);
      }
      return history;
    };
    const jumped = { event: 'backup', at: YEAR_2038, id: 'a' } as const;
    const resumed = { event: 'resume', at: YEAR_2038 } as const;
    const failed = { event: 'failed', at: '2026-11-20T02:00:00Z', details: { code: 'x', message: 'no' } } as const;
    const paused = { event: 'pause', at: '2026-11-20T03:00:00Z', details: { reason: 'moving' } } as const;
    const one = entries(jumped, resumed, failed, paused);
    assert.equal(mergeHistories([one]).failing?.count, 1);
    assert.ok(pausedAt(mergeHistories([one]), NOW));
    const other = entries(jumped, resumed);
    assert.equal(mergeHistories([one, other]).failing?.count, 1);
    const later = entries({ event: 'backup', at: '2026-11-20T05:00:00Z', id: 'b' });
    const good = entries(failed);
    assert.equal(mergeHistories([good, later]).failing, null);
  });

  test('what was told in that night and is still open is told again', () => {
    const condition = {
      key: 'failed',
      kind: 'failed',
      source: 'app',
      title: 'app: backup failed',
      happened: '',
      since: NOW,
      next: [],
    } as const;
    const settings = {
      severityOf: () => DEFAULT_ROUTES.failed,
      escalateAfter: 9,
      repeatEverySeconds: 86_400,
    };
    const look = (toldAt: string) => {
      const open = { ...condition, severity: 'high', since: toldAt, toldAt, told: 1, escalated: false } as const;
      const before = { open: { failed: { ...open, acknowledged: false } }, changedAt: {}, absentSince: {} };
      return alertChanges(before, { conditions: [condition], undecided: () => false }, settings, NOW).changes;
    };
    assert.deepEqual(
      look(YEAR_2038).map(({ what, alert }) => [what, alert.since]),
      [['repeated', NOW.toISOString()]],
    );
    assert.deepEqual(
      look(new Date(NOW.getTime() + DAY).toISOString()),
      [],
      'a clock set back by a day repeats nothing',
    );
  });
});
