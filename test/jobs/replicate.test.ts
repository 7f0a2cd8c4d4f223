import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { VaultUnreachable } from '#core/errors';
import { loadPlan } from '#core/plan-load';
import { surveyCopies } from '#jobs/copies';
import { verifyLedger } from '#jobs/ledger-verify';
import { type ReplicateRequest, type Replication, replicate } from '#jobs/replicate';
import { addAged } from '#test/jobs/aged-vault';
import { type AgedOptions, AgedWorld, keepOf } from '#test/jobs/aged-world';
import { MemoryVault } from '#test/vault/memory-vault';
import { acquireLease } from '#vault/lease';
import { appendLedger } from '#vault/ledger-store';

const ALL: ReplicateRequest = { sources: [], from: null, to: null, dryRun: false };
const THERE = '{ a: { disk: ./a, replica: { vault: b, lag: 5m, concurrent: 3 } }, b: { disk: ./b } }';

/** Vaults a, b (and c) in memory; `vaults` is the plan's own text. */
async function world(vaults: string, options: AgedOptions & { readonly to?: string } = {}): Promise<AgedWorld> {
  const { to = 'a', ...rest } = options;
  const made = await new AgedWorld({ vaults: ['a', 'b', 'c'], ...rest }).open();
  made.plan = loadPlan(
    `version: 1
name: aged
encryption: none
vaults: ${vaults}
tiers: { daily: { keep: 30d }, old: { keep: 7d } }
sources:
  app: { sqlite: { file: app.db }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [${to}] }] }
`,
    'holdfast.yaml',
  );
  return made;
}

const run = (made: AgedWorld, request: Partial<ReplicateRequest> = {}): Promise<Replication> =>
  replicate({ ...ALL, ...request }, made.environment);
const statuses = ({ copies }: Replication): string[] => copies.map(({ status, from, to }) => `${status} ${from}→${to}`);

describe('what replicate copies', () => {
  test('the oldest first, so many at a time as the plan says, with their proofs; and then the lag is nothing', async () => {
    const made = await world(THERE);
    for (let day = 9; day >= 1; day--) await made.add(day, {}, 'app', ['a']);
    const before = await surveyCopies({ sources: [] }, made.environment);
    assert.equal(before.states[0]?.lagSeconds, 9 * 86_400 + 10 * 3600);
    assert.equal(before.states[0]?.route.limitSeconds, 300);
    const [now, most] = [{ stores: 0 }, { stores: 0 }];
    const store = made.vault('b').store.bind(made.vault('b'));
    made.vault('b').store = async (...given) => {
      now.stores++;
      most.stores = Math.max(most.stores, now.stores);
      try {
        return await store(...given);
      } finally {
        now.stores--;
      }
    };
    const done = await run(made);
    assert.equal(done.exit, 0);
    assert.equal(most.stores, 3);
    assert.equal(done.proofs, 9);
    assert.deepEqual(made.ids('app', 'b'), made.ids('app', 'a'));
    assert.deepEqual(done.lag, [{ source: 'app', from: 'a', to: 'b', seconds: 0, limitSeconds: 300, missing: 0 }]);
    assert.deepEqual((await verifyLedger(made.vault('b'), 'app')).findings, []);
    const objects = made.vault('b').objects.size;
    assert.equal((await run(made)).copies.length, 0);
    assert.equal(made.vault('b').objects.size, objects, 'with nothing to do it leaves nothing behind, no lease either');
  });

  test('not what has expired, and not what retention gave up on either side', async () => {
    const made = await world(THERE);
    const kept = await made.add(3, {}, 'app', ['a']);
    await made.add(40, {}, 'app', ['a']);
    const here = await made.add(5, {}, 'app', ['a']);
    const there = await made.add(4, {}, 'app', ['a']);
    for (const [name, id] of [
      ['a', here],
      ['b', there],
    ] as const)
      await appendLedger(
        made.vault(name),
        'app',
        {
          event: 'retained',
          id,
          manifest: null,
          host: 'old',
          details: { tier: 'daily', how: 'removed', reasons: ['x'] },
        },
        made.environment.run.clock,
      );
    const done = await run(made);
    assert.deepEqual(
      done.copies.map(({ id }) => id),
      [kept],
    );
    assert.equal(done.lag[0]?.missing, 0);
  });

  test('a proof that was made when the other vault was away comes later; a disproof never', async () => {
    const made = await world(THERE);
    const proven = await made.add(3, { proof: null }, 'app', ['a', 'b']);
    const bad = await made.add(2, { proof: null }, 'app', ['a', 'b']);
    const other = new MemoryVault({ name: 'a' });
    for (const [day, proof] of [
      [3, 'proven'],
      [2, 'disproven'],
    ] as const) {
      const at = `${new Date(made.now.getTime() - day * 86_400_000).toISOString().slice(0, 10)}T02:00:00Z`;
      await addAged(other, 'app', { at, tier: 'daily', keep: keepOf('30d'), proof });
    }
    for (const [key, object] of other.objects) if (key.startsWith('proofs/')) made.vault('a').objects.set(key, object);
    const done = await run(made);
    assert.deepEqual([done.exit, done.copies.length, done.proofs], [0, 0, 1]);
    assert.equal(made.keys(`proofs/app/${proven}`, 'b').length, 1);
    assert.equal(made.keys(`proofs/app/${bad}`, 'b').length, 0);
  });

  test('a full before the differential that needs it, and no differential without its full', async () => {
    const made = await world(THERE);
    const full = await made.add(5, {}, 'app', ['a']);
    const needs = await made.add(6, { kind: 'differential', base: full }, 'app', ['a']);
    const alone = await made.add(4, { kind: 'differential', base: '20200101T000000Z-0000' }, 'app', ['a']);
    const order: string[] = [];
    made.vault('b').before = (operation, key) => {
      if (operation === 'putOnce' && key.endsWith('manifest.json')) order.push(key.split('/')[3] as string);
    };
    const done = await run(made);
    assert.deepEqual(order, [full, needs]);
    const failed = done.copies.find(({ status }) => status === 'failed');
    assert.equal(failed?.id, alone);
    assert.match(failed?.error?.message ?? '', /needs the full 20200101T000000Z-0000, which is not in b/);
    assert.equal(done.exit, 3);
  });

  test('from the vault whose copy is whole, where the first one is damaged', async () => {
    const made = await world('{ a: { disk: ./a }, b: { disk: ./b }, c: { disk: ./c } }', { to: 'a, b, c' });
    const id = await made.add(2, {}, 'app', ['a', 'b']);
    const key = `backups/app/daily/${id}/snapshot.db.zst`;
    const stored = made.vault('a').objects.get(key);
    assert.ok(stored);
    stored.bytes = Buffer.from(stored.bytes.toString().replace('bytes', 'bites'));
    const done = await run(made);
    assert.deepEqual(statuses(done), ['copied b→c']);
    assert.match(done.warnings.join(), /is not copied from a: .* is not what its manifest says/);
    assert.equal(done.exit, 0);
    assert.equal(made.vault('c').objects.get(key)?.bytes.toString(), `bytes of ${id}`);
  });
});

