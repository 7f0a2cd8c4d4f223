import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { describe, test } from 'node:test';
import { statusLines } from '#cli/status';
import { VaultUnreachable } from '#core/errors';
import { pause } from '#jobs/pause';
import { status } from '#jobs/status';
import { WatchedWorld } from '#test/jobs/watched-world';

async function inWorld(
  parts: Parameters<WatchedWorld['open']>[0],
  work: (world: WatchedWorld) => Promise<void>,
): Promise<void> {
  const world = new WatchedWorld('2026-03-01T12:00:00Z');
  try {
    await world.open(parts);
    await work(world);
  } finally {
    await world.close();
  }
}

async function nights(world: WatchedWorld, until: number): Promise<void> {
  for (let number = 2; number <= until; number++) await world.to(`2026-03-0${number}T02:00:30Z`).night();
}

const statusOf = (world: WatchedWorld) => status(['app'], world.environment);

describe('status', () => {
  test('one screen: what is proven, how old and how large it is, what comes next, the vault, the plan’s kpi', async () => {
    await inWorld({ more: ['kpi: { success: 99.9%, recovery: 15m }'] }, async (world) => {
      await nights(world, 5);
      const found = await statusOf(world.to('2026-03-05T12:00:30Z'));
      const [app] = found.sources;
      assert.equal(found.healthy, true);
      assert.equal(app?.newestProven?.snapshotAt, '2026-03-05T02:00:30.000Z');
      assert.equal(app?.ageSeconds, 36_000);
      assert.equal(app?.nextRun, '2026-03-06T02:00:00.000Z');
      assert.ok(app?.bytes && app.medianBytes && Math.abs(app.bytes / app.medianBytes - 1) < 0.05);
      assert.deepEqual([app?.problems, app?.notes, app?.anomalies, app?.paused], [[], [], [], null]);
      assert.ok((found.vaults[0]?.use ?? -1) >= 0);
      const lines = statusLines(found);
      assert.match(lines[1] ?? '', /^ok {2}app +2026-03-05T02:00:30Z .* 2026-03-06T02:00:00Z .* 10h .* 1d 2h /);
      assert.match(lines[2] ?? '', /^vault here: .*% of .* used, .* free$/);
      assert.match(lines[3] ?? '', /^kpi success met: 4 of 4 runs in 30 days \(100%\), want 99\.9%$/);
    });
  });

  test('says in words what is wrong: runs that fail, runs that were missed, anomalies nobody acknowledged', async () => {
    await inWorld({}, async (world) => {
      await nights(world, 5);
      world.fill(10);
      await world.to('2026-03-06T02:00:30Z').night();
      rmSync(world.path('app.db'));
      await world.to('2026-03-07T02:00:30Z').night();
      const found = await statusOf(world.to('2026-03-08T04:00:00Z'));
      const [app] = found.sources;
      assert.equal(found.healthy, false);
      const problems = app?.problems.join('\n') ?? '';
      assert.match(problems, /^newest proven backup is 2d 1h old, older than its RPO 1d 2h$/m);
      assert.match(problems, /^backup failed: /m);
      assert.match(problems, /^a run was missed \(0 2 \* \* \*\)$/m);
      assert.match(problems, /^rows 10 \(median of the last 4: 1,000\): under half$/m);
      assert.equal(app?.anomalies.length, 1);
      assert.match(app?.notes.join('\n') ?? '', /retention keeps what was before/);
    });
  });

  test('I14: a vault that cannot be listed is said to be so; its backups are not gone', async () => {
    await inWorld({ vaults: ['here', 'there'] }, async (world) => {
      await nights(world, 3);
      world.broken.set('here', () => new VaultUnreachable('listing failed: EIO', { hint: 'dmesg' }));
      const found = await statusOf(world);
      assert.equal(found.healthy, false);
      assert.equal(found.sources[0]?.newestProven?.vault, 'there');
      assert.deepEqual(found.sources[0]?.problems, ['vault here is not there: its copies are unknown']);
      assert.deepEqual(
        found.vaults.map(({ name, reachable, problem }) => [name, reachable, problem]),
        [
          ['here', false, 'listing failed: EIO'],
          ['there', true, null],
        ],
      );
      world.broken.set('there', () => new VaultUnreachable('listing failed: EIO', { hint: 'dmesg' }));
      const [blind] = (await statusOf(world)).sources;
      assert.deepEqual([blind?.newestProven, blind?.ageSeconds, blind?.nextRun], [null, null, null]);
      assert.equal(blind?.problems.length, 2, 'no word of "no backup yet"');
    });
  });

  test('a pause is shown with its reason, and does not make an old backup young', async () => {
    await inWorld({}, async (world) => {
      await nights(world, 3);
      await pause('app', 'a move', new Date('2026-03-09T00:00:00Z'), world.environment);
      const [app] = (await statusOf(world.to('2026-03-06T02:00:00Z'))).sources;
      assert.deepEqual(app?.paused?.reason, 'a move');
      assert.match(app?.notes[0] ?? '', /^paused since .*, until 2026-03-09T00:00:00\.000Z: a move$/);
      assert.match(app?.problems.join() ?? '', /older than its RPO/);
      assert.equal(app?.healthy, false);
    });
  });

  test('reads only', async () => {
    await inWorld({}, async (world) => {
      await nights(world, 3);
      rmSync(world.path('app.db'));
      await world.to('2026-03-04T02:00:30Z').night();
      const { vault } = world.environment;
      world.environment = {
        ...world.environment,
        notes: { ...world.environment.notes, write: async () => assert.fail('noted') },
        vault: (name) =>
          new Proxy(vault(name), {
            get(target, property) {
              if (['putOnce', 'putAgain', 'store', 'remove'].includes(String(property)))
                return () => assert.fail(`${String(property)} by status`);
              const value = Reflect.get(target, property, target) as unknown;
              return typeof value === 'function' ? value.bind(target) : value;
            },
          }),
      };
      assert.equal((await statusOf(world)).healthy, false);
      assert.deepEqual(world.messenger.lines(), []);
    });
  });
});
