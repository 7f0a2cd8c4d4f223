import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { OpenAlert } from '#core/alert';
import { emptyHistory, fold, mergeHistories, pausedAt, readHistory, type SourceHistory } from '#core/history';
import { LEDGER_EVENTS, type LedgerEntry, type LedgerFields, nextEntry } from '#core/ledger';

const START = Date.parse('2026-03-01T00:00:00Z');
const minute = (count: number): string => new Date(START + count * 60_000).toISOString();

type Word = Partial<LedgerFields> & Pick<LedgerFields, 'event'>;

/** A chain, one minute an entry. */
function chain(words: readonly Word[], from = 0): LedgerEntry[] {
  const entries: LedgerEntry[] = [];
  for (const [index, word] of words.entries())
    entries.push(
      nextEntry(entries.at(-1) ?? null, {
        at: minute(from + index),
        source: 'events',
        vault: 'ssd',
        id: null,
        host: 'here',
        manifest: null,
        details: {},
        ...word,
      }),
    );
  return entries;
}

function told(words: readonly Word[], from = 0): SourceHistory {
  return chain(words, from).reduce(fold, emptyHistory());
}

const ID = '20260301T000000Z-7f3a';
const scheduled = (at: string) => ({ trigger: 'schedule', schedule: '0 2 * * *', scheduledAt: at });
const alert: OpenAlert = {
  key: 'failed',
  kind: 'failed',
  severity: 'high',
  title: 'events: backup failed',
  since: minute(0),
  toldAt: minute(1),
  told: 1,
  escalated: false,
  acknowledged: false,
};

describe('what a ledger adds up to', () => {
  test('failures are counted until a run ends well, and keep the time they began', () => {
    const failed: Word = {
      event: 'failed',
      id: ID,
      details: { code: 'source-unreachable', message: 'no', left: null },
    };
    const failing = told([failed, failed, failed]);
    assert.deepEqual(failing.failing, {
      since: minute(0),
      at: minute(2),
      count: 3,
      id: ID,
      code: 'source-unreachable',
      message: 'no',
    });
    assert.equal(told([failed, failed, { event: 'unchanged', id: ID }]).failing, null);
    assert.equal(told([failed, { event: 'backup', id: ID }, failed]).failing?.count, 1);
  });

  test('each schedule remembers the newest time that a run has answered, whichever way it ended', () => {
    const history = told([
      { event: 'backup', id: ID, details: scheduled(minute(60)) },
      { event: 'failed', id: ID, details: { code: 'x', message: 'y', ...scheduled(minute(120)) } },
      { event: 'backup', id: ID, details: { trigger: 'manual', schedule: '0 2 * * *', scheduledAt: null } },
    ]);
    assert.deepEqual(history.scheduled, {
      '0 2 * * *': { scheduledAt: minute(120), at: minute(1), outcome: 'failed', failures: 1 },
    });
  });

  test('I4: a source found equal to an unproven backup is still known to have equalled the proven one before it', () => {
    const later = '20260302T000000Z-0001';
    const found = (id: string): Word => ({ event: 'unchanged', id });
    assert.deepEqual(told([found(ID), found(ID), found(later)]).unchanged, { [ID]: minute(1), [later]: minute(2) });
  });

  test('a pause lasts until it is resumed, or until its own end', () => {
    const open = told([{ event: 'pause', details: { reason: 'moving', until: null } }]);
    assert.equal(pausedAt(open, new Date(minute(9999)))?.reason, 'moving');
    assert.equal(told([{ event: 'pause', details: { reason: 'moving' } }, { event: 'resume' }]).paused, null);
    const bounded = told([{ event: 'pause', details: { reason: 'moving', until: minute(10) } }]);
    assert.notEqual(pausedAt(bounded, new Date(minute(9))), null);
    assert.equal(pausedAt(bounded, new Date(minute(10))), null);
  });

  test('I13: what a failed run left is remembered until somebody acknowledges it or it is swept', () => {
    const left: Word = {
      event: 'failed',
      id: ID,
      details: { code: 'x', message: 'y', left: `backups/events/daily/${ID}` },
    };
    assert.deepEqual(told([left]).leftovers, { [ID]: `backups/events/daily/${ID}` });
    assert.deepEqual(told([left, { event: 'ack', id: ID, details: { reason: 'seen', key: null } }]).leftovers, {});
    assert.deepEqual(told([left, { event: 'retained', id: ID, details: { how: 'swept' } }]).leftovers, {});
  });

  test('an alert is open from the entry that opened it to the one that closed it, and an ack stays with it', () => {
    const opened: Word = { event: 'alert-opened', details: alert };
    assert.deepEqual(told([opened]).alerts, { failed: alert });
    const acked = told([opened, { event: 'ack', details: { reason: 'on it', key: 'failed' } }]);
    assert.equal(acked.alerts['failed']?.acknowledged, true);
    assert.deepEqual(told([opened, { event: 'alert-closed', details: { key: 'failed' } }]).alerts, {});
  });

  test('a release ends a hold, and a later hold begins a new one', () => {
    const hold: Word = { event: 'hold', id: ID, details: { reason: 'court' } };
    const release: Word = { event: 'release', id: ID, details: { reason: null } };
    assert.deepEqual(told([hold]).released, []);
    assert.deepEqual(told([hold, release]).released, [ID]);
    assert.deepEqual(told([hold, release, hold]).released, []);
  });

  test('the measured restore is the newest proof that succeeded, or the newest real restore', () => {
    const proof = (outcome: string, seconds: number): Word => ({
      event: 'proof',
      id: ID,
      details: { outcome, seconds },
    });
    assert.equal(told([proof('proven', 12), proof('disproven', 99)]).restore?.seconds, 12);
    assert.equal(
      told([proof('proven', 12), { event: 'restore', id: ID, details: { seconds: 30 } }]).restore?.seconds,
      30,
    );
  });
});

