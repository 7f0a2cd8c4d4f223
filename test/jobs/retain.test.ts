import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { VaultRefused, VaultUnreachable } from '#core/errors';
import { backupFolder, manifestKey } from '#core/manifest';
import type { ExpiryMarks } from '#core/ports';
import { acknowledge } from '#jobs/acknowledge';
import { hold, holdKey, release } from '#jobs/holds';
import { verifyLedger } from '#jobs/ledger-verify';
import { retainTrouble } from '#jobs/retain';
import { agedManifest, idAt } from '#test/jobs/aged-vault';
import { AgedWorld, actions, keepOf } from '#test/jobs/aged-world';
import type { MemoryVault } from '#test/vault/memory-vault';
import { acquireLease } from '#vault/lease';
import { appendLedger, readLedger } from '#vault/ledger-store';

async function entries(vault: MemoryVault, source = 'app') {
  return (await Array.fromAsync(readLedger(vault, source))).filter(({ event }) => event === 'retained');
}

async function verified(world: AgedWorld, name = 'here', source = 'app'): Promise<void> {
  assert.deepEqual((await verifyLedger(world.vault(name), source)).findings, []);
}

describe('retain', () => {
  test('I5: what is over goes, with its proofs; the ledger has each with its reasons, and verify accepts it', async () => {
    const world = await new AgedWorld().open();
    const old = await world.add(50);
    const bad = await world.add(40, { proof: 'disproven' });
    const kept = [await world.add(20), await world.add(0)];
    const ran = await world.retain();
    assert.deepEqual(world.ids(), kept);
    assert.deepEqual(
      world.keys('proofs/').map((key) => key.split('/')[2]),
      kept,
    );
    assert.deepEqual(
      (await entries(world.vault())).map(({ id, manifest, details }) => [id, manifest !== null, details]),
      [
        [bad, true, { tier: 'daily', how: 'removed', reasons: ['daily, kept 30d until 2026-11-11: over'] }],
        [old, true, { tier: 'daily', how: 'removed', reasons: ['daily, kept 30d until 2026-11-01: over'] }],
      ],
      'newest first',
    );
    assert.deepEqual(ran.stopped, []);
    assert.deepEqual(
      ran.decisions.map(({ done }) => done),
      ['removed', 'removed', null, null],
    );
    await verified(world);
    const again = await world.retain();
    assert.deepEqual(
      again.decisions.map(({ action }) => action),
      ['keep', 'keep'],
    );
    assert.equal((await entries(world.vault())).length, 2, 'nothing is written down twice');
  });

  test('a dry run changes nothing, takes no lease, and tells the same', async () => {
    const world = await new AgedWorld().open();
    const [old, newest] = [await world.add(50), await world.add(0)];
    const before = [...world.vault().objects.keys()];
    const dry = await world.retain({ dryRun: true });
    assert.deepEqual(actions(dry), { [old]: 'remove', [newest]: 'keep' });
    assert.deepEqual([...world.vault().objects.keys()], before);
  });

  test('a day in the future: what would be there then', async () => {
    const world = await new AgedWorld({ tiers: '{ daily: { keep: 30d }, yearly: { keep: forever } }' }).open();
    await world.add(300, { tier: 'yearly', keep: null });
    await world.add(2);
    await world.add(1);
    const { decisions, stopped } = await world.retain({ dryRun: true, at: new Date('2033-01-01T00:00:00Z') });
    assert.deepEqual(
      decisions.map(({ action }) => action),
      ['keep', 'remove', 'keep'],
    );
    assert.deepEqual(decisions.at(-1)?.reasons, ['daily, kept 30d until 2026-12-20: over', 'newest proven']);
    assert.deepEqual(stopped, []);
  });

  test('peers 3C (databasement #26): each source is decided by itself, though a server and a vault are shared', async () => {
    const schedule = 'schedule: [{ cron: "0 2 * * *", tier: daily, to: [here] }]';
    const world = await new AgedWorld({ sources: [`other: { sqlite: { file: other.db }, ${schedule} }`] }).open();
    await world.add(50);
    await world.add(0);
    const only = await world.add(60, {}, 'other');
    await world.retain();
    assert.equal(world.ids().length, 1);
    assert.deepEqual(world.ids('other'), [only]);
  });

  test('I5: a source that left the plan ends as promised, but for its newest proven; not while the plan itself is stale', async () => {
    const world = await new AgedWorld().open();
    await world.add(90, {}, 'gone');
    const newest = await world.add(80, {}, 'gone');
    await world.add(9);
    const stale = await world.retain();
    assert.equal(world.ids('gone').length, 2);
    assert.match(
      stale.stopped.find(({ source }) => source === 'gone')?.reason ?? '',
      /no source of the plan has a proven backup/,
    );
    await world.add(0);
    const { stopped } = await world.retain();
    assert.deepEqual(stopped, []);
    assert.deepEqual(world.ids('gone'), [newest]);
  });

  test('peers 3D (GoBackup #77, #386): a vault that no schedule writes any more keeps to the plan too', async () => {
    const world = await new AgedWorld({ vaults: ['here', 'there'] }).open();
    await world.add(70);
    const last = await world.add(60);
    world.replan({ schedule: '[{ cron: "0 2 * * *", tier: daily, to: [here] }]' });
    await world.add(0, {}, 'app', ['here']);
    const ran = await world.retain();
    assert.deepEqual(world.ids('app', 'there'), [last]);
    assert.equal(world.ids('app', 'here').length, 1);
    assert.deepEqual(ran.stopped, []);
  });

  test('a record that is invalid proves nothing: the newest with a good one is what the others are given up for', async () => {
    const world = await new AgedWorld().open();
    const [older, good, forged] = [await world.add(60), await world.add(40), await world.add(0)];
    const [key] = world.keys(`proofs/app/${forged}/`);
    const { objects } = world.vault();
    const text = objects.get(key as string)?.bytes.toString() ?? '';
    objects.set(key as string, { bytes: Buffer.from(text.replace('"seconds":1', '"seconds":2')), modified: world.now });
    const ran = await world.retain();
    assert.deepEqual(world.ids(), [older, good, forged], 'and with it the source is stale');
    assert.match(ran.warnings.join(), new RegExp(`a proof of ${forged} .* does not count`));
    assert.equal(ran.stopped[0]?.code, 'stale');
  });

  test('a disproof that cannot be read still takes the trust away', async () => {
    const world = await new AgedWorld().open();
    const ids = [await world.add(60), await world.add(40), await world.add(0, { proof: 'disproven' })];
    const [key] = world.keys(`proofs/app/${ids[2]}/`);
    world.vault().objects.set(key as string, { bytes: Buffer.from('rotten'), modified: world.now });
    await world.retain();
    assert.deepEqual(world.ids(), ids);
  });

  test('what is no manifest any more is not counted, not touched, and said', async () => {
    const world = await new AgedWorld().open();
    const [older, odd] = [await world.add(61), await world.add(60)];
    await world.add(0);
    const manifest = agedManifest('app', { at: '2026-09-22T02:00:00Z', tier: 'daily', keep: keepOf('30d') });
    assert.equal(manifest.id, odd);
    world.vault().objects.set(manifestKey(manifest), { bytes: Buffer.from('{}'), modified: world.now });
    const ran = await world.retain();
    assert.match(ran.warnings.join(), /not counted and not touched/);
    assert.deepEqual(world.ids().slice(0, 2), [older, odd], 'the full before it may be its base');
  });

  test('I15: verify tells a proof that vanished without retention, and accepts the proofs that it swept', async () => {
    const world = await new AgedWorld().open();
    await world.add(50);
    const newest = await world.add(0);
    await world.retain();
    await verified(world);
    world.vault().objects.delete(world.keys(`proofs/app/${newest}/`)[0] as string);
    const { findings } = await verifyLedger(world.vault(), 'app');
    assert.match(findings.join(), new RegExp(`proof of ${newest} .*is gone`));
  });
});

