import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { Busy, KeyExists, LeaseLost, UsageError, VaultUnreachable } from '#core/errors';
import type { Clock } from '#core/ports';
import { until } from '#test/until';
import { MemoryVault } from '#test/vault/memory-vault';
import { acquireLease, type Holder, type Lease, type LeaseTimes, openLease } from '#vault/lease';

const HOLDER: Holder = { host: 'bastion', pid: 4711, start: '12345', boot: 'b00t', namespace: 'pid:[1]' };
const TIMES: LeaseTimes = { beatEvery: 20, staleAfter: 90_000, watchFor: 60 };
const NOT_GONE = (): boolean => false;

/** The vault's clock, and this machine's; they need not agree. */
class Times {
  vaultNow = Date.parse('2026-11-21T02:00:00Z');
  readonly clock: Clock = {
    now: () => new Date('1999-01-01T00:00:00Z'),
    sleep: (milliseconds) => wait(milliseconds),
  };
  pass(seconds: number): void {
    this.vaultNow += seconds * 1000;
  }
}

describe('lease', () => {
  const held: Lease[] = [];
  afterEach(async () => {
    for (const lease of held.splice(0)) await lease.release();
  });

  function open(): { vault: MemoryVault; times: Times } {
    const times = new Times();
    return { vault: new MemoryVault({ now: () => new Date(times.vaultNow) }), times };
  }

  async function acquire(
    vault: MemoryVault,
    times: Times,
    options: { holder?: Holder; job?: string; isGone?: (holder: Holder) => boolean; times?: Partial<LeaseTimes> } = {},
  ): Promise<Lease> {
    const { holder = HOLDER, job = 'backup', isGone = NOT_GONE } = options;
    const request = { source: 'events', job, holder };
    const lease = await acquireLease(vault, request, times.clock, isGone, { ...TIMES, ...options.times });
    held.push(lease);
    return lease;
  }

  test('a lease that is given up without a word is taken over after its time, and its successor knows', async () => {
    const { vault, times } = open();
    const first = await acquire(vault, times);
    assert.equal(first.takenOver, false);
    const seen = await openLease(vault, { source: 'events', job: 'backup' }, NOT_GONE);
    assert.deepEqual([seen?.number, seen?.alive], [1, true]);
    first.abandon();
    // On a slow machine one has come already, or is on its way.
    await wait(2 * TIMES.beatEvery);
    vault.objects.delete('leases/events/backup/0000000001.beat.json');
    await wait(2 * TIMES.beatEvery);
    assert.ok(!vault.objects.has('leases/events/backup/0000000001.beat.json'), 'no beat any more');
    await assert.rejects(acquire(vault, times), Busy);
    times.pass(91);
    assert.equal((await openLease(vault, { source: 'events', job: 'backup' }, NOT_GONE))?.alive, false);
    const second = await acquire(vault, times);
    assert.equal(second.takenOver, true);
    await second.release();
    assert.equal(await openLease(vault, { source: 'events', job: 'backup' }, NOT_GONE), null);
    assert.equal((await acquire(vault, times)).takenOver, false);
  });

  /** One whose holder was killed: it holds, and beats no more. */
  function orphan(vault: MemoryVault, number: number, change: object = {}): void {
    const name = String(number).padStart(10, '0');
    const record = {
      format: 1,
      source: 'events',
      job: 'backup',
      holder: HOLDER,
      since: '2026-11-21T01:00:00.000Z',
      nonce: 'x',
    };
    vault.objects.set(`leases/events/backup/${name}.json`, {
      bytes: Buffer.from(JSON.stringify({ ...record, ...change })),
      modified: new Date(Date.parse('2026-11-21T02:00:00Z')),
    });
  }

  test('I12: a second run is busy, and is told who holds it', async () => {
    const { vault, times } = open();
    const lease = await acquire(vault, times);
    assert.equal(lease.number, 1);
    await assert.rejects(acquire(vault, times), (error: Error) => {
      assert.ok(error instanceof Busy);
      assert.equal(error.exit, 4);
      assert.match(error.message, /^backup of events in memory is under way: process 4711 on bastion, since 1999-/);
      assert.ok(error.hint);
      return true;
    });
    assert.equal((await acquire(vault, times, { job: 'prove' })).number, 1);
  });

  test('I12: released, the next one has the next number', async () => {
    const { vault, times } = open();
    for (const number of [1, 2, 3]) {
      const lease = await acquire(vault, times);
      assert.equal(lease.number, number);
      await lease.confirm();
      await lease.release();
      await lease.release();
    }
    assert.deepEqual(
      [...vault.objects.keys()].filter((key) => !key.includes('beat')),
      [
        'leases/events/backup/0000000001.json',
        'leases/events/backup/0000000002.json',
        'leases/events/backup/0000000003.json',
      ],
    );
  });

  test('I12: of many at the same moment one gets it', async () => {
    const { vault, times } = open();
    const tries = await Promise.allSettled(Array.from({ length: 20 }, () => acquire(vault, times)));
    assert.equal(tries.filter((one) => one.status === 'fulfilled').length, 1);
    for (const one of tries) if (one.status === 'rejected') assert.ok(one.reason instanceof Busy, String(one.reason));
    assert.equal([...vault.objects.keys()].filter((key) => !key.includes('beat')).length, 1);
  });

  test('I12: of many that take over a dead one, one gets it', async () => {
    const { vault, times } = open();
    orphan(vault, 7);
    times.pass(91);
    const tries = await Promise.allSettled(Array.from({ length: 20 }, () => acquire(vault, times)));
    const got = tries.flatMap((one) => (one.status === 'fulfilled' ? [one.value.number] : []));
    assert.deepEqual(got, [8]);
    for (const one of tries) if (one.status === 'rejected') assert.ok(one.reason instanceof Busy, String(one.reason));
  });

  test("I12: one that has not beaten for 90 s by the vault's clock is taken over, and not sooner", async () => {
    const { vault, times } = open();
    orphan(vault, 1);
    times.pass(89);
    await assert.rejects(acquire(vault, times), Busy);
    times.pass(2);
    assert.equal((await acquire(vault, times)).number, 2);
  });

  test('I12: beats keep it, however long the run is', async () => {
    const { vault, times } = open();
    const lease = await acquire(vault, times);
    times.pass(3600);
    const beat = (): number => vault.objects.get('leases/events/backup/0000000001.beat.json')?.modified.getTime() ?? 0;
    await until(() => beat() === times.vaultNow, 'a beat');
    await assert.rejects(acquire(vault, times), Busy);
    await lease.confirm();
  });

  test('I12: a holder that seems old because a clock jumped ahead is watched, and its beat is seen', async () => {
    const { vault, times } = open();
    const lease = await acquire(vault, times, { times: { beatEvery: 200 } });
    times.pass(3600);
    await assert.rejects(acquire(vault, times, { times: { watchFor: 600 } }), Busy);
    await lease.confirm();
    assert.ok(!lease.lost.aborted);
  });

  test('I12: a clock set back blocks nobody for ever: a beat from the future is believed only when it moves', async () => {
    const { vault, times } = open();
    orphan(vault, 1);
    times.pass(-7200);
    assert.equal((await acquire(vault, times)).number, 2);
    times.pass(-7200);
    await wait(60);
    await assert.rejects(acquire(vault, times), Busy);
  });

  test('I12: a holder of this machine that has ended is succeeded at once', async () => {
    const { vault, times } = open();
    orphan(vault, 1);
    const asked: Holder[] = [];
    const isGone = (holder: Holder): boolean => asked.push(holder) > 0;
    assert.equal((await acquire(vault, times, { isGone })).number, 2);
    assert.deepEqual(asked, [HOLDER]);
  });

  test('I12: who was taken over may not commit, and is told while it works', async () => {
    const { vault, times } = open();
    const lease = await acquire(vault, times);
    orphan(vault, 2);
    await assert.rejects(lease.confirm(), (error: Error) => {
      assert.ok(error instanceof LeaseLost);
      assert.match(error.message, /was taken over: lease 2 exists/);
      return true;
    });
    await until(() => lease.lost.aborted, 'the lost signal');
    assert.ok(lease.lost.reason instanceof LeaseLost);
  });

  test('I12: a lease that somebody removed is lost', async () => {
    const { vault, times } = open();
    const lease = await acquire(vault, times, { times: { beatEvery: 60_000 } });
    vault.objects.clear();
    await assert.rejects(lease.confirm(), /somebody removed it/);
  });

  test('I12: a vault that stays away while the run works is told, one missed beat is not', async () => {
    const { vault, times } = open();
    const lease = await acquire(vault, times, { times: { staleAfter: 1000 } });
    let missed = 0;
    vault.before = (operation) => {
      if (operation !== 'putAgain') return;
      missed += 1;
      throw new VaultUnreachable('503');
    };
    await until(() => missed > 0, 'a missed beat');
    assert.ok(!lease.lost.aborted);
    await until(() => lease.lost.aborted, 'the lost signal');
    assert.match(String(lease.lost.reason), /was not renewed for .* s: 503/);
    vault.before = () => undefined;
  });

  test('I14: a vault that does not answer is neither free nor busy', async () => {
    const { vault, times } = open();
    orphan(vault, 1);
    for (const down of ['lastNumber', 'list', 'get']) {
      vault.before = (operation) => {
        if (operation === down) throw new VaultUnreachable('503');
      };
      await assert.rejects(acquire(vault, times), VaultUnreachable);
    }
  });

  test('a slow beat does not undo the release', async () => {
    const { vault, times } = open();
    const lease = await acquire(vault, times);
    let slow = true;
    vault.before = async (operation) => {
      if (operation === 'putAgain' && slow) {
        slow = false;
        await wait(150);
      }
    };
    await until(() => !slow, 'a beat on its way');
    await lease.release();
    await wait(200);
    assert.equal((await acquire(vault, times)).number, 2);
  });

  test('a put whose answer got lost, and which is repeated, is ours', async () => {
    const { vault, times } = open();
    const putOnce = vault.putOnce.bind(vault);
    vault.putOnce = async (key, body) => {
      await putOnce(key, body);
      throw new KeyExists(key);
    };
    assert.equal((await acquire(vault, times)).number, 1);
  });

  test('a lease that cannot be read holds by its age, and not for ever', async () => {
    for (const damage of [{ holder: { pid: 'rm -rf' } }, { format: 9 }, { extra: 1 }]) {
      const { vault, times } = open();
      orphan(vault, 1, damage);
      await assert.rejects(acquire(vault, times, { isGone: () => true }), /somebody whose lease cannot be read/);
      times.pass(100);
      assert.equal((await acquire(vault, times)).number, 2);
    }
    const { vault, times } = open();
    vault.objects.set('leases/events/backup/0000000001.beat.json', {
      bytes: Buffer.from('{'),
      modified: new Date(times.vaultNow),
    });
    await assert.rejects(acquire(vault, times), Busy);
  });

  test('names that are no part of a key are refused', async () => {
    const { vault, times } = open();
    await assert.rejects(acquire(vault, times, { job: '../x' }), UsageError);
  });
});
