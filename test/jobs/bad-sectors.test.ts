import assert from 'node:assert/strict';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { manifestKey } from '#core/manifest';
import type { Vault } from '#core/ports';
import { chooseBackup } from '#jobs/choose-backup';
import { listed } from '#jobs/list';
import { retain } from '#jobs/retain';
import { WatchedWorld } from '#test/jobs/watched-world';
import { diskError } from '#vault/disk-errors';

const day = (number: number, time = '02:00:30'): string => `2026-03-${String(number).padStart(2, '0')}T${time}Z`;
const NEWEST = { source: 'app', id: null, at: null, point: null, unproven: false, only: [], overwrite: false };

/** The disk answers so for these keys of one vault, and goes on to give all others. */
function spoil(world: WatchedWorld, name: string, keys: ReadonlySet<string>): void {
  const { vault } = world.environment;
  const opened = (asked: string): Vault => {
    const real = vault(asked);
    if (asked !== name) return real;
    const get = async (key: string): Promise<Uint8Array> => {
      if (!keys.has(key)) return real.get(key);
      throw diskError(
        Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', errno: -5 }),
        'read',
        key,
        real.url,
      );
    };
    return new Proxy(real, {
      get(target, property) {
        if (property === 'get') return get;
        const value = Reflect.get(target, property, target) as unknown;
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  };
  world.environment = { ...world.environment, vault: opened };
}

async function inWorld(vaults: string[], work: (world: WatchedWorld) => Promise<void>): Promise<void> {
  const world = new WatchedWorld(day(1, '12:00:00'));
  try {
    await work(await world.open({ vaults }));
  } finally {
    await world.close();
  }
}

describe('a disk that cannot read all of its places any more', () => {
  test('I14: a bad sector below one manifest, or one proof, costs that backup and not the restore of the others', async () => {
    await inWorld(['here'], async (world) => {
      const ids: string[] = [];
      for (const number of [2, 3, 4]) ids.push((await world.to(day(number)).night()).id as string);
      const [first, second, third] = ids as [string, string, string];
      const bad = new Set<string>();
      spoil(world, 'here', bad);
      const vault = world.environment.vault('here');
      const choose = () => chooseBackup(NEWEST, vault, world.environment.run.clock.now());

      bad.add(manifestKey({ source: 'app', tier: 'daily', id: first }));
      const good = await choose();
      assert.equal(good.manifest.id, third);
      assert.match(
        good.warnings.join('\n'),
        new RegExp(`${first} in here is not counted: .*EIO.*the disk may be failing`),
      );
      const list = await listed({ sources: [], since: null, from: null }, world.environment);
      assert.deepEqual([list.error, list.backups.map(({ id }) => id)], [null, [second, third]]);
      assert.ok((await world.told()).includes(`opened critical app record/${first}`));
      const { decisions, stopped } = await retain(
        { sources: [], vault: null, dryRun: true, at: null },
        world.environment,
      );
      assert.deepEqual([decisions.map(({ action }) => action), stopped], [['keep', 'keep'], []]);

      const [proof] = readdirSync(world.path('here', 'proofs', 'app', third));
      bad.add(`proofs/app/${third}/${proof}`);
      const older = await choose();
      assert.equal(older.manifest.id, second);
      assert.match(older.warnings.join('\n'), new RegExp(`newer, but said to be proven, .* ${third}`));
    });
  });

  test('a bad sector below the newest ledger entry of the first vault does not cost the other its backup', async () => {
    await inWorld(['here', 'there'], async (world) => {
      await world.to(day(2)).night();
      const last = readdirSync(world.path('here', 'ledger', 'app'))
        .sort()
        .at(-1);
      spoil(world, 'here', new Set([`ledger/app/${last}`]));
      const run = await world.to(day(3)).night();
      assert.deepEqual([run.status, run.vaults, run.proof], ['ok', ['here', 'there'], 'proven']);
      assert.deepEqual(await world.to(day(3, '03:00:00')).told(), []);
    });
  });

  test('a restore says when the ledger tells of a newer backup whose manifest is gone', async () => {
    await inWorld(['here'], async (world) => {
      const before = await world.to(day(2)).night();
      const { id } = await world.to(day(3)).night();
      rmSync(world.path('here', 'backups', 'app', 'daily', id as string, 'manifest.json'));
      const vault = world.environment.vault('here');
      const now = world.environment.run.clock.now();
      const chosen = await chooseBackup(NEWEST, vault, now);
      assert.equal(chosen.manifest.id, before.id);
      assert.match(
        chosen.warnings.join('\n'),
        new RegExp(`^newer, and gone: the ledger tells of ${id} \\(entry \\d+\\)`),
      );
      const earlier = await chooseBackup({ ...NEWEST, at: new Date(day(2, '12:00:00')) }, vault, now);
      assert.deepEqual(earlier.warnings, []);
    });
  });

  test('I14: a ledger entry that cannot be read may have told of a newer backup: a restore says so', async () => {
    await inWorld(['here'], async (world) => {
      const { id } = await world.to(day(2)).night();
      const [first] = readdirSync(world.path('here', 'ledger', 'app')).sort();
      spoil(world, 'here', new Set([`ledger/app/${first}`]));
      const { manifest, warnings } = await chooseBackup(
        NEWEST,
        world.environment.vault('here'),
        world.environment.run.clock.now(),
      );
      assert.equal(manifest.id, id);
      assert.match(warnings.join('\n'), /^it may have told of a newer backup: .*EIO/);
    });
  });
});

test('copies that are not the same are told of once, and not once for each way', async () => {
  await inWorld(['here', 'there'], async (world) => {
    const { id } = await world.to(day(2)).night();
    writeFileSync(world.path('there', 'backups', 'app', 'daily', id as string, 'more'), 'x');
    assert.deepEqual(await world.told(), ['opened medium app differ/here/there']);
  });
});

describe('a vault that was put back to an earlier state', () => {
  test('the run made again takes no id that another vault holds', async () => {
    await inWorld(['here', 'there'], async (world) => {
      await world.to(day(2)).night();
      const [lease] = readdirSync(world.path('here', 'leases', 'app', 'backup')).filter(
        (name) => !name.includes('beat'),
      );
      assert.equal(lease, '0000000001.json');
      // As it was before its first run.
      for (const folder of ['backups', 'ledger', 'leases', 'proofs'])
        rmSync(world.path('here', folder), { recursive: true, force: true });
      const again = await world.to(day(2, '09:00:00')).night();
      assert.deepEqual([again.status, again.vaults], ['ok', ['here', 'there']], again.error?.message);
      assert.match(again.id as string, /^20260302T020001Z/);
    });
  });
});
