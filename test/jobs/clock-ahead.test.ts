import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { acknowledge } from '#jobs/acknowledge';
import { newestBackup } from '#jobs/catalog';
import { chooseBackup } from '#jobs/choose-backup';
import { retain } from '#jobs/retain';
import { WatchedWorld } from '#test/jobs/watched-world';

const day = (number: number, time = '02:00:30'): string => `2026-03-${String(number).padStart(2, '0')}T${time}Z`;
const NEWEST = { source: 'app', id: null, at: null, point: null, unproven: false, only: [], overwrite: false };
const YEARS_AHEAD = Date.parse('2038-01-19T00:00:00Z') - Date.parse('2026-03-04T00:00:00Z');

describe('a machine whose clock was in 2038 for one night', () => {
  test('I4, I5: what that night stamped is not taken for the newest, and everything goes on without it', async () => {
    const world = new WatchedWorld(day(1, '12:00:00'));
    try {
      await world.open();
      const vault = () => world.environment.vault('here');
      const newest = async () => {
        const now = world.environment.run.clock.now();
        const { manifest, warnings } = await chooseBackup(NEWEST, vault(), now);
        assert.equal((await newestBackup(vault(), 'app', now))?.id, manifest.id);
        return { id: manifest.id, warnings };
      };
      for (const number of [2, 3]) await world.to(day(number)).night();
      await world.watch();
      world.messenger.lines();
      // The whole machine, its disk's files included.
      world.to(new Date(Date.parse(day(4)) + YEARS_AHEAD).toISOString());
      const jumped = (await world.night()).id as string;
      assert.match(jumped, /^2038/);
      await world.watch();
      world.to(day(4, '09:00:00'));
      assert.equal((await newest()).id, jumped, 'nothing was made after it: it is the newest there is');
      await world.watch();
      world.messenger.lines();

      world.fill(1500);
      const good = await world.to(day(5)).night();
      const chosen = await newest();
      assert.equal(chosen.id, good.id);
      assert.ok(chosen.warnings.some((text) => text.startsWith(`passed over: ${jumped}, stamped 2038`)));
      const page = readFileSync(world.path('here', 'RUNBOOK.md'), 'utf8');
      assert.ok(page.includes(good.id as string) && !page.includes(`| app | sqlite | ${jumped}`));
      const heard = await world.told();
      assert.ok(
        heard.includes(`opened medium app ahead/${jumped}`) && heard.includes('closed high app clock'),
        `${heard}`,
      );

      // It hides neither a failure, nor an old age, nor an anomaly.
      writeFileSync(world.path('app.db'), 'no database');
      await world.to(day(6)).night();
      assert.ok((await world.told()).includes('opened high app failed'));
      assert.ok((await world.to(day(6, '20:00:00')).told()).includes('opened high app age'));
      world.fill(0);
      const emptied = await world.night();
      assert.equal(emptied.proof, 'proven');
      assert.ok((await world.told()).some((line) => line.startsWith(`opened medium app anomaly/${emptied.id}`)));

      const retained = () => retain({ sources: [], vault: null, dryRun: true, at: null }, world.environment);
      assert.deepEqual(
        (await retained()).stopped.map(({ code }) => code),
        ['clock'],
      );
      await acknowledge('app', { id: jumped, alert: null, reason: 'the clock was wrong' }, world.environment);
      assert.deepEqual((await retained()).stopped, []);
      assert.ok((await world.told()).includes(`closed medium app ahead/${jumped}`));
    } finally {
      await world.close();
    }
  });
});