describe('I5, I14: where nothing is removed, and somebody is told', () => {
  const removes: {
    readonly name: string;
    readonly source: string | null;
    readonly reason: RegExp;
    act(world: AgedWorld): void;
  }[] = [
    {
      name: 'a vault that is unmounted',
      source: null,
      reason: /not mounted/,
      act: (world) => void world.vault().objects.delete('vault.json'),
    },
    {
      name: 'a vault that does not answer',
      source: null,
      reason: /does not answer/,
      act: (world) => void world.vaults.delete('here'),
    },
    {
      name: 'a listing of backups that fails',
      source: 'app',
      reason: /the listing broke/,
      act: (world) => broken(world, (operation, key) => operation === 'list' && key.startsWith('backups/')),
    },
    {
      name: 'a listing of proofs that fails',
      source: 'app',
      reason: /the listing broke/,
      act: (world) => broken(world, (operation, key) => operation === 'list' && key.startsWith('proofs/')),
    },
    {
      name: 'a listing of holds that fails',
      source: 'app',
      reason: /the listing broke/,
      act: (world) => broken(world, (operation, key) => operation === 'list' && key.startsWith('holds/')),
    },
    {
      name: 'a manifest that cannot be fetched',
      source: 'app',
      reason: /the listing broke/,
      act: (world) => broken(world, (operation, key) => operation === 'get' && key.endsWith('manifest.json')),
    },
    {
      name: 'this machine’s clock a day ahead',
      source: null,
      reason: /clock is 1d ahead of that of vault here/,
      act: (world) => {
        world.now = new Date(world.now.getTime() + 86_400_000);
        world.vaultsAhead = -86_400_000;
      },
    },
    {
      name: 'every clock a year ahead',
      source: 'app',
      reason: /newest proven backup is 365d 10h old/,
      act: (world) => {
        world.now = new Date(world.now.getTime() + 365 * 86_400_000);
      },
    },
    {
      name: 'every clock a week behind',
      source: 'app',
      reason: /a clock is wrong: .* in the future/,
      act: (world) => {
        world.now = new Date(world.now.getTime() - 7 * 86_400_000);
      },
    },
  ];
  for (const { name, source, reason, act } of removes)
    test(`I5: ${name}: nothing is removed, and the outcome tells it`, async () => {
      const world = await new AgedWorld().open();
      for (const days of [60, 50, 40, 1, 0]) await world.add(days);
      const vault = world.vault();
      const before = [...vault.objects.keys()].filter((key) => /^(backups|proofs|ledger)/.test(key));
      act(world);
      const ran = await world.retain();
      const after = [...vault.objects.keys()].filter((key) => /^(backups|proofs|ledger)/.test(key));
      assert.deepEqual(after, before);
      assert.equal(ran.stopped.length, 1);
      assert.equal(ran.stopped[0]?.source, source);
      assert.match(ran.stopped[0]?.reason ?? '', reason);
      const trouble = retainTrouble(ran);
      assert.equal(trouble?.exit, 3);
      assert.match(trouble?.message ?? '', reason);
      assert.ok(trouble?.hint);
    });

  test('I5: an emptied database: what was there before it stays until somebody acknowledges', async () => {
    const world = await new AgedWorld().open();
    for (const days of [60, 50, 45]) await world.add(days, { rows: 5000 });
    const last = await world.add(40, { rows: 5000 });
    const empty = await world.add(31, { rows: 0 });
    await world.add(0, { rows: 0 });
    await world.retain();
    assert.ok(world.ids().includes(last));
    const { decisions } = await world.retain({ dryRun: true });
    assert.match(decisions.find(({ id }) => id === last)?.reasons.join() ?? '', /nobody acknowledged: rows 0/);
    await acknowledge('app', { id: empty, alert: null, reason: 'the table was moved on purpose' }, world.environment);
    await world.retain();
    assert.ok(!world.ids().includes(last));
    await verified(world);
  });

  test('I5: who acknowledged a failed run said nothing about the data that came after it', async () => {
    const world = await new AgedWorld().open();
    const last = await world.add(40, { rows: 5000 });
    const failed = idAt(new Date(world.now.getTime() - 35 * 86_400_000), 'fa11');
    await appendLedger(
      world.vault(),
      'app',
      { event: 'failed', id: failed, manifest: null, host: 'h', details: { code: 'x', message: 'x', left: 'x' } },
      { now: () => new Date(world.now.getTime() - 35 * 86_400_000), sleep: async () => undefined },
    );
    const empty = await world.add(31, { rows: 0 });
    await world.add(0, { rows: 0 });
    await acknowledge('app', { id: failed, alert: null, reason: 'the disk was full' }, world.environment);
    await world.retain();
    assert.ok(world.ids().includes(last));
    await acknowledge('app', { id: empty, alert: null, reason: 'on purpose' }, world.environment);
    await world.retain();
    assert.ok(!world.ids().includes(last));
  });

  test('one vault that is away costs the others nothing, and is told', async () => {
    const world = await new AgedWorld({ vaults: ['away', 'here'] }).open();
    for (const days of [60, 0]) await world.add(days);
    world.vaults.delete('away');
    const ran = await world.retain();
    assert.equal(world.ids('app', 'here').length, 1);
    assert.deepEqual(
      ran.stopped.map(({ vault, source }) => [vault, source]),
      [['away', null]],
    );
    assert.match(ran.warnings.join(), /holds of app that only vault away knows/);
  });

  test('peers 3D (GoBackup, Velero): a vault that refuses to delete is told; nothing is forgotten, the next run does it', async () => {
    const world = await new AgedWorld().open();
    const old = await world.add(60);
    await world.add(0);
    let locked = true;
    world.vault().before = (operation, key) => {
      if (locked && operation === 'remove')
        throw new VaultRefused(`${key} is locked`, { hint: 'give the right to delete' });
    };
    const ran = await world.retain();
    assert.equal(ran.stopped[0]?.code, 'vault-refused');
    assert.ok(world.ids().includes(old));
    locked = false;
    await world.retain();
    assert.ok(!world.ids().includes(old));
    assert.equal((await entries(world.vault())).length, 1);
    await verified(world);
  });

  test('I12: a second run of retention is told who holds the lease', async () => {
    const world = await new AgedWorld().open();
    await world.add(60);
    await world.add(0);
    const lease = await acquireLease(world.vault(), request('retain'), world.environment.run.clock, () => false);
    const ran = await world.retain();
    assert.equal(ran.stopped[0]?.code, 'busy');
    assert.equal(retainTrouble(ran)?.exit, 4);
    assert.equal(world.ids().length, 2);
    await lease.release();
    await world.retain();
    assert.equal(world.ids().length, 1);
  });

  test('I5: a newest proven one that is disproven while it works: nothing more goes', async () => {
    const world = await new AgedWorld().open();
    const ids = [await world.add(70), await world.add(60), await world.add(50)];
    const newest = await world.add(0);
    const vault = world.vault();
    let removed = 0;
    vault.before = (operation, key) => {
      if (operation !== 'remove' || !key.startsWith('proofs/') || ++removed !== 1) return;
      vault.objects.set(`proofs/app/${newest}/20261121T110000Z-0000-disproven.json`, {
        bytes: Buffer.from('x'),
        modified: world.now,
      });
    };
    const ran = await world.retain();
    assert.deepEqual(world.ids(), [ids[0], ids[1], newest], 'the first of them was gone by then');
    assert.match(ran.stopped[0]?.reason ?? '', /is not what it was a minute ago/);
    assert.deepEqual(
      ran.decisions.filter(({ done }) => done).map(({ id }) => id),
      [ids[2]],
    );
  });
});

