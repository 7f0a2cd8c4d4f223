import assert from 'node:assert/strict';
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { PLAN_CHAIN } from '#core/alert';
import { Disproven, NotProvableHere, VaultUnreachable } from '#core/errors';
import { verifyChain } from '#core/ledger';
import { collect } from '#jobs/catalog';
import { runDueBackups } from '#jobs/due-backups';
import { pause, resume } from '#jobs/pause';
import { WatchedWorld } from '#test/jobs/watched-world';
import { appendLedger, readLedger } from '#vault/ledger-store';

async function inWorld(
  now: string,
  parts: Parameters<WatchedWorld['open']>[0],
  work: (world: WatchedWorld) => Promise<void>,
): Promise<void> {
  const world = new WatchedWorld(now);
  try {
    await world.open(parts);
    await work(world);
  } finally {
    await world.close();
  }
}

const day = (number: number, time = '02:00:30'): string => `2026-03-${String(number).padStart(2, '0')}T${time}Z`;

/** Good nights from the 2nd on. */
async function nights(world: WatchedWorld, until: number): Promise<void> {
  for (let number = 2; number <= until; number++) {
    const run = await world.to(day(number)).night();
    assert.equal(run.proof, 'proven', run.error?.message);
  }
}

describe('watch tells each change of state once', () => {
  test('I10: nothing rings before the first due run, and everything does after it', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      assert.deepEqual(await world.told(), []);
      assert.equal(world.messenger.heartbeats, 1);
      assert.deepEqual(await world.to(day(2, '02:10:00')).told(), [], 'it may be under way');
      assert.deepEqual(await world.to(day(2, '03:10:00')).told(), [
        'opened high app age',
        'opened high app missed/0 2 * * *',
      ]);
      assert.deepEqual(await world.to(day(2, '03:15:00')).told(), []);
      await world.to(day(2, '04:00:00')).night();
      assert.deepEqual(await world.told(), ['closed high app age', 'closed high app missed/0 2 * * *']);
      assert.deepEqual(await world.told(), []);
    });
  });

  test('I10: a source and a schedule that come into the plan later ring no earlier than their own first run', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 3);
      assert.deepEqual(await world.to(day(3, '12:00:00')).told(), []);
      writeFileSync(world.path('one.txt'), 'one');
      await world.open({
        schedule: '[{ cron: "0 2 * * *", tier: daily, to: [here] }, { cron: "0 4 * * *", tier: weekly, to: [here] }]',
        more: ['  tree: { files: { paths: [one.txt] }, schedule: [{ cron: "0 5 * * *", tier: daily, to: [here] }] }'],
      });
      assert.deepEqual(await world.to(day(3, '12:05:00')).told(), []);
      world.to(day(4));
      await runDueBackups('app', world.environment);
      assert.deepEqual(await world.to(day(4, '04:30:00')).told(), []);
      assert.deepEqual(await world.to(day(4, '06:30:00')).told(), [
        'opened high app missed/0 4 * * *',
        'opened high tree age',
        'opened high tree missed/0 5 * * *',
      ]);
    });
  });

  test('a run that fails: told once, escalated at the third, over at the next good one', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 3);
      rmSync(world.path('app.db'));
      assert.equal((await world.to(day(4)).night()).status, 'failed');
      await world.to(day(4, '02:05:00')).watch();
      const [telling] = world.messenger.heard;
      assert.match(telling?.title ?? '', /^app: backup failed: /);
      assert.match(telling?.happened ?? '', /source-unreachable/);
      assert.match(
        telling?.safe.join('\n') ?? '',
        /newest proven backup 20260303T020000Z-\w+, of 2026-03-03 02:00 UTC, in vault here\nholdfast restore app --id 2026/,
      );
      assert.ok(telling?.ledgerHead && telling.ledgerHead.source === 'app');
      assert.deepEqual(world.messenger.lines(), ['opened high app failed']);
      await world.to(day(4, '02:20:00')).night();
      assert.deepEqual(await world.told(), []);
      await world.to(day(4, '02:55:00')).night();
      assert.deepEqual(await world.told(), ['escalated critical app failed']);
      world.fill(1000);
      await world.to(day(4, '04:00:00')).night();
      const watched = await world.watch();
      assert.equal(watched.healthy, true);
      const closed = world.messenger.heard[0];
      assert.deepEqual(closed?.also, ['high']);
      assert.deepEqual(world.messenger.lines(), ['closed critical app failed']);
    });
  });

  test('a proof that fails, and one that cannot be made here', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 3);
      world.unprovable = () => new NotProvableHere('extension postgis is missing', { hint: 'apt install it' });
      await world.to(day(4)).night();
      await world.watch();
      assert.match(world.messenger.heard[0]?.title ?? '', /cannot be proven here: extension postgis is missing/);
      assert.deepEqual(world.messenger.lines(), ['opened high app proof']);
      world.unprovable = () => new Disproven('table notes: 1000 rows, restored 999');
      await world.to(day(5)).night();
      await world.watch();
      assert.match(world.messenger.heard[1]?.title ?? '', /is disproven: table notes: 1000 rows, restored 999/);
      assert.match(world.messenger.heard[1]?.happened ?? '', /None of the 2 backups since/);
      assert.deepEqual(world.messenger.lines(), ['opened high app age', 'escalated critical app proof']);
      world.unprovable = null;
      await world.to(day(6)).night();
      assert.deepEqual(await world.told(), ['closed high app age', 'closed critical app proof']);
    });
  });

  test('I5, Done-when 3: an emptied database restores perfectly, and somebody is told, until they acknowledge', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 5);
      assert.deepEqual(await world.told(), []);
      world.fill(0);
      const run = await world.to(day(6)).night();
      assert.equal(run.proof, 'proven');
      await world.watch();
      assert.match(
        world.messenger.heard[0]?.title ?? '',
        /^app: rows 0 \(median of the last 4: 1,000\): nothing is left/,
      );
      assert.match(world.messenger.heard[0]?.next.join('\n') ?? '', new RegExp(`holdfast ack app --id ${run.id}`));
      assert.deepEqual(world.messenger.lines(), [`opened medium app anomaly/${run.id}`]);
      await world.to(day(7)).night();
      const watched = await world.watch();
      assert.deepEqual(world.messenger.lines(), [`repeated medium app anomaly/${run.id}`], 'it goes on like that');
      assert.equal(watched.healthy, false);
      await appendLedger(
        world.environment.vault('here'),
        'app',
        { event: 'ack', id: run.id, manifest: null, host: 'bastion', details: { reason: 'a purge', key: null } },
        world.environment.run.clock,
      );
      assert.deepEqual(await world.told(), [`closed medium app anomaly/${run.id}`]);
      assert.equal((await world.watch()).healthy, true);
    });
  });

  test('what nobody was told of is found again, whatever came meanwhile', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 5);
      await world.watch();
      world.fill(0);
      const run = await world.to(day(6)).night();
      world.messenger.deaf = true;
      const deaf = await world.watch();
      assert.equal(deaf.changes[0]?.told, false);
      assert.equal(deaf.open[0]?.told, 0);
      assert.equal(deaf.heartbeat, null, 'a watcher that nobody hears must not look alive');
      world.messenger.deaf = false;
      assert.deepEqual(await world.to(day(6, '03:00:00')).told(), [`opened medium app anomaly/${run.id}`]);
      assert.deepEqual(await world.told(), []);
    });
  });
});

