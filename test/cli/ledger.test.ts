import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { good, refused, SCHEDULE, type SmallPlan, smallPlan } from '#test/cli/small-plan';

describe('ledger, where a source is named as a word of the command', () => {
  let small: SmallPlan;
  before(async () => {
    small = await smallPlan();
    small.plan({ sources: ['verify', 'tree'].map((name) => `${name}: { files: { paths: [tree] }, ${SCHEDULE} }`) });
    await good(small.place.run('check', '--create'));
    await good(small.place.run('backup', 'verify'));
  });
  after(() => small.place.remove());

  const ledger = async (...args: string[]) => {
    const ran = await good(small.place.run('ledger', ...args, '--json'));
    return { ...(ran.json().result as object), warnings: ran.json().warnings } as {
      readonly entries?: readonly { readonly event: string; readonly source: string }[];
      readonly reports?: readonly { readonly source: string }[];
      readonly warnings: readonly string[];
    };
  };

  test('--source shows its entries; the word still is the command, and says how else', async () => {
    const { entries } = await ledger('--source', 'verify');
    assert.deepEqual(
      entries?.map(({ source, event }) => `${source} ${event}`),
      ['verify backup', 'verify proof'],
    );
    const all = await ledger('verify');
    assert.deepEqual(
      all.reports?.map(({ source }) => source),
      ['verify', 'tree'],
    );
    assert.match(all.warnings.join(), /holdfast ledger --source verify/);
    const one = await ledger('verify', 'verify');
    assert.deepEqual([one.reports?.map(({ source }) => source), one.warnings], [['verify'], []]);
  });

  test('two sources, or none, are exit 2', async () => {
    for (const args of [['--source', 'verify', 'tree'], ['tree', 'verify'], []])
      await refused(small.place, ['ledger', ...args], 2, /want a source or --source|shows one source|name a source/);
  });
});