describe('holds', () => {
  test('a held backup stays, in every vault, until it is released', async () => {
    const world = await new AgedWorld({ vaults: ['here', 'there'] }).open();
    const [full, held] = [await world.add(60), await world.add(50, { kind: 'differential', base: idOf(60, world) })];
    await world.add(0);
    const { vaults } = await hold('app', held, 'audit of s3cr3t', world.environment);
    assert.deepEqual(vaults, ['here', 'there']);
    const ran = await world.retain();
    assert.deepEqual(actions(ran)[held], 'hold');
    assert.match(ran.decisions.find(({ id }) => id === held)?.reasons[0] ?? '', /^held: audit of \*\*\*$/);
    for (const name of vaults)
      assert.ok(
        [full, held].every((id) => world.ids('app', name).includes(id)),
        name,
      );
    await release('app', held, 'audit is over', world.environment);
    await world.retain();
    for (const name of vaults) assert.equal(world.ids('app', name).length, 1);
    for (const name of vaults) await verified(world, name);
    await hold('app', world.ids()[0] as string, 'again', world.environment);
  });

  test('a hold that only one vault knows counts in all', async () => {
    const world = await new AgedWorld({ vaults: ['here', 'there'] }).open();
    const held = await world.add(60);
    await world.add(0);
    const there = world.vault('there');
    world.vaults.delete('there');
    const { warnings } = await hold('app', held, 'audit', world.environment);
    assert.match(warnings.join(), /not written everywhere: vault there does not answer/);
    world.vaults.set('there', there);
    await world.retain();
    assert.ok(world.ids('app', 'there').includes(held));
  });

  test('a hold after a release is a hold again', async () => {
    const world = await new AgedWorld().open();
    const held = await world.add(60);
    await world.add(0);
    await hold('app', held, 'one', world.environment);
    world.now = new Date(world.now.getTime() + 1000);
    await release('app', held, null, world.environment);
    world.now = new Date(world.now.getTime() + 1000);
    await hold('app', held, 'two', world.environment);
    await world.retain();
    assert.ok(world.ids().includes(held));
  });

  test('one that is placed while retention works is seen', async () => {
    const world = await new AgedWorld().open();
    const [late] = [await world.add(60), await world.add(50)];
    await world.add(0);
    const vault = world.vault();
    vault.before = (operation) => {
      if (operation === 'remove')
        vault.objects.set(holdKey('app', late), { bytes: Buffer.from('{}'), modified: world.now });
    };
    await world.retain();
    assert.ok(world.ids().includes(late));
    assert.equal(world.ids().length, 2);
  });

  test('ids are checked to exist, and reasons of holds that cannot be read hold too', async () => {
    const world = await new AgedWorld().open();
    const held = await world.add(60);
    await world.add(0);
    await assert.rejects(hold('app', 'nonsense', 'x', world.environment), /is no backup id/);
    await assert.rejects(
      hold('app', '20200101T000000Z-0000', 'x', world.environment),
      /no backup 20200101T000000Z-0000/,
    );
    await assert.rejects(release('app', '20200101T000000Z-0000', null, world.environment), /no backup/);
    const { warnings } = await release('app', held, null, world.environment);
    assert.deepEqual(warnings, [`app ${held} was not held`]);
    const other = new AgedWorld();
    await other.open();
    const rotten = await other.add(60);
    await other.add(0);
    other.vault().objects.set(holdKey('app', rotten), { bytes: Buffer.from('rotten'), modified: other.now });
    await other.retain();
    assert.ok(other.ids().includes(rotten));
  });
});