describe('Done-when 3: nothing is taken for well that could not be looked at', () => {
  test('I14: a vault that is unmounted is told once, and closes nothing', async () => {
    await inWorld(day(1, '12:00:00'), { vaults: ['here', 'there'] }, async (world) => {
      await nights(world, 3);
      rmSync(world.path('app.db'));
      await world.to(day(4)).night();
      assert.deepEqual(await world.told(), ['opened high app failed']);
      world.unmount('here');
      await world.watch();
      assert.match(world.messenger.heard[0]?.title ?? '', /^vault here cannot be used: .*not mounted/);
      assert.match(world.messenger.heard[0]?.safe.join('\n') ?? '', /in vault there/);
      // The failure is written in the vault that is away; that there is no word of it is no good word.
      assert.deepEqual(world.messenger.lines(), ['opened medium - vault/here']);
      assert.deepEqual(await world.to(day(4, '02:10:00')).told(), []);
      world.mount('here');
      assert.deepEqual(await world.told(), ['closed medium - vault/here']);
    });
  });

  test('I14: the only vault unmounted: told once though no ledger can be written, and over when it is back', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 3);
      world.unmount('here');
      assert.deepEqual(await world.told(), ['opened medium - vault/here']);
      for (const minute of ['05', '10', '15']) {
        await world.reopen();
        assert.deepEqual(await world.to(day(3, `02:${minute}:00`)).told(), []);
      }
      assert.deepEqual(await world.to(day(4, '03:00:00')).told(), ['repeated medium - vault/here']);
      world.mount('here');
      assert.deepEqual(await world.told(), ['closed medium - vault/here', 'opened high app missed/0 2 * * *']);
      assert.equal(existsSync(world.path('state')), true);
    });
  });

  test('I14: a listing that fails is a vault that cannot be used, not one without backups', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 4);
      world.broken.set('here', () => new VaultUnreachable('listing backups/app/ failed: EIO', { hint: 'dmesg' }));
      const watched = await world.watch();
      assert.deepEqual(world.messenger.lines(), ['opened medium - vault/here']);
      assert.match(watched.open[0]?.title ?? '', /listing backups\/app\/ failed/);
      world.broken.clear();
      assert.deepEqual(await world.told(), ['closed medium - vault/here']);
    });
  });

  test('a clock a day ahead', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 4);
      world.ahead = 86_400_000;
      const watched = await world.watch();
      const clock = watched.open.find(({ key }) => key === 'clock');
      assert.equal(clock?.title, "this machine's clock is 1d ahead of that of vault here");
      assert.ok(world.messenger.lines().includes('opened high - clock'));
      world.ahead = 0;
      assert.ok((await world.told()).includes('closed high - clock'));
    });
  });

  test('a backup from the future', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      world.ahead = 86_400_000;
      await world.to(day(2)).byHand();
      world.ahead = 0;
      assert.ok((await world.told()).includes('opened high app clock'));
    });
  });

  test('a copy that is missing in the second vault', async () => {
    await inWorld(day(1, '12:00:00'), { vaults: ['here', 'there'] }, async (world) => {
      await nights(world, 3);
      world.unmount('there');
      await world.to(day(4)).night();
      world.mount('there');
      assert.deepEqual(await world.told(), [], 'a run, or replicate, may be at it');
      await world.to(day(4, '04:00:00')).watch();
      assert.match(world.messenger.heard[0]?.title ?? '', /^app: a backup is missing in there, for 1h 59m/);
      assert.deepEqual(world.messenger.lines(), ['opened medium app copies/here/there']);
    });
  });
});