describe('replicate on a bad day', () => {
  test('what fails and then works is tried again, waiting longer each time', async () => {
    const made = await world(THERE);
    await made.add(2, {}, 'app', ['a']);
    const waits: number[] = [];
    made.environment.run.clock.sleep = async (milliseconds) => void waits.push(milliseconds);
    let failures = 3;
    made.vault('b').before = (operation, key) => {
      if (operation === 'putOnce' && key.endsWith('.zst') && failures-- > 0) throw new VaultUnreachable('it hangs');
    };
    const done = await run(made);
    assert.deepEqual(statuses(done), ['copied a→b']);
    assert.deepEqual(
      waits.map((wait, index) => wait >= 500 * 2 ** index && wait <= 1000 * 2 ** index),
      [true, true, true],
    );
  });

  test('what fails for good does not keep the others, and is told', async () => {
    const made = await world(THERE);
    const [bad] = [await made.add(3, {}, 'app', ['a']), await made.add(2, {}, 'app', ['a'])];
    made.vault('b').before = (operation, key) => {
      if (operation === 'putOnce' && key.includes(`${bad}/snapshot`)) throw new VaultUnreachable('it hangs');
    };
    const done = await run(made);
    assert.deepEqual(statuses(done).sort(), ['copied a→b', 'failed a→b']);
    assert.equal(done.exit, 3);
    assert.equal(done.error?.message, 'it hangs');
    assert.equal(done.lag[0]?.missing, 1);
  });

  test('I14: a listing that fails is not an empty vault: nothing is copied, and nobody says that nothing is missing', async () => {
    const made = await world(THERE);
    await made.add(2, {}, 'app', ['a']);
    const listed = made.vault('b').objects.size;
    made.vault('b').before = (operation, key) => {
      if (operation === 'list' && key.startsWith('backups/')) throw new VaultUnreachable('no listing');
    };
    const done = await run(made);
    assert.equal(done.exit, 1);
    assert.deepEqual([done.lag[0]?.seconds, done.lag[0]?.missing], [null, null]);
    assert.equal(made.vault('b').objects.size, listed);
  });

  test('I14: nor is a ledger that cannot be read one that gave nothing up', async () => {
    const made = await world(THERE);
    await made.add(2, {}, 'app', ['a']);
    made.vault('b').before = (operation, key) => {
      if (key.startsWith('ledger/') && operation !== 'putOnce') throw new VaultUnreachable('no ledger');
    };
    assert.equal((await run(made)).exit, 1);
    assert.deepEqual(made.ids('app', 'b'), []);
  });

  test('I12: a lease that is taken over while bytes are on their way: nothing is committed', async () => {
    const made = await world(THERE);
    await made.add(2, {}, 'app', ['a']);
    made.vault('b').before = (operation, key) => {
      if (operation !== 'putOnce' || !key.endsWith('.zst')) return;
      const record = made.vault('b').objects.get('leases/app/replicate/0000000001.json');
      assert.ok(record);
      made.vault('b').objects.set('leases/app/replicate/0000000002.json', record);
    };
    const done = await run(made);
    assert.equal(done.copies[0]?.error?.code, 'lease-lost');
    assert.deepEqual(made.ids('app', 'b'), []);
  });

  test('I15: what a run that died has copied and not told is made up for in the ledger, once', async () => {
    const made = await world(THERE);
    await made.add(3, {}, 'app', ['a']);
    await made.add(2, {}, 'app', ['a']);
    await run(made);
    for (const key of made.keys('ledger/', 'b')) made.vault('b').objects.delete(key);
    assert.equal((await verifyLedger(made.vault('b'), 'app')).findings.length, 4);
    const died = { ...made.environment.holder, pid: 77 };
    await acquireLease(
      made.vault('b'),
      { source: 'app', job: 'replicate', holder: died },
      made.environment.run.clock,
      () => false,
    );
    made.gone = (pid) => pid === 77;
    assert.equal((await run(made)).exit, 0);
    assert.deepEqual((await verifyLedger(made.vault('b'), 'app')).findings, []);
    const entries = made.keys('ledger/', 'b');
    assert.equal(entries.length, 4);
    await run(made);
    assert.deepEqual(made.keys('ledger/', 'b'), entries);
  });

  test('I15: nor does it vouch for a backup or a proof that only the copy has', async () => {
    const made = await world(THERE);
    await made.add(3, {}, 'app', ['a', 'b']);
    await made.add(2, {}, 'app', ['b']);
    for (const key of made.keys('ledger/', 'b').slice(2)) made.vault('b').objects.delete(key);
    const died = { ...made.environment.holder, pid: 77 };
    await acquireLease(
      made.vault('b'),
      { source: 'app', job: 'replicate', holder: died },
      made.environment.run.clock,
      () => false,
    );
    made.gone = (pid) => pid === 77;
    await run(made);
    assert.equal((await verifyLedger(made.vault('b'), 'app')).findings.length, 2);
  });

  test('I15: a copy whose entry could not be written leaves its lease, and the next run makes up for it', async () => {
    const made = await world(THERE);
    await made.add(2, {}, 'app', ['a']);
    let broken = true;
    made.vault('b').before = (operation, key) => {
      if (broken && operation === 'putOnce' && key.startsWith('ledger/')) throw new VaultUnreachable('no ledger');
    };
    const first = await run(made);
    assert.equal(first.copies[0]?.status, 'failed');
    broken = false;
    // Another process, later: nobody has beaten for the lease since.
    made.now = new Date(made.now.getTime() + 200_000);
    const next = await run(made);
    assert.equal(next.exit, 0, next.error?.message);
    assert.deepEqual((await verifyLedger(made.vault('b'), 'app')).findings, []);
  });

  test('a run that holds the lease of the source copies what it made itself; what is older is copied', async () => {
    const made = await world(THERE);
    const old = await made.add(2, {}, 'app', ['a']);
    const fresh = await made.add(1, {}, 'app', ['a']);
    const clock = {
      ...made.environment.run.clock,
      now: () => new Date(made.now.getTime() - 86_400_000 - 11 * 3_600_000),
    };
    const lease = await acquireLease(
      made.vault('b'),
      { source: 'app', job: 'backup', holder: made.environment.holder },
      clock,
      () => false,
    );
    const done = await run(made);
    assert.deepEqual(
      done.copies.map(({ id, status }) => [id, status]).sort(),
      [
        [old, 'copied'],
        [fresh, 'waiting'],
      ].sort(),
    );
    assert.equal(done.lag[0]?.missing, 1);
    await lease.release();
    assert.deepEqual(statuses(await run(made)), ['copied a→b']);
  });
});