describe('I13: what failed runs left', () => {
  const leftover = (world: AgedWorld, daysAgo: number, suffix = 'dead'): string => {
    const at = new Date(world.now.getTime() - daysAgo * 86_400_000);
    const id = idAt(at, suffix);
    const folder = backupFolder({ source: 'app', tier: 'daily', id });
    world.vault().objects.set(`${folder}/snapshot.db.zst`, { bytes: Buffer.from('half'), modified: at });
    return id;
  };
  const failed = (world: AgedWorld, id: string) =>
    appendLedger(
      world.vault(),
      'app',
      {
        event: 'failed',
        id,
        manifest: null,
        host: 'h',
        details: { code: 'x', message: 'x', left: `backups/app/daily/${id}` },
      },
      world.environment.run.clock,
    );

  test('I13: it stays until its tier’s days are over, and then goes with a word in the ledger', async () => {
    const world = await new AgedWorld().open();
    const [over, young] = [leftover(world, 31), leftover(world, 29)];
    await world.add(0);
    const { cleared } = await world.retain();
    assert.deepEqual(
      cleared.map(({ id, how, reason }) => [id, how, reason]),
      [[over, 'swept', 'left by a run that failed 31d ago; daily is kept 30d']],
    );
    assert.equal(world.keys(`backups/app/daily/${over}`).length, 0);
    assert.equal(world.keys(`backups/app/daily/${young}`).length, 1);
    assert.deepEqual(
      (await entries(world.vault())).map(({ id, details }) => [id, details['how']]),
      [[over, 'swept']],
    );
    await verified(world);
  });

  test('I13: or until somebody acknowledged the failed run', async () => {
    const world = await new AgedWorld({ tiers: '{ daily: { keep: forever } }' }).open();
    const [looked, unlooked] = [leftover(world, 3), leftover(world, 400, 'beef')];
    await failed(world, unlooked);
    await failed(world, looked);
    await world.add(0, { keep: keepOf('forever') });
    assert.deepEqual((await world.retain()).cleared, []);
    await acknowledge('app', { id: looked, alert: null, reason: 'the disk was full' }, world.environment);
    await assert.rejects(
      acknowledge('app', { id: '20200101T000000Z-0000', alert: null, reason: 'x' }, world.environment),
      /no backup 20200101T000000Z-0000/,
    );
    const { cleared } = await world.retain();
    assert.deepEqual(
      cleared.map(({ id }) => id),
      [looked],
    );
    assert.deepEqual(world.keys(`backups/app/daily/${unlooked}`).length, 1);
  });

  for (const job of ['backup', 'replicate'])
    test(`peers 3C (pgBackRest #2622): what a running ${job} has stored so far is never taken for a leftover`, async () => {
      const world = await new AgedWorld().open();
      const old = await world.add(60);
      await world.add(0);
      const running = leftover(world, 31);
      const lease = await acquireLease(world.vault(), request(job), world.environment.run.clock, () => false);
      const ran = await world.retain();
      assert.deepEqual(ran.cleared, []);
      assert.ok(!world.ids().includes(old), 'whole backups that are over go all the same');
      assert.equal(world.keys(`backups/app/daily/${running}`).length, 1);
      assert.match(world.logged.join(), /stay for now: .* is under way/);
      await lease.confirm();
      await lease.release();
      assert.equal((await world.retain()).cleared.length, 1);
    });

  test('a run that only slept finds its lease taken, and commits nothing over what was swept', async () => {
    const world = await new AgedWorld().open();
    await world.add(0);
    leftover(world, 31);
    const lease = await acquireLease(world.vault(), request('backup'), world.environment.run.clock, () => false);
    world.gone = (pid) => pid === 1;
    assert.equal((await world.retain()).cleared.length, 1);
    await assert.rejects(lease.confirm(), /taken over/);
  });

  test('one that was committed after all was looked at is none', async () => {
    const world = await new AgedWorld().open();
    await world.add(0);
    const at = new Date(world.now.getTime() - 31 * 86_400_000);
    const id = leftover(world, 31, '0000');
    const vault = world.vault();
    vault.before = (operation, key) => {
      if (operation !== 'putOnce' || !key.startsWith('leases/app/retain') || key.includes('beat')) return;
      vault.before = (next, prefix) => {
        if (next !== 'list' || !prefix.startsWith('ledger/')) return;
        const manifest = agedManifest('app', { at, tier: 'daily', keep: keepOf('30d') });
        assert.equal(manifest.id, id);
        vault.objects.set(manifestKey(manifest), { bytes: Buffer.from(JSON.stringify(manifest)), modified: world.now });
      };
    };
    const { cleared } = await world.retain();
    assert.deepEqual(cleared, []);
    assert.ok(world.ids().includes(id));
  });

  test('nothing is swept while the source is stale', async () => {
    const world = await new AgedWorld().open();
    await world.add(9);
    const id = leftover(world, 31);
    await world.retain();
    assert.equal(world.keys(`backups/app/daily/${id}`).length, 1);
  });
});

