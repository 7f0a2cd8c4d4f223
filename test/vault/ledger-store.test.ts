import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { KeyExists, RecordInvalid, VaultRefused, VaultUnreachable } from '#core/errors';
import { type LedgerEntry, ledgerKey, verifyChain } from '#core/ledger';
import { realClock } from '#test/contracts/run-context';
import { MemoryVault } from '#test/vault/memory-vault';
import { appendLedger, appendLedgerOnce, entryBefore, ledgerHead, readLedger } from '#vault/ledger-store';

const CLOCK = { ...realClock, sleep: () => new Promise<void>((resolve) => setImmediate(resolve)) };

function say(vault: MemoryVault, n: number, source = 'events'): Promise<LedgerEntry> {
  return appendLedger(
    vault,
    source,
    { event: 'failed', id: null, host: 'here', manifest: null, details: { n } },
    CLOCK,
  );
}

async function all(entries: AsyncIterable<LedgerEntry>): Promise<LedgerEntry[]> {
  const found: LedgerEntry[] = [];
  for await (const entry of entries) found.push(entry);
  return found;
}

describe('ledger store', () => {
  test('I15: 20 at the same time append an unbroken chain of 20, none of them lost', async () => {
    const vault = new MemoryVault();
    await Promise.all(Array.from({ length: 20 }, (_, n) => say(vault, n)));
    const entries = await all(readLedger(vault, 'events'));
    assert.equal(entries.length, 20);
    assert.deepEqual(verifyChain(entries, { source: 'events', head: await ledgerHead(vault, 'events') }), []);
    const told = entries.map((entry) => Number(entry.details['n'])).sort((a, b) => a - b);
    assert.deepEqual(
      told,
      Array.from({ length: 20 }, (_, n) => n),
    );
  });

  test('I3: nothing in it is ever written twice', async () => {
    const vault = new MemoryVault();
    const again: string[] = [];
    vault.before = (operation, key) => {
      if (operation === 'putAgain' || operation === 'remove') again.push(key);
    };
    await Promise.all(Array.from({ length: 5 }, (_, n) => say(vault, n)));
    assert.deepEqual(again, []);
    assert.deepEqual(
      [...vault.objects.keys()].sort(),
      [1, 2, 3, 4, 5].map((seq) => ledgerKey('events', seq)),
    );
  });

  test('each source has a chain of its own', async () => {
    const vault = new MemoryVault();
    await say(vault, 1);
    await say(vault, 2, 'events-old');
    await say(vault, 3);
    assert.deepEqual(
      (await all(readLedger(vault, 'events'))).map((entry) => entry.seq),
      [1, 2],
    );
    assert.equal((await ledgerHead(vault, 'events-old'))?.seq, 1);
    assert.equal(await ledgerHead(vault, 'nothing'), null);
  });

  test('a put whose answer got lost, and which is repeated, is one entry', async () => {
    const vault = new MemoryVault();
    const putOnce = vault.putOnce.bind(vault);
    vault.putOnce = async (key, body) => {
      await putOnce(key, body);
      // What the store tells the second attempt of one and the same put.
      throw new KeyExists(`${key} is there already`);
    };
    assert.equal((await say(vault, 1)).seq, 1);
    assert.equal(vault.objects.size, 1);
  });

  test('of many that say the same thing at the same time one is heard, and nothing else is lost', async () => {
    const vault = new MemoryVault();
    const fields = { event: 'failed', id: null, host: 'fargate:1', manifest: null, details: {} } as const;
    const isSame = ({ host }: LedgerEntry): boolean => host === 'fargate:1';
    const once = Array.from({ length: 10 }, () => appendLedgerOnce(vault, 'events', fields, isSame, CLOCK));
    const others = Array.from({ length: 10 }, (_, n) => say(vault, n));
    await Promise.all([...once, ...others]);
    const entries = await all(readLedger(vault, 'events'));
    assert.equal(entries.filter(isSame).length, 1);
    assert.equal(entries.length, 11);
    assert.equal(await appendLedgerOnce(vault, 'events', fields, isSame, CLOCK), null);
  });

  test('is read in order, from any place, more than it reads ahead', async () => {
    const vault = new MemoryVault();
    for (let n = 1; n <= 50; n++) await say(vault, n);
    assert.deepEqual(
      (await all(readLedger(vault, 'events', { after: 12 }))).map((entry) => entry.seq),
      Array.from({ length: 38 }, (_, n) => n + 13),
    );
    for await (const entry of readLedger(vault, 'events')) if (entry.seq === 3) break;
  });

  test('I14: a vault that does not answer is not an empty ledger', async () => {
    const vault = new MemoryVault();
    await say(vault, 1);
    for (const down of ['list', 'get', 'lastNumber']) {
      vault.before = (operation) => {
        if (operation === down) throw new VaultUnreachable('503');
      };
      if (down !== 'list') await assert.rejects(say(vault, 2), VaultUnreachable);
      if (down !== 'lastNumber') await assert.rejects(all(readLedger(vault, 'events')), VaultUnreachable);
    }
  });

  test('I15: a damaged entry is thrown, or told and passed over; what happens after it is still written down', async () => {
    const vault = new MemoryVault();
    for (const n of [1, 2]) await say(vault, n);
    const stored = vault.objects.get(ledgerKey('events', 2)) as { bytes: Buffer };
    stored.bytes = Buffer.from(stored.bytes.toString().replace('"n":2', '"n":7'));
    await say(vault, 3);
    await assert.rejects(all(readLedger(vault, 'events')), RecordInvalid);
    const invalid: RecordInvalid[] = [];
    const entries = await all(readLedger(vault, 'events', { onInvalid: (error) => invalid.push(error) }));
    assert.deepEqual(
      entries.map((entry) => entry.seq),
      [1, 3],
    );
    assert.match(invalid.map((error) => error.message).join(), /0000000002\.json does not match its own hash/);
    assert.notDeepEqual(verifyChain(entries), []);
  });

  test('reading begins near a moment without reading what lies before it, and misses nothing after it', async () => {
    const vault = new MemoryVault();
    const start = Date.parse('2026-01-01T00:00:00Z');
    let day = 0;
    const clock = { ...CLOCK, now: () => new Date(start + day * 86_400_000) };
    const fields = { event: 'failed', id: null, host: 'here', manifest: null, details: {} } as const;
    for (day = 0; day < 200; day++) await appendLedger(vault, 'events', fields, clock);
    const damaged = vault.objects.get(ledgerKey('events', 100)) as { bytes: Buffer };
    damaged.bytes = Buffer.from('{}');
    for (const wanted of [0, 1, 57, 99, 100, 150, 199, 200]) {
      let gets = 0;
      vault.before = (operation) => {
        if (operation === 'get') gets++;
      };
      const after = await entryBefore(vault, 'events', new Date(start + wanted * 86_400_000));
      assert.ok(after <= wanted, `day ${wanted} is entry ${wanted + 1}, and reading begins after ${after}`);
      assert.ok(after === wanted || wanted >= 100, 'only the damaged one may make it read more');
      assert.ok(gets <= 8, `${gets} entries were read`);
    }
    assert.equal(await entryBefore(new MemoryVault(), 'events', new Date(start)), 0);
  });

  test('a store that always says "taken" ends in an error, not in a loop', async () => {
    const vault = new MemoryVault();
    await say(vault, 0);
    vault.putOnce = async (key) => {
      vault.objects.set(key, { bytes: Buffer.from('{}'), modified: new Date() });
      vault.objects.delete(ledgerKey('events', 1));
      throw new KeyExists(key);
    };
    await assert.rejects(say(vault, 1), VaultRefused);
  });
});
