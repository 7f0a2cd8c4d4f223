import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { Envelope } from '#cli/envelope';
import { BIN } from '#test/cli/holdfast';
import { edit, filesBelow, good, refused, runsOf, SCHEDULE, type SmallPlan, smallPlan } from '#test/cli/small-plan';

describe('a directory vault that is full, read-only, away or not ours, by the command line', () => {
  let small: SmallPlan;

  before(async () => {
    small = await smallPlan();
    await good(small.place.run('check', '--create'));
    await good(small.place.run('backup', '--all'));
  });
  after(() => small.place.remove());

  /** Runs sh with mounts of its own, which end with it; `h` is holdfast with its JSON in the file named first. */
  function withMounts(script: string): (name: string) => Envelope & { readonly result: never } {
    const { place } = small;
    const ran = spawnSync(
      'unshare',
      [
        ...(process.getuid?.() === 0 ? ['--mount'] : ['--map-root-user', '--mount']),
        'sh',
        '-euc',
        `h() { out=$1; shift; "${BIN}" "$@" --json >"$out.json" 2>"$out.err" || true; }\n${script}`,
      ],
      { cwd: place.directory, env: { ...process.env, ...place.environment }, encoding: 'utf8' },
    );
    assert.equal(ran.status, 0, ran.stderr);
    return (name) => JSON.parse(readFileSync(place.path(`${name}.json`), 'utf8'));
  }

  test('peers 3A (autopostgresqlbackup #2), I1, I13: a vault that runs full is a failed run with a hint, not a truncated backup, and what was there stays', () => {
    small.place.write('tree/big.bin', randomBytes(2 * 1024 * 1024).toString('latin1'));
    const json = withMounts(`
      mount -t tmpfs -o size=1m none vault
      h create check --create
      h app backup app
      h full backup tree
      h list list
      rm tree/big.bin
      h next backup tree
      h verify ledger verify
      cat vault/ledger/tree/0000000001.json > failed.json
    `);
    assert.equal(json('app').exit, 0, JSON.stringify(json('app')));
    const full = json('full');
    assert.equal(full.exit, 1);
    assert.equal(full.error?.code, 'space-lacking', JSON.stringify(full));
    assert.match(full.error?.message ?? '', /no space is left/);
    assert.ok(full.error?.hint);
    assert.deepEqual(sources(json('list')), ['app']);
    assert.equal((json('failed') as unknown as { event: string }).event, 'failed');
    assert.equal(json('next').exit, 0, JSON.stringify(json('next')));
    assert.equal(json('verify').exit, 0, JSON.stringify(json('verify')));
  });

  test('I14: a read-only vault refuses a backup and says so; listing, status and restore still work on it', () => {
    const json = withMounts(`
      mount --bind vault vault
      mount -o remount,ro,bind vault
      h backup backup app
      h list list
      h status status
      h prove prove app
      h restore restore app --to ./from-read-only
      h check check
    `);
    assert.equal(json('backup').exit, 1);
    assert.equal(json('backup').error?.code, 'vault-refused');
    assert.match(json('backup').error?.message ?? '', /read-only/);
    assert.ok(json('backup').error?.hint);
    assert.deepEqual([...new Set(sources(json('list')))], ['app', 'tree']);
    assert.equal(json('list').exit, 0);
    assert.equal(json('status').exit, 0, JSON.stringify(json('status')));
    assert.equal(json('prove').exit, 1);
    assert.match(json('prove').error?.message ?? '', /read-only/);
    assert.equal(json('restore').exit, 0, JSON.stringify(json('restore')));
    assert.match(json('restore').warnings.join(), /ledger.*read-only/);
    assert.equal(json('check').exit, 1);
  });

  for (const [what, hide] of [
    ['that is not there', () => undefined],
    ['whose mount point is empty', () => mkdirSync(small.place.path('vault'))],
  ] as const)
    test(`peers 3I (DBackup #82), I14: a vault ${what} is never shown as empty, by any command`, async () => {
      const { place } = small;
      renameSync(place.path('vault'), place.path('elsewhere'));
      hide();
      try {
        for (const args of [
          ['list'],
          ['show', 'app'],
          ['prove', 'app'],
          ['restore', 'app', '--to', './x'],
          ['ledger', 'app'],
          ['ledger', 'verify'],
          ['backup', 'app'],
        ]) {
          const ran = await refused(place, args, 1, /not mounted/);
          assert.equal(ran.json().error?.code, 'vault-missing');
          assert.doesNotMatch(ran.stdout, /no backups/);
        }
        const list = await place.run('list');
        assert.equal(list.stdout, '', 'not "no backups"');
        const status = await place.run('status');
        assert.equal(status.code, 3);
        assert.match(status.stdout, /vault here: .*not mounted/);
        const check = await place.run('check');
        assert.equal(check.code, 1);
        assert.match(check.stdout, /WRONG vault here: .*not mounted/);
        assert.ok(!existsSync(place.path('vault', 'backups')), 'nothing is written beside the mount point');
      } finally {
        rmSync(place.path('vault'), { recursive: true, force: true });
        renameSync(place.path('elsewhere'), place.path('vault'));
      }
      await good(place.run('backup', 'app'));
    });

  test("another plan's vault is refused by every command: exit 2, both names said, nothing written", async () => {
    const { place } = small;
    small.plan({ name: 'other' });
    const before = filesBelow(place.path('vault')).length;
    for (const args of [['backup', 'app'], ['list'], ['show', 'app'], ['prove', 'app']]) {
      const ran = await refused(place, args, 2, /"small".*"other"/);
      assert.equal(ran.json().error?.code, 'vault-foreign');
    }
    const status = await place.run('status', '--json');
    assert.equal(status.code, 3);
    assert.match(status.stdout, /\\"small\\"/);
    assert.equal((await place.run('check', '--create')).code, 1);
    assert.equal(filesBelow(place.path('vault')).length, before);
    small.plan();
  });

  for (const [what, change, message] of [
    ['a newer format', (text: string) => text.replace('"format": 1', '"format": 2'), /format 2.*knows 1/],
    ['no JSON', (text: string) => text.slice(1), /not JSON/],
    ['no plan', (text: string) => text.replace('"plan"', '"plans"'), /vault\.json/],
  ] as const)
    test(`a vault.json with ${what} is exit 2 and says so`, async () => {
      const { place } = small;
      const file = place.path('vault', 'vault.json');
      const text = readFileSync(file, 'utf8');
      edit(file, change);
      try {
        for (const args of [['backup', 'app'], ['list']]) await refused(place, args, 2, message);
        assert.equal((await place.run('restore', 'app', '--vault', './vault', '--to', './y')).code, 2);
      } finally {
        edit(file, () => text);
      }
    });

  test('a plan with several vaults: one that turns up full gives its place to the next, exit 3', () => {
    const { place } = small;
    place.write('tree/big.bin', randomBytes(2 * 1024 * 1024).toString('latin1'));
    small.plan({
      vaults: '{ here: { disk: ./tiny }, there: { disk: ./roomy } }',
      sources: [`tree: { files: { paths: [tree] }, ${SCHEDULE.replace('[here]', '[here, there]')} }`],
    });
    const json = withMounts(`
      mkdir tiny roomy
      mount -t tmpfs -o size=1m none tiny
      h create check --create
      h backup backup tree
      h list list
      h restore restore tree --from there --to ./out-of-there
    `);
    const backup = json('backup');
    assert.equal(backup.exit, 3, JSON.stringify(backup));
    const [run] = runsOf({ json: () => backup } as never);
    assert.deepEqual([run?.status, run?.proof, run?.vaults], ['ok', 'proven', ['there']]);
    assert.equal(run?.error?.code, 'space-lacking');
    assert.equal(json('restore').exit, 0);
    small.plan();
  });
});

function sources(document: Envelope): string[] {
  return (document.result as { backups: { source: string }[] }).backups.map((one) => one.source);
}
