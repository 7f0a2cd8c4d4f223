import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { RecordInvalid } from '#core/errors';
import {
  LEDGER_EVENTS,
  type LedgerEntry,
  type LedgerFields,
  type LedgerHead,
  ledgerKey,
  nextEntry,
  readEntry,
  verifyChain,
} from '#core/ledger';
import { canonicalJson, sha256Hex } from '#core/manifest';

const FIELDS: LedgerFields = {
  at: '2026-11-21T02:00:00.000Z',
  source: 'events',
  vault: 'ssd',
  event: 'backup',
  id: '20261121T020000Z-7f3a',
  host: 'bastion',
  manifest: sha256Hex('manifest'),
  details: { bytes: 1234, tier: 'daily' },
};

const fields: fc.Arbitrary<LedgerFields> = fc.record({
  at: fc
    .date({ min: new Date('2020-01-01'), max: new Date('2100-01-01'), noInvalidDate: true })
    .map((date) => date.toISOString()),
  source: fc.constant('events'),
  vault: fc.constant('ssd'),
  event: fc.constantFrom(...LEDGER_EVENTS),
  id: fc.option(fc.constant('20261121T020000Z-7f3a')),
  host: fc.string(),
  manifest: fc.option(fc.string().map((text) => sha256Hex(text))),
  details: fc.dictionary(fc.string(), fc.jsonValue() as fc.Arbitrary<LedgerFields['details'][string]>, { maxKeys: 3 }),
});

function chainOf(all: readonly LedgerFields[]): LedgerEntry[] {
  const chain: LedgerEntry[] = [];
  for (const one of all) chain.push(nextEntry(chain.at(-1) ?? null, one));
  return chain;
}

const chains = fc.array(fields, { minLength: 1, maxLength: 12 }).map(chainOf);

/** The same entry with something changed, and its own hash made to fit: what a careful forger writes. */
function forged(entry: LedgerEntry, change: Partial<LedgerEntry>): LedgerEntry {
  const { sha256: _old, ...rest } = { ...entry, ...change };
  return { ...rest, sha256: sha256Hex(canonicalJson(rest)) };
}

function headOf(chain: readonly LedgerEntry[]): LedgerHead {
  const last = chain.at(-1) as LedgerEntry;
  return { seq: last.seq, sha256: last.sha256 };
}

describe('ledger', () => {
  test('I15: a chain that nobody touched has no findings, and reads back from its text', () => {
    fc.assert(
      fc.property(chains, (chain) => {
        assert.deepEqual(verifyChain(chain, { source: 'events', head: headOf(chain) }), []);
        for (const entry of chain)
          assert.deepEqual(
            readEntry(canonicalJson(entry), ledgerKey('events', entry.seq)),
            JSON.parse(canonicalJson(entry)),
          );
      }),
    );
  });

  test('I15: an edit anywhere is found', () => {
    fc.assert(
      fc.property(chains, fc.nat(), (chain, pick) => {
        const index = pick % chain.length;
        const edited = chain.with(index, { ...(chain[index] as LedgerEntry), host: `${chain[index]?.host}!` });
        assert.match(verifyChain(edited).join(), new RegExp(`entry ${index + 1} was edited`));
      }),
    );
  });

  test('I15: an edit with the hash made to fit is found by the entry after it, or by a head carried elsewhere', () => {
    fc.assert(
      fc.property(chains, fc.nat(), (chain, pick) => {
        const index = pick % chain.length;
        const edited = chain.with(index, forged(chain[index] as LedgerEntry, { host: `${chain[index]?.host}!` }));
        assert.notDeepEqual(verifyChain(edited, { head: headOf(chain) }), []);
      }),
    );
  });

  test('I15: an entry removed anywhere is found; from the tail, by a head carried elsewhere', () => {
    fc.assert(
      fc.property(chains, fc.nat(), (chain, pick) => {
        const index = pick % chain.length;
        const found = verifyChain(chain.toSpliced(index, 1), { head: headOf(chain) }).join();
        assert.match(found, index === chain.length - 1 ? /the tail is cut off/ : /is missing: the chain has a gap/);
      }),
    );
  });

  test('I15: the tail may be longer than the head, not shorter, not another', () => {
    const chain = chainOf([FIELDS, FIELDS, FIELDS, FIELDS]);
    assert.deepEqual(verifyChain(chain, { head: headOf(chain.slice(0, 2)) }), []);
    assert.deepEqual(verifyChain([], { head: null }), []);
    assert.deepEqual(verifyChain([], { head: headOf(chain) }), [
      'the tail is cut off: the ledger ends at entry 0, a manifest recorded entry 4',
    ]);
    const rewritten = chainOf([FIELDS, FIELDS, FIELDS, { ...FIELDS, event: 'failed' }]);
    assert.deepEqual(verifyChain(rewritten, { head: headOf(chain) }), [
      "entry 4 is not the one that a manifest recorded as the ledger's head",
    ]);
  });

  test('I15: entries exchanged, doubled, or of another source are found', () => {
    const chain = chainOf([FIELDS, FIELDS, FIELDS, FIELDS]);
    const [first, second, third, fourth] = chain as [LedgerEntry, LedgerEntry, LedgerEntry, LedgerEntry];
    assert.match(verifyChain([first, third, second, fourth]).join(), /out of order/);
    assert.match(verifyChain([first, second, second, third, fourth]).join(), /entry 2 stands after entry 2/);
    assert.match(verifyChain(chain, { source: 'cache' }).join(), /entry 1 is of source events, not of cache/);
    const foreign = forged(second, { source: 'cache' });
    assert.match(verifyChain([first, foreign, third, fourth]).join(), /entry 2 is of source cache/);
    assert.match(verifyChain(chain.slice(2)).join(), /entries 1 to 2 are missing/);
    assert.match(
      verifyChain([forged(first, { previous: sha256Hex('x') })]).join(),
      /entry 1 does not follow from entry 0/,
    );
  });

  test('what is no entry is refused with its key', () => {
    const [entry] = chainOf([FIELDS]) as [LedgerEntry];
    const key = ledgerKey('events', 1);
    const cases: [unknown, RegExp][] = [
      ['{', /is not JSON/],
      [JSON.stringify({ ...entry, format: 2 }), /has format 2/],
      [JSON.stringify({ ...entry, extra: 1 }), /is not a ledger entry/],
      [JSON.stringify({ ...entry, event: 'party' }), /is not a ledger entry/],
      ['null', /is not a ledger entry/],
      [JSON.stringify({ ...entry, host: 'elsewhere' }), /does not match its own hash/],
    ];
    for (const [text, words] of cases)
      assert.throws(
        () => readEntry(text as string, key),
        (error: Error) => {
          assert.ok(error instanceof RecordInvalid);
          assert.match(error.message, words);
          assert.ok(error.message.startsWith(key));
          return true;
        },
      );
    assert.throws(() => readEntry(JSON.stringify(entry), ledgerKey('events', 2)), /was moved/);
    assert.throws(() => readEntry(JSON.stringify(entry), ledgerKey('cache', 1)), /was moved/);
  });

  test('what the schema does not allow is not written either', () => {
    assert.throws(() => nextEntry(null, { ...FIELDS, event: 'party' as 'backup' }));
    assert.throws(() => nextEntry(null, { ...FIELDS, source: '../etc' }));
  });
});
