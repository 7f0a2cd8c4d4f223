import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { edit, good, newest, refused, runsOf, SCHEDULE, type SmallPlan, smallPlan } from '#test/cli/small-plan';

const BOTH = 'schedule: [{ cron: "0 2 * * *", tier: daily, to: [here, there] }]';

interface Printed {
  readonly path: string | null;
  readonly text: string;
  readonly sources: readonly {
    readonly source: string;
    readonly id: string | null;
    readonly vault: string | null;
    readonly proven: boolean;
  }[];
}

describe('holdfast runbook', () => {
  let small: SmallPlan;
  const page = (vault: string): string => readFileSync(small.place.path(vault, 'RUNBOOK.md'), 'utf8');
  /** Without the line that says when and where it was written. */
  const body = (text: string): string => text.replace(/^Written by Holdfast .*$/m, '');
  const printed = async (...more: string[]): Promise<Printed> =>
    (await good(small.place.run('runbook', '--json', ...more))).json().result as Printed;

  before(async () => {
    small = await smallPlan();
    small.plan({
      vaults: '{ here: { disk: ./vault }, there: { disk: ./there } }',
      sources: [`app: { sqlite: { file: app.db }, ${BOTH} }`, `tree: { files: { paths: [tree] }, ${SCHEDULE} }`],
    });
    await good(small.place.run('check', '--create'));
    await good(small.place.run('backup', '--all'));
  });
  after(() => small.place.remove());

  test('each vault has a page after a proven backup, which tells its own copies first', async () => {
    const [app, tree] = [await newest(small.place, 'app'), await newest(small.place, 'tree')];
    for (const vault of ['vault', 'there']) {
      assert.ok(page(vault).includes(`backups/app/daily/${app.id}/`));
      assert.ok(page(vault).includes(`backups/tree/daily/${tree.id}/`), 'also what lies in another vault');
    }
    const root = small.place.directory;
    assert.ok(page('vault').includes(`export VAULT=${root}/vault\n`));
    assert.ok(page('there').includes(`export VAULT_THERE=${root}/there\n`));
    assert.ok(page('there').includes(`export VAULT_HERE=${root}/vault\n`));
  });

  test('prints the page of a vault, or of all; scripts get its text and what is on it', async () => {
    const from = await printed('--from', 'there');
    assert.equal(body(from.text), body(page('there')));
    const all = await printed();
    assert.deepEqual(
      all.sources.map(({ source, vault, proven }) => [source, vault, proven]),
      [
        ['app', 'here', true],
        ['tree', 'here', true],
      ],
    );
    assert.equal(all.path, null);
    const plain = await good(small.place.run('runbook'));
    assert.equal(body(plain.stdout), body(all.text));
  });

  test('--out writes a file, and never over one that is there', async () => {
    const out = await printed('--out', 'page.md');
    assert.equal(out.path, small.place.path('page.md'));
    assert.equal(readFileSync(small.place.path('page.md'), 'utf8'), out.text);
    await refused(small.place, ['runbook', '--out', 'page.md'], 2, /is there already/);
    await refused(small.place, ['runbook', '--out', 'no/such/page.md'], 2, /could not write/);
  });

  test('the worst day: without a plan, the vault tells the same', async () => {
    const ran = await small.place.run('runbook', '--vault', './vault', '--plan', './nothing.yaml', '--json');
    assert.equal(ran.code, 0, ran.stderr);
    const { text, sources } = ran.json().result as Printed;
    const ids = [(await newest(small.place, 'app')).id, (await newest(small.place, 'tree')).id];
    assert.deepEqual(
      sources.map(({ id }) => id),
      ids,
    );
    assert.match(text, /written without a plan/);
    assert.match(text, /the key file is `holdfast\.key`/, 'as the plan that the vault keeps says');
    assert.match(text, /Public keys in the plan .*`age1/);
  });

  test('wrong input is refused with a hint', async () => {
    await refused(small.place, ['runbook', '--from', 'nowhere'], 2, /no vault "nowhere"/);
    await refused(small.place, ['runbook', '--vault', './vault', '--from', 'here'], 2, /exclude each other/);
    await refused(small.place, ['runbook', '--vault', './tree'], 1, /not mounted, or not a vault/);
  });

  test('I14: a vault that is away is named on the page and by exit code 3, not taken for empty', async () => {
    renameSync(small.place.path('vault'), small.place.path('away'));
    try {
      const ran = await small.place.run('runbook', '--json');
      assert.equal(ran.code, 3, ran.stderr);
      const { text, sources } = ran.json().result as Printed;
      assert.deepEqual(
        sources.map(({ source, vault }) => [source, vault]),
        [
          ['app', 'there'],
          ['tree', null],
        ],
      );
      assert.match(text, /vault `here` .* could not be read when this was written/);
      assert.match(text, /\*\*tree has no proven backup\.\*\*/);
      assert.equal(ran.json().warnings.length, 2);
    } finally {
      renameSync(small.place.path('away'), small.place.path('vault'));
    }
  });

  test('a page that cannot be written is a warning, never a failed backup', async () => {
    const file = small.place.path('there', 'RUNBOOK.md');
    rmSync(file);
    mkdirSync(file);
    try {
      const ran = await good(small.place.run('backup', 'app', '--json'));
      const [run] = runsOf(ran);
      assert.deepEqual([run?.status, run?.proof], ['ok', 'proven']);
      assert.match(ran.json().warnings.join('\n'), /RUNBOOK\.md in vault there is not up to date/);
      assert.ok(page('vault').includes(run?.id ?? 'none'), 'the other vault has the new page');
    } finally {
      rmSync(file, { recursive: true });
    }
    await good(small.place.run('prove', 'app'));
    assert.equal(page('there').includes((await newest(small.place, 'app')).id), true, 'prove writes it too');
  });

  test('I4: a newer backup that is not proven, or whose proof was edited, is named and not restored from', async () => {
    const proven = await newest(small.place, 'app');
    small.plan({
      vaults: '{ here: { disk: ./vault }, there: { disk: ./there } }',
      sources: [`app: { sqlite: { file: app.db }, prove: { cron: "0 5 * * *" }, ${SCHEDULE} }`],
    });
    const [run] = runsOf(await good(small.place.run('backup', 'app', '--json')));
    const first = await printed('--from', 'here');
    assert.equal(first.sources[0]?.id, proven.id);
    assert.match(first.text, new RegExp(`app: ${run?.id} is newer, but unproven`));
    assert.match(first.text, /4\.2 tree \(files\)/, 'a source that left the plan is still on the page');
    await good(small.place.run('prove', 'app'));
    assert.equal((await printed('--from', 'here')).sources[0]?.id, run?.id);
    const record = small.place.path('vault', 'proofs', 'app', run?.id ?? '');
    const [name = ''] = readdirSync(record);
    edit(`${record}/${name}`, (text) => text.replace(/"seconds": [\d.]+/, '"seconds": 1'));
    const after = await printed('--from', 'here');
    assert.equal(after.sources[0]?.id, proven.id);
    assert.match(after.text, /was edited or moved after it was written/);
  });

  test('a plan without a proven backup has a page that says so, with exit code 3', async () => {
    const fresh = await smallPlan();
    try {
      await good(fresh.place.run('check', '--create'));
      const ran = await fresh.place.run('runbook', '--json');
      assert.equal(ran.code, 3);
      assert.match((ran.json().result as Printed).text, /There is nothing to restore from/);
    } finally {
      fresh.place.remove();
    }
  });
});