describe('what a vault and its bytes come to', () => {
  test('a vault over its line, and one without room for two more', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 2);
      const { vault } = world.environment;
      let free = 100e9;
      world.environment = {
        ...world.environment,
        vault: (name) =>
          new Proxy(vault(name), {
            get(target, property) {
              if (property === 'free') return async () => free;
              if (property === 'total') return async () => 400e9;
              const value = Reflect.get(target, property, target) as unknown;
              return typeof value === 'function' ? value.bind(target) : value;
            },
          }),
      };
      assert.deepEqual(await world.told(), []);
      free = 60e9;
      assert.deepEqual(await world.told(), ['opened medium - storage/here']);
      free = 100;
      assert.deepEqual(await world.told(), ['opened high - space/here']);
      free = 200e9;
      assert.deepEqual(await world.told(), ['closed high - space/here', 'closed medium - storage/here']);
    });
  });

  test('a manifest that was edited is told, and does not count', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 4);
      const id = readdirSync(world.path('here/backups/app/daily')).sort().at(-1) as string;
      const file = world.path('here/backups/app/daily', id, 'manifest.json');
      const text = readFileSync(file, 'utf8');
      rmSync(file);
      writeFileSync(file, text.replace('"tier": "daily"', '"tier": "dayly"'));
      const watched = await world.watch();
      assert.deepEqual(world.messenger.lines(), [`opened critical app record/${id}`]);
      assert.match(watched.open[0]?.title ?? '', /does not match its own hash/);
    });
  });
});