describe('a run that was killed', () => {
  test('at each single step: no chain is broken, the newest proven stays, the next run finishes the work', async () => {
    const steps = await stepsOf(Number.POSITIVE_INFINITY);
    assert.ok(steps.world.ids().length === 3 && steps.count > 15, `${steps.count} steps`);
    for (let step = 1; step <= steps.count; step++) {
      const { world } = await stepsOf(step);
      const vault = world.vault();
      const listed = new Set(world.ids());
      for (const id of listed) {
        const base = bases.get(id);
        if (base !== undefined) assert.ok(listed.has(base), `step ${step}: ${id} without its full`);
        assert.equal(world.keys(`backups/app/daily/${id}/`).length, 2, `step ${step}: half of ${id}`);
      }
      assert.ok(listed.has(idOf(0, world)), `step ${step}: the newest proven`);
      vault.before = () => undefined;
      world.gone = () => true;
      await world.retain();
      assert.deepEqual(world.ids(), steps.world.ids(), `step ${step}`);
      const rest = (one: AgedWorld) => one.keys('').filter((key) => /^(backups|proofs)/.test(key));
      assert.deepEqual(rest(world), rest(steps.world), `step ${step}: nothing half there`);
      const given = (await entries(vault)).map(({ id }) => id);
      assert.deepEqual(given.toSorted(), [...new Set(given)].toSorted(), `step ${step}: each written down once`);
      await verified(world);
    }
  });

  /** By id: the full of each differential. */
  const bases = new Map<string, string>();

  /** A history with chains, and retention that dies at one of its writes. */
  async function stepsOf(dieAt: number): Promise<{ world: AgedWorld; count: number }> {
    const world = await new AgedWorld().open();
    const full = await world.add(60);
    for (const days of [59, 58]) bases.set(await world.add(days, { kind: 'differential', base: full }), full);
    await world.add(57, { proof: 'disproven' });
    const kept = await world.add(40);
    bases.set(await world.add(20, { kind: 'differential', base: kept }), kept);
    await world.add(0);
    let count = 0;
    world.vault().before = (operation) => {
      if (!['putOnce', 'putAgain', 'remove'].includes(operation)) return;
      if (++count >= dieAt) throw new VaultUnreachable('killed');
    };
    await world.retain().catch((error: unknown) => assert.match(String(error), /killed/));
    return { world, count };
  }

  test('what vanished without a word of retention is left alone', async () => {
    const world = await new AgedWorld().open();
    const id = await world.add(20);
    await world.add(0);
    world.vault().objects.delete(`backups/app/daily/${id}/manifest.json`);
    assert.deepEqual((await world.retain()).cleared, []);
    assert.equal(world.keys(`backups/app/daily/${id}`).length, 1);
    assert.equal(world.keys(`proofs/app/${id}`).length, 1);
  });
});

