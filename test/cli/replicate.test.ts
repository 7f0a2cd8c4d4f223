import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { Ran } from '#test/cli/holdfast';
import {
  edit,
  filesBelow,
  flipByte,
  good,
  ledgerOf,
  newest,
  refused,
  type SmallPlan,
  smallPlan,
} from '#test/cli/small-plan';

interface Copied {
  readonly copies: readonly {
    readonly source: string;
    readonly id: string;
    readonly from: string;
    readonly to: string;
    readonly bytes: number;
    readonly seconds: number;
    readonly status: string;
    readonly error: { readonly code: string; readonly message: string } | null;
  }[];
  readonly lag: readonly {
    readonly from: string;
    readonly to: string;
    readonly seconds: number | null;
    readonly missing: number | null;
  }[];
  readonly differences: readonly string[];
  readonly proofs: number;
}

const told = (ran: Ran): Copied => ran.json().result as Copied;
const TWO = '{ here: { disk: ./vault, replica: { vault: there, lag: 5m } }, there: { disk: ./other, site: attic } }';

describe('holdfast replicate', () => {
  let small: SmallPlan;
  const run = (...args: string[]): Promise<Ran> => small.place.run(...args);
  before(async () => {
    small = await smallPlan();
  });
  after(() => small?.place.remove());

  function stored(vault: string): string[] {
    const root = small.place.path(vault);
    return filesBelow(root)
      .map(({ file }) => file.slice(root.length + 1))
      .filter((file) => /^(backups|proofs|plans)\//.test(file))
      .sort();
  }

  test('a vault with a replica is copied whole: artifacts, manifest, proof and plan, once', async () => {
    small.plan({ vaults: TWO });
    await good(run('check', '--create'));
    await good(run('backup', '--all'));
    const { id } = await newest(small.place, 'app');

    const dry = told(await good(run('replicate', '--dry-run', '--json')));
    assert.deepEqual(
      dry.copies.map(({ source, from, to, status }) => [source, from, to, status]),
      [
        ['app', 'here', 'there', 'due'],
        ['tree', 'here', 'there', 'due'],
      ],
    );
    assert.deepEqual(stored('other'), [], 'a dry run copies nothing');

    const done = await good(run('replicate', '--json'));
    const { copies, lag, differences, proofs } = told(done);
    assert.deepEqual(
      copies.map(({ status, error }) => [status, error]),
      [
        ['copied', null],
        ['copied', null],
      ],
    );
    assert.equal(copies.find(({ source }) => source === 'app')?.id, id);
    assert.ok(copies.every(({ bytes, seconds }) => bytes > 0 && seconds >= 0));
    assert.deepEqual(
      lag.map(({ from, to, seconds, missing }) => [from, to, seconds, missing]),
      [
        ['here', 'there', 0, 0],
        ['here', 'there', 0, 0],
      ],
    );
    assert.deepEqual(differences, []);
    assert.equal(proofs, 2);
    assert.deepEqual(stored('other'), stored('vault'));
    const there = filesBelow(small.place.path('other')).filter(({ file }) => /manifest\.json$|proofs/.test(file));
    const here = new Set(filesBelow(small.place.path('vault')).map(({ text }) => text));
    assert.ok(there.length === 4 && there.every(({ text }) => here.has(text)), 'byte for byte');

    await good(run('prove', 'app', '--from', 'there'));
    await good(run('restore', 'tree', '--from', 'there', '--to', './back'));
    const verified = await good(run('ledger', 'verify', '--json'));
    assert.doesNotMatch(verified.stdout, /"findings":\["/);

    const again = await good(run('replicate'));
    assert.match(again.stdout, /^nothing is missing$/m);
  });

  test('what a schedule names and one vault missed is made up for, in both directions', async () => {
    const both = { vaults: '{ here: { disk: ./vault }, there: { disk: ./other } }' };
    const to = (vaults: string): string =>
      `app: { sqlite: { file: app.db }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [${vaults}] }] }`;
    small.plan({ ...both, sources: [to('here, there')] });
    renameSync(small.place.path('other'), small.place.path('away'));
    const partly = await run('backup', 'app', '--json');
    assert.equal(partly.code, 3);
    const missed = await run('replicate', '--json');
    assert.equal(missed.code, 1, 'nothing could be done');
    assert.equal(missed.json().error?.code, 'vault-missing');
    assert.ok(
      told(missed).lag.every(({ seconds, missing }) => seconds === null && missing === null),
      'I14: away is not empty',
    );
    renameSync(small.place.path('away'), small.place.path('other'));

    renameSync(small.place.path('vault'), small.place.path('away'));
    assert.equal((await run('backup', 'app')).code, 3);
    renameSync(small.place.path('away'), small.place.path('vault'));

    const { copies } = told(await good(run('replicate', 'app', '--json')));
    assert.deepEqual(copies.map(({ from, to: target }) => `${from} ${target}`).sort(), ['here there', 'there here']);
    assert.deepEqual(
      readdirSync(small.place.path('vault/backups/app/daily')),
      readdirSync(small.place.path('other/backups/app/daily')),
    );
    const entries = await ledgerOf(small.place, 'app');
    assert.deepEqual(entries.filter(({ event }) => event === 'copied-from').at(-1)?.details['vault'], 'there');
  });

  test('a byte that rotted in the source is not passed on: nothing of it is stored, and it is told', async () => {
    small.plan({ vaults: TWO });
    await good(run('backup', 'tree'));
    const { id, artifacts } = await newest(small.place, 'tree');
    const volume = artifacts[0]?.volumes[0];
    const folder = `backups/tree/daily/${id}`;
    flipByte(small.place.path('vault', folder, volume?.name as string), 60);
    const ran = await run('replicate', 'tree', '--json');
    assert.equal(ran.code, 1);
    const [copy] = told(ran).copies;
    assert.equal(copy?.status, 'failed');
    assert.equal(copy?.error?.code, 'disproven');
    assert.match(copy?.error?.message ?? '', /in here is not what its manifest says/);
    assert.deepEqual(
      stored('other').filter((file) => file.startsWith(folder)),
      [],
    );
    // Its own proof says so too, and from then on it is nothing to copy.
    assert.equal((await run('prove', 'tree', '--id', id, '--stored')).code, 5);
    assert.match((await good(run('replicate', 'tree'))).stdout, /^nothing is missing$/m);
    assert.ok(!stored('other').some((file) => file.startsWith(`proofs/tree/${id}`)), 'a disproof stays where it is');
  });

  test('I3: what a killed copy left is kept when it is whole, and never overwritten when it is something else', async () => {
    await good(run('backup', 'app'));
    const { id, artifacts } = await newest(small.place, 'app');
    const name = artifacts[0]?.volumes[0]?.name as string;
    const folder = `backups/app/daily/${id}`;
    small.place.write('stray', 'x');
    mkdirSync(small.place.path('other', folder), { recursive: true });
    copyFileSync(small.place.path('stray'), small.place.path('other', folder, name));
    const refused = await run('replicate', 'app', '--json');
    assert.equal(refused.code, 1);
    assert.equal(told(refused).copies[0]?.error?.code, 'stored-bytes-differ');
    assert.ok(!stored('other').includes(`${folder}/manifest.json`));

    rmSync(small.place.path('other', folder, name));
    copyFileSync(small.place.path('vault', folder, name), small.place.path('other', folder, name));
    chmodSync(small.place.path('other', folder, name), 0o400);
    await good(run('replicate', 'app'));
    await good(run('prove', 'app', '--id', id, '--from', 'there', '--stored'));
  });

  test('--from and --to together copy all of one vault into another that no schedule names', async () => {
    small.plan({ vaults: '{ here: { disk: ./vault }, usb: { disk: ./usb } }' });
    await good(run('check', '--create'));
    await refused(small.place, ['replicate', '--to', 'usb'], 2, /nothing in the plan is copied to usb/);
    await refused(small.place, ['replicate', '--to', 'ubs'], 2, /no vault "ubs" in the plan, want one of here, usb/);
    await refused(small.place, ['replicate', '--from', 'usb', '--to', 'usb'], 2, /are both usb/);
    const { copies } = told(await good(run('replicate', '--from', 'here', '--to', 'usb', '--json')));
    assert.ok(copies.length >= 4 && copies.every(({ status }) => status === 'copied'));
    const damaged = /"disproven"/;
    assert.doesNotMatch((await good(run('list', '--from', 'usb', '--json'))).stdout, damaged);
    assert.match((await good(run('replicate', '--from', 'here', '--to', 'usb'))).stdout, /^nothing is missing$/m);
  });

  test('two manifests that are not the same are named, and the run does not end well', async () => {
    const [id = ''] = readdirSync(small.place.path('usb/backups/app/daily'));
    edit(small.place.path('usb/backups/app/daily', id, 'manifest.json'), (text) => text.replace('"daily"', '"dayly"'));
    const ran = await run('replicate', '--from', 'here', '--to', 'usb', '--json');
    assert.equal(ran.code, 3);
    assert.equal(told(ran).differences.length, 1);
    assert.match(told(ran).differences[0] ?? '', new RegExp(`app ${id} in usb: .* does not match its own hash`));
  });

  test('a second replicate of the same source and vault is told who is at it, and ends busy', async () => {
    small.plan({ vaults: TWO });
    await good(run('backup', 'app'));
    const folder = small.place.path('other/leases/app/replicate');
    const number = String(readdirSync(folder).length / 2 + 1).padStart(10, '0');
    const holder = { host: 'elsewhere', pid: 7, start: null, boot: null, namespace: null };
    const since = new Date().toISOString();
    const record = { format: 1, job: 'replicate', source: 'app', holder, since, nonce: 'x' };
    small.place.write(`other/leases/app/replicate/${number}.json`, JSON.stringify(record));
    const busy = await refused(
      small.place,
      ['replicate', 'app'],
      4,
      /replicate of app in there is under way: .*elsewhere/,
    );
    assert.equal(told(busy).copies[0]?.status, 'busy');
  });

  test('what a run that is still at work makes is left to that run', async () => {
    const holder = { host: 'elsewhere', pid: 7, start: null, boot: null, namespace: null };
    await good(run('backup', 'tree'));
    const { startedAt } = await newest(small.place, 'tree');
    mkdirSync(small.place.path('other/leases/tree/backup'), { recursive: true });
    const since = new Date(new Date(startedAt).getTime() - 1000).toISOString();
    const lease = { format: 1, job: 'backup', source: 'tree', holder, since, nonce: 'x' };
    small.place.write('other/leases/tree/backup/9999999999.json', JSON.stringify(lease));
    const { copies } = told(await good(run('replicate', 'tree', '--json')));
    assert.deepEqual(
      copies.map(({ status }) => status),
      ['waiting'],
    );
  });
});
