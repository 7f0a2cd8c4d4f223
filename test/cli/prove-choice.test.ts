import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { good, runsOf, SCHEDULE, type SmallPlan, smallPlan } from '#test/cli/small-plan';

interface StatusJson {
  readonly healthy: boolean;
  readonly sources: readonly {
    newestProven: unknown;
    unprovenByChoice: boolean;
    notes: string[];
    problems: string[];
  }[];
}

describe('what the plan says about proofs', () => {
  let small: SmallPlan;
  before(async () => {
    small = await smallPlan();
    await good(small.place.run('check', '--create'));
  });
  after(() => small.place.remove());

  test('I4: with `prove: never` a backup is unproven by choice, healthy, and the word proven is never said of it', async () => {
    const { place } = small;
    small.plan({ sources: [`app: { sqlite: { file: app.db }, prove: never, ${SCHEDULE} }`] });
    const run = await good(place.run('backup', 'app', '--json'));
    assert.equal(runsOf(run)[0]?.proof, 'unproven');
    assert.match(run.json().warnings.join(), /unproven by choice/);
    const status = await good(place.run('status', '--json'));
    const { healthy, sources } = status.json().result as StatusJson;
    assert.equal(healthy, true);
    assert.deepEqual([sources[0]?.newestProven, sources[0]?.unprovenByChoice], [null, true]);
    for (const command of ['status', 'list', 'backup']) {
      const { stdout, stderr } = await place.run(...[command, ...(command === 'backup' ? ['app'] : [])]);
      const text = (stdout + stderr).replace('newest proven', '');
      assert.match(text, /unproven/);
      assert.doesNotMatch(text, /(?<!un)proven/);
    }
  });

  test('I4: with `prove: { cron }` a backup is left unproven, status is unhealthy without an older proof, and `prove` proves it', async () => {
    const { place } = small;
    small.plan({
      sources: [`tree: { files: { paths: [tree] }, prove: { cron: "0 4 * * *" }, ${SCHEDULE} }`],
    });
    const run = await good(place.run('backup', 'tree', '--json'));
    assert.equal(runsOf(run)[0]?.proof, 'unproven');
    const before = (await place.run('status', '--json')).json().result as StatusJson;
    assert.equal(before.sources[0]?.newestProven, null);
    await good(place.run('prove', 'tree'));
    const after = (await good(place.run('status', '--json'))).json().result as StatusJson;
    assert.ok(after.sources[0]?.newestProven);
  });

  test('`onChange` alone skips a run that finds nothing new, and not one that was asked for by name', async () => {
    const { place } = small;
    small.plan({
      tiers: '{ daily: { keep: 30d }, config: { keep: { versions: 5 } } }',
      sources: [
        'tree: { files: { paths: [tree], onChange: true }, schedule: [{ every: 1h, tier: config, to: [here] }] }',
        `app: { sqlite: { file: app.db }, ${SCHEDULE} }`,
      ],
    });
    const statuses = async (...args: string[]): Promise<string[]> =>
      runsOf(await good(place.run('backup', ...args, '--json'))).map((run) => run.status);
    await statuses('tree');
    assert.deepEqual(await statuses('--all'), ['unchanged', 'ok']);
    assert.deepEqual(await statuses('--all'), ['unchanged', 'ok']);
    assert.deepEqual(await statuses('tree', '--point', 'release'), ['ok']);
    small.plan({ sources: [`tree: { files: { paths: [tree] }, ${SCHEDULE} }`] });
    assert.deepEqual(await statuses('tree'), ['ok'], 'without onChange every run stores');
    assert.deepEqual(await statuses('tree'), ['ok']);
  });
});
