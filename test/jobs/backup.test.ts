import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { backup } from '#jobs/backup';
import { BY_HAND } from '#jobs/backup-run';
import { listBackups, newestBackup } from '#jobs/catalog';
import { makeDatabase } from '#test/cli/small-plan';
import { FastTime } from '#test/jobs/fast-time';
import { Serving } from '#test/jobs/serving';

const NOON = new Date('2026-11-21T12:00:00Z');
const request = { source: 'app', tier: null, point: null, reason: null, trigger: BY_HAND };

describe('backups made by hand in one second', () => {
  // The clock stands still.
  const here = new Serving(new FastTime(NOON, NOON));

  before(async () => {
    makeDatabase(here.path('app.db'), ['one']);
    here.write(
      'holdfast.yaml',
      `version: 1
name: small
encryption: none
vaults: { here: { disk: ./vault } }
tiers: { daily: { keep: 7d } }
sources:
  app: { sqlite: { file: app.db }, prove: never, schedule: [{ every: 1d, tier: daily, to: [here] }] }
`,
    );
    await here.open();
  });
  after(() => here.close());

  test('have ids in the order in which they were made, so that the newest is the last one', async () => {
    const environment = here.environment();
    const made: (string | null)[] = [];
    for (let count = 0; count < 6; count++) made.push((await backup(request, environment)).id);
    const vault = environment.vault('here');
    assert.deepEqual(
      (await listBackups(vault, 'app')).backups.map(({ manifest }) => manifest.id),
      made,
    );
    assert.equal((await newestBackup(vault, 'app', NOON))?.id, made.at(-1));
  });
});