describe('the ledger remembers what was told', () => {
  test('a watcher killed between telling and writing tells twice rather than never', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 3);
      rmSync(world.path('app.db'));
      await world.to(day(4)).night();
      const heard = world.messenger.tell.bind(world.messenger);
      world.messenger.tell = async (telling) => {
        await heard(telling);
        throw new Error('killed');
      };
      await assert.rejects(world.watch(), /killed/);
      world.messenger.tell = heard;
      await world.reopen();
      await world.watch();
      assert.deepEqual(world.messenger.lines(), ['opened high app failed', 'opened high app failed']);
      assert.deepEqual(await world.told(), []);
    });
  });

  test('on another machine too: nothing of this one is needed', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 3);
      rmSync(world.path('app.db'));
      await world.to(day(4)).night();
      assert.deepEqual(await world.told(), ['opened high app failed']);
      rmSync(world.path('state'), { recursive: true });
      await world.reopen();
      assert.deepEqual(await world.told(), []);
    });
  });

  test('I15: a message carries the head of the ledger, and a ledger that was cut afterwards is found out by it', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 3);
      rmSync(world.path('app.db'));
      await world.to(day(4)).night();
      await world.watch();
      const head = world.messenger.heard[0]?.ledgerHead ?? null;
      assert.ok(head);
      const entries = await collect(readLedger(world.environment.vault('here'), 'app'));
      assert.deepEqual(verifyChain(entries, { source: 'app', head }), []);
      assert.match(verifyChain(entries.slice(0, head.seq - 1), { source: 'app', head }).join(), /the tail is cut off/);
    });
  });

  test('a quiet watch writes nothing, and does not read the whole ledger again', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 3);
      await world.watch();
      await world.watch();
      const ledger = () => readdirSync(world.path('here', 'ledger'), { recursive: true }).length;
      const before = ledger();
      const reads: string[] = [];
      const { vault } = world.environment;
      world.environment = {
        ...world.environment,
        vault: (name) => {
          const real = vault(name);
          return new Proxy(real, {
            get(target, property) {
              const value = Reflect.get(target, property, target) as unknown;
              if (property === 'get' && typeof value === 'function')
                return (key: string) => {
                  if (key.startsWith('ledger/')) reads.push(key);
                  return value.call(target, key) as unknown;
                };
              if (property === 'putAgain' || property === 'putOnce')
                return () => assert.fail(`${property} in a quiet watch`);
              return typeof value === 'function' ? value.bind(target) : value;
            },
          });
        },
      };
      await world.watch();
      assert.equal(ledger(), before);
      assert.ok(reads.length <= 2, reads.join());
    });
  });

  test('what concerns the plan as a whole is in its own chain', async () => {
    await inWorld(day(1, '12:00:00'), { vaults: ['here', 'there'] }, async (world) => {
      world.unmount('there');
      await world.watch();
      const entries = await collect(readLedger(world.environment.vault('here'), PLAN_CHAIN));
      assert.deepEqual(
        entries.map(({ event, details }) => [event, details['key']]),
        [['alert-opened', 'vault/there']],
      );
    });
  });

  test('where even the notes cannot be written it tells each time, and says why', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 2);
      world.unmount('here');
      rmSync(world.path('state'), { recursive: true, force: true });
      writeFileSync(world.path('state'), 'not a directory');
      chmodSync(world.path('state'), 0o400);
      const watched = await world.watch();
      assert.match(watched.warnings.join('\n'), /cannot note in .*; the watcher will have forgotten/);
      assert.deepEqual(world.messenger.lines(), ['opened medium - vault/here']);
      assert.deepEqual(await world.told(), ['opened medium - vault/here']);
    });
  });
});

describe('a pause', () => {
  test('keeps runs and age quiet until its end, not what has failed before', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 3);
      await pause('app', 'a move', new Date(day(7, '12:00:00')), world.environment);
      for (const number of [4, 5, 6, 7]) assert.deepEqual(await world.to(day(number, '04:00:00')).told(), []);
      assert.deepEqual(await world.to(day(7, '12:05:00')).told(), [], 'it is being caught up');
      assert.deepEqual(await world.to(day(7, '13:05:00')).told(), [
        'opened high app age',
        'opened high app missed/0 2 * * *',
      ]);
    });
  });

  test('without an end is remembered after a week', async () => {
    await inWorld(day(1, '12:00:00'), {}, async (world) => {
      await nights(world, 2);
      await pause('app', 'a move', null, world.environment);
      assert.deepEqual(await world.to(day(8)).told(), []);
      assert.deepEqual(await world.to(day(10)).told(), ['opened medium app paused']);
      await resume('app', null, world.environment);
      assert.deepEqual(await world.to(day(10, '02:05:00')).told(), ['closed medium app paused']);
    });
  });
});