describe('several vaults', () => {
  test('the newest word counts, whichever vault has it', () => {
    const first = told([{ event: 'failed', id: ID, details: { code: 'x', message: 'y' } }]);
    const second = told([{ event: 'backup', id: ID }], 5);
    assert.equal(mergeHistories([first, second]).failing, null);
    assert.equal(mergeHistories([second, first]).failing, null);
    const later = told([{ event: 'failed', id: ID, details: { code: 'x', message: 'y' } }], 9);
    assert.equal(mergeHistories([second, later]).failing?.count, 1);
  });

  test('an alert that one vault knows as closed later is not open because another vault missed it', () => {
    const open = told([{ event: 'alert-opened', details: alert }]);
    const closed = told([
      { event: 'alert-opened', details: alert },
      { event: 'alert-closed', details: { key: 'failed' } },
    ]);
    assert.deepEqual(mergeHistories([open, closed]).alerts, {});
    assert.deepEqual(mergeHistories([closed, open]).alerts, {});
    const again = told([{ event: 'alert-opened', details: alert }], 30);
    assert.deepEqual(mergeHistories([closed, again]).alerts, { failed: alert });
  });

  test('a release that only one vault heard of counts unless the backup was held again after it', () => {
    const held = told([{ event: 'hold', id: ID, details: { reason: 'court' } }]);
    const released = told([
      { event: 'hold', id: ID, details: { reason: 'court' } },
      { event: 'release', id: ID },
    ]);
    assert.deepEqual(mergeHistories([held, released]).released, [ID]);
    const again = told([{ event: 'hold', id: ID, details: { reason: 'again' } }], 60);
    assert.deepEqual(mergeHistories([released, again]).released, []);
  });
});

const anyWord: fc.Arbitrary<Word> = fc.record({
  event: fc.constantFrom(...LEDGER_EVENTS),
  id: fc.constantFrom(null, ID, '20260302T000000Z-0001'),
  details: fc.dictionary(
    fc.constantFrom(
      'code',
      'message',
      'left',
      'schedule',
      'scheduledAt',
      'until',
      'reason',
      'key',
      'seconds',
      'outcome',
    ),
    fc.oneof(
      fc.constant(null),
      fc.string(),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.constant(minute(3)),
    ),
  ),
});

test('any ledger can be folded, its fold is JSON that reads back equal, and goes on from there to the same end', () => {
  fc.assert(
    fc.property(fc.array(anyWord, { maxLength: 40 }), fc.nat(40), (words, cut) => {
      const entries = chain(words);
      const whole = entries.reduce(fold, emptyHistory());
      const kept = entries.slice(0, cut).reduce(fold, emptyHistory());
      const read = readHistory(JSON.parse(JSON.stringify(kept)));
      assert.ok(read);
      assert.deepEqual(entries.slice(cut).reduce(fold, read), whole);
    }),
  );
});
