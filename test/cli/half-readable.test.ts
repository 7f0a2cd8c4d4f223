import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { flipByte, good, notesIn, refused, runsOf, type SmallPlan, smallPlan } from '#test/cli/small-plan';

describe('a vault of which only a part can be read, by the command line', () => {
  let small: SmallPlan;
  const ids: string[] = [];
  before(async () => {
    small = await smallPlan();
    small.plan({
      vaults: '{ here: { disk: ./vault }, there: { disk: ./other } }',
      sources: ['app: { sqlite: { file: app.db }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [here, there] }] }'],
    });
    await good(small.place.run('check', '--create'));
    for (let run = 0; run < 2; run++)
      ids.push(runsOf(await good(small.place.run('backup', 'app', '--json')))[0]?.id as string);
  });
  after(() => small.place.remove());

  const bare = ['--vault', './vault', '--identity', 'holdfast.key'];

  test('I14: without vault.json nothing is written or counted, and a restore without a plan reads what is there', async () => {
    const { place } = small;
    for (const [name, spoil, said] of [
      ['lost', () => rmSync(place.path('vault', 'vault.json')), /no vault\.json in .*; backups are there/],
      [
        'empty',
        () => writeFileSync(place.path('vault', 'vault.json'), ''),
        /vault\.json is not JSON; backups are there/,
      ],
    ] as const) {
      spoil();
      await refused(place, ['restore', 'app', '--to', `no-${name}.db`], name === 'lost' ? 1 : 2, /vault\.json/);
      const ran = await good(place.run('restore', 'app', ...bare, '--to', `${name}.db`));
      assert.match(ran.stderr, said);
      assert.deepEqual(notesIn(place.path(`${name}.db`)), ['one', 'two']);
      const page = await good(place.run('runbook', '--vault', './vault'));
      assert.match(page.stdout, new RegExp(`# Restore small by hand[^]*${ids[1]}[^]*backups are there`));
    }
    const nothing = await refused(place, ['restore', 'app', '--vault', './tree', '--to', 'x.db'], 1, /not a vault/);
    assert.match(nothing.stderr, /hint: name the directory, or the place in the bucket, that holds vault\.json/);
  });

  test('when the newest is damaged, the error names the proven one before it and the other vault', async () => {
    const { place } = small;
    const [older, newer] = ids;
    flipByte(place.path('vault', 'backups', 'app', 'daily', newer as string, 'snapshot.db.zst.age'), 300);
    const alone = await refused(place, ['restore', 'app', ...bare, '--to', 'a.db'], 5, /the stored bytes are not/);
    assert.match(alone.stderr, new RegExp(`^hint: the proven one before it, of \\S+: --id ${older}$`, 'm'));
    await good(place.run('restore', 'app', ...bare, '--to', 'a.db', '--id', older as string));
    rmSync(place.path('vault', 'vault.json'));
    await good(place.run('check', '--create'));
    const planned = await refused(place, ['restore', 'app', '--to', 'b.db'], 5, /the stored bytes are not/);
    assert.match(planned.stderr, new RegExp(`--id ${older}; or another vault's copy: --from there$`, 'm'));
    await good(place.run('restore', 'app', '--to', 'b.db', '--from', 'there'));
  });

  test('list tells how much each backup holds', async () => {
    const ran = await good(small.place.run('list', 'app', '--from', 'there'));
    assert.match(ran.stdout, /^source .* holds +proof/);
    assert.match(ran.stdout, /^app .* 2 rows +proven/m);
    const { backups } = (await good(small.place.run('list', 'app', '--from', 'there', '--json'))).json()
      .result as unknown as { backups: { measures: Record<string, number> }[] };
    assert.equal(backups[0]?.measures['rows:notes'], 2);
  });
});