describe('where the store itself removes what is marked', () => {
  class Marks implements ExpiryMarks {
    readonly marked = new Set<string>();
    /** Prefixes with a rule. */
    readonly rules: string[];
    constructor(rules: string[]) {
      this.rules = rules;
    }
    async covers(prefix: string): Promise<boolean> {
      return this.rules.includes(prefix);
    }
    async mark(keys: readonly string[]): Promise<void> {
      for (const key of keys) this.marked.add(key);
    }
  }

  async function marking(rules = ['backups/app/daily/']): Promise<{ world: AgedWorld; marks: Marks }> {
    const world = await new AgedWorld().open();
    const marks = new Marks(rules);
    Object.assign(world.vault(), { expiryMarks: marks });
    world.vault().before = (operation, key) => {
      if (operation === 'remove') throw new VaultRefused(`nobody may remove ${key}`);
    };
    return { world, marks };
  }

  test('peers 3C (WAL-G #1869), 3D (Velero): retention only marks, whole backups, and none that another needs', async () => {
    const { world, marks } = await marking();
    const full = await world.add(60);
    await world.add(20, { kind: 'differential', base: full });
    const over = await world.add(50);
    await world.add(0);
    const ran = await world.retain();
    assert.deepEqual([...marks.marked].sort(), world.keys(`backups/app/daily/${over}/`));
    assert.deepEqual(ran.stopped, []);
    assert.deepEqual(
      ran.decisions.filter(({ done }) => done).map(({ id, done }) => [id, done]),
      [[over, 'marked']],
    );
    assert.deepEqual(
      (await entries(world.vault())).map(({ details }) => details['how']),
      ['marked'],
    );
  });

  test('what was given up lately is read out of the ledger once a night, not once more to act on it', async () => {
    const { world } = await marking();
    await world.add(50);
    await world.add(0);
    const reads: string[] = [];
    world.vault().before = (operation, key) => void (operation === 'list' && reads.push(key));
    const ran = await world.retain();
    assert.deepEqual(
      ran.decisions.map(({ done }) => done),
      ['marked', null],
    );
    // What happened to the source, and what was given up of it.
    assert.equal(reads.filter((key) => key === 'ledger/app/').length, 2);
  });

  test('until the store has done it, each run marks again and says nothing twice; nothing counts on what is marked', async () => {
    const { world, marks } = await marking();
    const over = await world.add(50);
    await world.add(0);
    await world.retain();
    marks.marked.clear();
    const ran = await world.retain();
    assert.equal(marks.marked.size, 2, 'a run that was killed between two marks is made up for');
    assert.equal((await entries(world.vault())).length, 1);
    assert.deepEqual(ran.decisions.find(({ id }) => id === over)?.reasons, ['marked before; the store removes it']);
    await hold('app', over, 'too late', world.environment);
    assert.match((await world.retain()).warnings.join(), /held after it was marked/);
    for (const key of world.keys(`backups/app/daily/${over}/`)) world.vault().objects.delete(key);
    await world.retain();
    await verified(world);
  });

  test('a rule that may not be looked at stops it: nobody knows whether marks would be acted on', async () => {
    const { world, marks } = await marking();
    await world.add(50);
    await world.add(0);
    marks.covers = async () => {
      throw new VaultRefused('s3:GetLifecycleConfiguration is not allowed');
    };
    const ran = await world.retain();
    assert.equal(ran.stopped[0]?.code, 'vault-refused');
    assert.equal(marks.marked.size, 0);
  });

  test('tiers without a rule are removed by retention itself', async () => {
    const world = await new AgedWorld().open();
    Object.assign(world.vault(), { expiryMarks: new Marks(['backups/app/monthly/']) });
    await world.add(50);
    await world.add(0);
    await world.retain();
    assert.equal(world.ids().length, 1);
  });
});

