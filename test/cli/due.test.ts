import assert from 'node:assert/strict';
import { cpSync, renameSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { Manifest } from '#core/manifest';
import { previousRun } from '#core/schedule';
import { morningZone } from '#test/cli/morning';
import { edit, good, ledgerOf, refused, runsOf, type SmallPlan, smallPlan } from '#test/cli/small-plan';

const SCHEDULES = '{ cron: "0 2 * * *", tier: daily, to: [here] }, { every: 7d, tier: weekly, to: [here] }';

describe('backup --due, pause and resume', () => {
  const timezone = morningZone();
  let small: SmallPlan;
  before(async () => {
    small = await smallPlan();
    small.plan({
      timezone,
      tiers: '{ daily: { keep: 30d }, weekly: { keep: 90d } }',
      sources: [
        `app: { sqlite: { file: app.db }, schedule: [${SCHEDULES}] }`,
        'tree: { files: { paths: [tree], onChange: true }, schedule: [{ every: 1d, tier: daily, to: [here] }] }',
      ],
    });
    await good(small.place.run('check', '--create'));
  });
  after(() => small.place.remove());

  test('I10: right after init nothing is due, and that is well', async () => {
    const ran = await good(small.place.run('backup', '--due'));
    assert.equal(ran.stdout, 'nothing is due\n');
    assert.deepEqual(runsOf(await good(small.place.run('backup', '--due', '--json'))), []);
  });

  test('while a source is paused nothing is due; a backup by hand is made and says so', async () => {
    // As if the vault had been there for a month, and nothing ran in it.
    edit(small.place.path('vault/vault.json'), (text) =>
      text.replace(/"created": "[^"]+"/, `"created": "${new Date(Date.now() - 30 * 86_400_000).toISOString()}"`),
    );
    const paused = await good(small.place.run('pause', 'app', '--reason', 'a move', '--for', '2h'));
    assert.match(paused.stdout, /^app: paused until .+, a move$/m);
    assert.deepEqual(runsOf(await good(small.place.run('backup', '--due', 'app', '--json'))), []);
    const byHand = await good(small.place.run('backup', 'app'));
    assert.match(byHand.stderr, /app is paused: a move \(since .+, until .+\); this run was asked for/);
    const [pause, made] = await ledgerOf(small.place, 'app');
    assert.equal(pause?.event, 'pause');
    assert.equal(pause?.details['reason'], 'a move');
    assert.deepEqual([made?.event, made?.details['trigger'], made?.details['scheduledAt']], ['backup', 'manual', null]);
    assert.equal(typeof made?.details['seconds'], 'number');
    await good(small.place.run('resume', 'app', '--reason', 'moved'));
  });

  test('what is due is made, one catch-up a schedule, in its own name, time and tier; and not again', async () => {
    const ran = await good(small.place.run('backup', '--due', '--json'));
    const runs = runsOf(ran) as unknown as { source: string; id: string; tier: string; status: string }[];
    assert.deepEqual(runs.map(({ source, tier, status }) => `${source} ${tier} ${status}`).sort(), [
      'app daily ok',
      'app weekly ok',
      'tree daily ok',
    ]);
    assert.match(ran.stderr, /^app: due since .+ \(0 2 \* \* \*\)(, catch-up)?$/m);
    const daily = runs.find(({ source, tier }) => source === 'app' && tier === 'daily');
    const scheduledAt = previousRun({ cron: '0 2 * * *' }, timezone, new Date())?.toISOString() ?? '';
    assert.ok(
      daily?.id.startsWith(scheduledAt.slice(0, 19).replaceAll(/[-:]/g, '')),
      `${daily?.id} is of ${scheduledAt}`,
    );
    const manifest = (await good(small.place.run('show', 'app', '--id', daily?.id ?? '', '--json'))).json()
      .result as Manifest;
    const { by, schedule } = manifest.trigger;
    assert.deepEqual({ ...manifest.trigger }, { by, schedule, scheduledAt });
    assert.equal(schedule, '0 2 * * *');
    const told = (await ledgerOf(small.place, 'app')).filter(({ event }) => event === 'backup');
    assert.deepEqual(
      new Set(told.slice(1).map(({ details }) => `${details['trigger']} ${details['schedule']}`)),
      new Set([
        `${by} 0 2 * * *`,
        `${told.find(({ details }) => details['schedule'] === 'every 7d')?.details['trigger']} every 7d`,
      ]),
    );
    assert.equal((await good(small.place.run('backup', '--due'))).stdout, 'nothing is due\n');
  });

  test('a failed run leaves its time and schedule in the ledger, and is not made again at once', async () => {
    small.plan({
      timezone,
      tiers: '{ daily: { keep: 30d } }',
      sources: ['app: { sqlite: { file: app.db }, schedule: [{ every: 12h, tier: daily, to: [here] }] }'],
    });
    renameSync(small.place.path('app.db'), small.place.path('away.db'));
    const failed = await small.place.run('backup', '--due', '--json');
    assert.equal(failed.code, 1, failed.stderr);
    assert.equal(runsOf(failed)[0]?.status, 'failed');
    const last = (await ledgerOf(small.place, 'app')).at(-1);
    assert.equal(last?.event, 'failed');
    assert.equal(last?.details['schedule'], 'every 12h');
    assert.match(String(last?.details['scheduledAt']), /T\d\d:00:00\.000Z$/);
    assert.ok(['schedule', 'catch-up'].includes(String(last?.details['trigger'])));
    assert.deepEqual(runsOf(await good(small.place.run('backup', '--due', '--json'))), []);
    renameSync(small.place.path('away.db'), small.place.path('app.db'));
  });

  test('I14: with no vault there, nobody knows what is due, and that is a failure', async () => {
    renameSync(small.place.path('vault'), small.place.path('unmounted'));
    await refused(small.place, ['backup', '--due', 'app'], 1, /what is due for app is not known: vault here/);
    await refused(small.place, ['pause', 'app', '--reason', 'x'], 1, /vault/);
    cpSync(small.place.path('unmounted'), small.place.path('vault'), { recursive: true });
  });

  test('a wrong command line says what it wants', async () => {
    const { place } = small;
    await refused(place, ['pause', 'app'], 2, /--reason/);
    await refused(place, ['pause', '--reason', 'x'], 2, /name a source, or --all/);
    await refused(place, ['pause', 'app', '--reason', 'x', '--for', '2 days'], 2, /--for: got "2 days"/);
    await refused(place, ['pause', 'app', '--reason', 'x', '--until', '06:00'], 2, /--until: got "06:00"/);
    await refused(place, ['pause', 'app', '--reason', 'x', '--until', '2020-01-01T00:00:00Z'], 2, /is over already/);
    await refused(
      place,
      ['pause', 'app', '--reason', 'x', '--until', '2090-01-01T00:00:00Z', '--for', '1h'],
      2,
      /exclude/,
    );
    await refused(place, ['backup', '--due', '--tier', 'daily'], 2, /--due and --tier/);
    await refused(place, ['resume', 'nothere'], 2, /no source "nothere"/);
  });
});
