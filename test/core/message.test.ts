import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { idempotencyKey, inWords, threadOf } from '#core/message';
import { HASH, telling } from '#test/notify/tellings';

describe('messages', () => {
  test('I15: what opened: all that somebody needs who was asleep, and the ledger’s head', () => {
    const { subject, text } = inWords(telling());
    assert.equal(subject, '[holdfast archon72] HIGH events: backup failed 3 times in a row');
    assert.equal(
      text,
      `HIGH events: backup failed 3 times in a row

What happened
  pg_dump ended with exit code 1: connection to server failed: Connection refused.
  It was due at 02:00.

Since when
  2026-11-21 02:00 UTC, 5h 12m ago.

What is still safe
  events: 20261120T020000Z-7f3a of 2026-11-20 02:00 UTC, proven, in ssd and cloud
  holdfast restore events --id 20261120T020000Z-7f3a --to ./events.restored

What to do next
  holdfast check events
  holdfast backup events

said by db1 for plan archon72 at 2026-11-21 07:12 UTC, alert failed
ledger ssd/events 42 ${HASH}
`,
    );
  });

  test('what goes on says how often it was told', () => {
    const { subject, text } = inWords(
      telling({ what: 'repeated', told: 3, at: new Date('2026-11-23T02:00:07.412Z'), next: [] }),
    );
    assert.equal(subject, '[holdfast archon72] HIGH still: events: backup failed 3 times in a row (3rd time)');
    assert.equal(
      text,
      `HIGH still: events: backup failed 3 times in a row (3rd time)

What happened
  pg_dump ended with exit code 1: connection to server failed: Connection refused.
  It was due at 02:00.

Since when
  2026-11-21 02:00 UTC, 2d ago. Told 3 times now.

What is still safe
  events: 20261120T020000Z-7f3a of 2026-11-20 02:00 UTC, proven, in ssd and cloud
  holdfast restore events --id 20261120T020000Z-7f3a --to ./events.restored

said by db1 for plan archon72 at 2026-11-23 02:00 UTC, alert failed
ledger ssd/events 42 ${HASH}
`,
    );
  });

  test('what is over says from when to when, and asks for nothing', () => {
    const { subject, text } = inWords(
      telling({
        what: 'closed',
        told: 4,
        at: new Date('2026-11-23T14:30:00Z'),
        happened: 'The backup of 14:29 is stored and proven.',
        safe: [],
        next: [],
      }),
    );
    assert.equal(subject, '[holdfast archon72] resolved: events: backup failed 3 times in a row');
    assert.equal(
      text,
      `resolved: events: backup failed 3 times in a row

What happened
  The backup of 14:29 is stored and proven.

Since when
  2026-11-21 02:00 UTC to 2026-11-23 14:30 UTC: it lasted 2d 12h.

said by db1 for plan archon72 at 2026-11-23 14:30 UTC, alert failed
ledger ssd/events 42 ${HASH}
`,
    );
  });

  test('where nothing is safe it says so, and where no ledger could be read too', () => {
    const { subject, text } = inWords(
      telling({ what: 'escalated', severity: 'critical', told: 4, safe: [], ledgerHead: null }),
    );
    assert.equal(subject, '[holdfast archon72] CRITICAL escalated: events: backup failed 3 times in a row');
    assert.match(text, /^What is still safe\n {2}No proven backup of events is known\.$/m);
    assert.match(text, /^ledger: none yet, or it could not be read$/m);
    const ofVault = inWords(telling({ source: null, title: 'vault ssd: 91% of 500 GB', safe: [] }));
    assert.doesNotMatch(ofVault.text, /still safe/, 'a vault has no backup of its own');
  });

  test('a test says that it is one', () => {
    const { subject, text } = inWords(
      telling({ what: 'test', severity: 'medium', title: 'this is what a medium alert looks like', safe: [] }),
    );
    assert.equal(subject, '[holdfast archon72] test (medium): this is what a medium alert looks like');
    assert.doesNotMatch(text, /Since when|still safe/);
  });

  test('a subject is one line of a length that is read; the text has all of it', () => {
    const title = `events: ${'very '.repeat(60)}long\r\nBcc: thief@example.com`;
    const { subject, text } = inWords(telling({ title }));
    assert.ok(subject.length < 200, subject);
    assert.doesNotMatch(subject, /[\r\n]/);
    assert.match(subject, /…$/);
    assert.match(text, /long Bcc: thief/);
  });

  test('a text message has what counts, and fits', () => {
    assert.equal(
      inWords(telling()).brief,
      'holdfast archon72: HIGH events: backup failed 3 times in a row (since 2026-11-21 02:00 UTC). Next: holdfast check events',
    );
    const long = inWords(telling({ title: 'x'.repeat(1000) })).brief;
    assert.equal(long.length, 300);
    assert.match(long, /… \(since 2026-11-21 02:00 UTC\)\.$/);
    assert.equal(
      inWords(telling({ what: 'closed', next: [] })).brief,
      'holdfast archon72: resolved: events: backup failed 3 times in a row.',
    );
  });

  test('the 11th, 12th and 13th time are said as people say them', () => {
    const times = [1, 2, 3, 4, 11, 12, 13, 21, 22, 101, 111].map(
      (told) => /\((\w+) time\)$/.exec(inWords(telling({ what: 'repeated', told })).subject)?.[1],
    );
    assert.deepEqual(times, ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '22nd', '101st', '111th']);
  });

  test('one trouble is one thread; each message of it has a key of its own', () => {
    const opened = telling();
    const closed = telling({ what: 'closed', told: 2, at: new Date('2026-11-22T00:00:00Z') });
    assert.equal(threadOf(opened), threadOf(closed));
    assert.equal(idempotencyKey(opened), idempotencyKey(telling()));
    assert.notEqual(idempotencyKey(opened), idempotencyKey(closed));
    for (const other of [{ source: 'cache' }, { key: 'age' }, { plan: 'b' }, { since: new Date(0) }])
      assert.notEqual(threadOf(opened), threadOf(telling(other)));
  });
});