describe('ack', () => {
  const alert = (key: string, kind: string) => ({
    key,
    kind,
    severity: 'high',
    title: 't',
    since: '2026-11-20T00:00:00Z',
    toldAt: '2026-11-20T00:00:00Z',
    told: 1,
    escalated: false,
    acknowledged: false,
  });
  const open = (world: AgedWorld, key: string, kind: string, chain = 'app') =>
    appendLedger(
      world.vault(),
      chain,
      { event: 'alert-opened', id: null, manifest: null, host: 'h', details: alert(key, kind) },
      world.environment.run.clock,
    );
  const acks = async (world: AgedWorld, chain = 'app') =>
    (await Array.fromAsync(readLedger(world.vault(), chain))).flatMap(({ event, id, details }) =>
      event === 'ack' ? [[id, details['key']]] : [],
    );

  test('by id it speaks to the alerts about it, by an anomaly’s alert to its backup', async () => {
    const world = await new AgedWorld().open();
    const id = await world.add(0);
    await open(world, `anomaly/${id}`, 'anomaly');
    await open(world, 'age', 'age');
    await acknowledge('app', { id, alert: null, reason: 'moved' }, world.environment);
    await acknowledge('app', { id: null, alert: `anomaly/${id}`, reason: 'moved' }, world.environment);
    await acknowledge('app', { id: null, alert: 'age', reason: 'known' }, world.environment);
    assert.deepEqual(await acks(world), [
      [id, `anomaly/${id}`],
      [id, `anomaly/${id}`],
      [null, 'age'],
    ]);
  });

  test('alerts of vaults and of the plan lie in the chain _plan', async () => {
    const world = await new AgedWorld().open();
    await open(world, 'storage/here', 'storage', '_plan');
    await acknowledge('_plan', { id: null, alert: 'storage/here', reason: 'a disk is on its way' }, world.environment);
    assert.deepEqual(await acks(world, '_plan'), [[null, 'storage/here']]);
    await assert.rejects(
      acknowledge('_plan', { id: idAt(world.now), alert: null, reason: 'x' }, world.environment),
      /not of _plan/,
    );
  });

  test('what is not open, or nothing at all, is refused with what is', async () => {
    const world = await new AgedWorld().open();
    await open(world, 'age', 'age');
    const ask = (id: string | null, alert: string | null) =>
      acknowledge('app', { id, alert, reason: 'x' }, world.environment);
    await assert.rejects(ask(null, 'proof'), (error: { message: string; hint: string; exit: number }) => {
      assert.match(error.message, /no alert "proof" of app is open/);
      assert.equal(error.hint, 'open alerts: age');
      return error.exit === 2;
    });
    await assert.rejects(ask(null, null), /--id ID, or --alert KEY/);
  });
});

function broken(world: AgedWorld, which: (operation: string, key: string) => boolean): void {
  world.vault().before = (operation, key) => {
    if (which(operation, key)) throw new VaultUnreachable('the listing broke', { hint: 'try again' });
  };
}

function request(job: string) {
  return { source: 'app', job, holder: { host: 'other', pid: 1, start: '1', boot: 'b', namespace: 'n' } };
}

function idOf(daysAgo: number, world: AgedWorld): string {
  const day = new Date(world.now.getTime() - daysAgo * 86_400_000).toISOString().slice(0, 10);
  return idAt(`${day}T02:00:00Z`);
}
