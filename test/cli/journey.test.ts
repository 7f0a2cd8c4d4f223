import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, test } from 'node:test';
import type { Manifest } from '#core/manifest';
import { Place } from '#test/cli/holdfast';

/** A small plan's whole life by the command line: SQLite and files into a directory, no server needed. */
describe('a plan on this machine, by the command line', () => {
  const place = new Place();
  const database = place.path('app.db');
  let id = '';

  before(async () => {
    const db = new DatabaseSync(database);
    db.exec("create table notes (id integer primary key, text text); insert into notes (text) values ('one'), ('two')");
    db.close();
    mkdirSync(place.path('payloads', 'deep'), { recursive: true });
    writeFileSync(place.path('payloads', 'a.json'), '{"a":1}');
    writeFileSync(place.path('payloads', 'deep', 'b c.txt'), 'b');
    const made = await place.run('keygen', '--out', 'holdfast.key');
    assert.equal(made.code, 0, made.stderr);
    const recipient = /age1[0-9a-z]+/.exec(made.stdout + made.stderr)?.[0];
    assert.ok(recipient);
    place.write('holdfast.yaml', planText(recipient));
  });
  after(() => place.remove());

  test('I14: before the vault is made, a backup says that it is not mounted or not a vault, and makes nothing', async () => {
    const run = await place.run('backup', 'app', '--json');
    assert.equal(run.code, 1);
    assert.equal(run.json().error?.code, 'vault-missing');
    assert.match(run.json().error?.hint ?? '', /check --create/);
  });

  test('check --create makes the vault and finds nothing wrong', async () => {
    const run = await place.run('check', '--create', '--json');
    const { result } = run.json() as {
      result: { ok: boolean; checks: { name: string; ok: boolean | null; message: string }[] };
    };
    assert.deepEqual(
      result.checks.filter((line) => line.ok !== true),
      [],
    );
    assert.equal(result.ok, true);
    assert.equal(run.code, 0);
    assert.ok(existsSync(place.path('vault', 'vault.json')));
  });

  test('I4: status is unhealthy while nothing is proven', async () => {
    const run = await place.run('status', '--json');
    const { result } = run.json() as { result: { sources: { newestProven: unknown }[] } };
    assert.deepEqual(
      result.sources.map((one) => one.newestProven),
      [null, null],
    );
  });

  test('backup --all stores and proves every source', async () => {
    const run = await place.run('backup', '--all', '--reason', 'first', '--point', 'start', '--json');
    const { result } = run.json() as {
      result: { runs: { source: string; status: string; proof: string; id: string }[] };
    };
    assert.equal(run.code, 0, run.stderr);
    assert.deepEqual(
      result.runs.map((one) => [one.source, one.status, one.proof]),
      [
        ['app', 'ok', 'proven'],
        ['payloads', 'ok', 'proven'],
      ],
    );
    id = result.runs[0]?.id ?? '';
  });

  test('list shows them, show gives the manifest, and the bare command is healthy', async () => {
    const list = (await place.run('list', '--json')).json() as {
      result: { backups: { source: string; proof: string }[] };
    };
    assert.deepEqual(list.result.backups.map((one) => [one.source, one.proof]).sort(), [
      ['app', 'proven'],
      ['payloads', 'proven'],
    ]);
    const manifest = (await place.run('show', 'app', '--json')).json().result as Manifest;
    assert.equal(manifest.id, id);
    assert.equal(manifest.point, 'start');
    assert.equal(manifest.reason, 'first');
    const bare = await place.run('--json');
    assert.equal(bare.json().command, 'status');
    assert.equal(bare.code, 0, bare.stdout);
  });

  test("I6: the manifest's restore.script gives the database back with stock tools alone", async () => {
    const manifest = (await place.run('show', 'app', '--json')).json().result as Manifest;
    const target = mkdtempSync(join(tmpdir(), 'holdfast-stock-'));
    try {
      const script = join(target, 'restore.sh');
      writeFileSync(script, manifest.restore.script);
      execFileSync('sh', ['-eu', script], {
        env: {
          PATH: process.env['PATH'] ?? '',
          KEY: place.path('holdfast.key'),
          VAULT: place.path('vault'),
          TARGET: join(target, 'out'),
        },
      });
      assert.deepEqual(rows(join(target, 'out', 'app.db')), rows(database));
    } finally {
      rmSync(target, { recursive: true });
    }
  });

  test('I11: restore compares before it says so, and refuses a target that is not empty', async () => {
    const first = await place.run('restore', 'app', '--to', './back', '--json');
    assert.equal(first.code, 0, first.stderr);
    const { result } = first.json() as {
      result: { verified: boolean; target: string; source: string; id: string; seconds: number };
    };
    assert.deepEqual([result.verified, result.source, result.id], [true, 'app', id]);
    assert.deepEqual(rows(result.target), rows(database));
    const second = await place.run('restore', 'app', '--to', './back', '--json');
    assert.equal(second.code, 1);
    assert.equal(second.json().error?.code, 'target-not-empty');
    assert.equal((await place.run('restore', 'app', '--to', './back', '--overwrite')).code, 0);
  });

  test("restore without a plan: the vault's directory and the key are enough", async () => {
    const elsewhere = new Place();
    try {
      const run = await elsewhere.run(
        'restore',
        'payloads',
        '--vault',
        place.path('vault'),
        '--identity',
        place.path('holdfast.key'),
        '--to',
        './tree',
        '--json',
      );
      assert.equal(run.code, 0, run.stderr);
      const found = readdirSync(elsewhere.path('tree'), { recursive: true })
        .map(String)
        .filter((name) => /\.(json|txt)$/.test(name));
      assert.deepEqual(found.map((name) => name.split('/').at(-1)).sort(), ['a.json', 'b c.txt']);
    } finally {
      elsewhere.remove();
    }
  });

  test('I15: ledger verify finds nothing in an untouched vault, and the one byte that was edited', async () => {
    const clean = await place.run('ledger', 'verify', '--json');
    assert.equal(clean.code, 0, clean.stdout);
    const first = place.path('vault', 'ledger', 'app', '0000000001.json');
    const text = readFileSync(first, 'utf8');
    rmSync(first);
    writeFileSync(first, text.replace('"backup"', '"failed"'));
    const edited = await place.run('ledger', 'verify', 'app', '--json');
    assert.equal(edited.code, 1);
    rmSync(first);
    writeFileSync(first, text);
  });

  test('one byte changed in a stored artifact: prove says disproven, exit 5, and restore no longer takes it', async () => {
    const copy = new Place();
    try {
      cpSync(place.directory, copy.directory, { recursive: true });
      const manifest = (await copy.run('show', 'app', '--json')).json().result as Manifest;
      const volume = manifest.artifacts[0]?.volumes[0]?.name as string;
      const file = copy.path('vault', 'backups', 'app', manifest.tier, manifest.id, volume);
      const bytes = readFileSync(file);
      const middle = bytes.length >> 1;
      bytes[middle] = (bytes[middle] as number) ^ 1;
      rmSync(file);
      writeFileSync(file, bytes);
      const stored = await copy.run('prove', 'app', '--stored', '--json');
      assert.equal(stored.code, 5, stored.stderr);
      const proved = await copy.run('prove', 'app', '--json');
      assert.equal(proved.code, 5, proved.stderr);
      assert.equal((proved.json().result as { proofs: { result: string }[] }).proofs[0]?.result, 'disproven');
      const restored = await copy.run('restore', 'app', '--to', './x', '--json');
      assert.equal(restored.json().error?.code, 'backup-missing');
      assert.equal((await copy.run('status')).code, 3);
    } finally {
      copy.remove();
    }
  });

  test('wrong input: each is exit 2, names the value and what is allowed', async () => {
    for (const [args, pattern] of [
      [['backup', 'nope'], /"nope".*app, payloads/],
      [['backup'], /--all.*app, payloads/],
      [['backup', 'app', '--tier', 'secular'], /"secular".*daily/],
      [['backup', 'app', '--kind', 'differential'], /not there yet/],
      [['restore', 'app', '--to', './y', '--at', 'yesterday'], /"yesterday".*offset/],
      [['restore', 'app', '--to', './y', '--at', '2026-11-21T02:30:00'], /offset/],
      [['list', '--since', 'ages'], /"ages".*7d/],
      [['drill'], /not there yet/],
      [['bakup'], /bakup/],
      [['--plan', 'absent.yaml', 'status'], /absent\.yaml/],
    ] as const) {
      const run = await place.run(...args);
      assert.equal(run.code, 2, `${args.join(' ')}: ${run.stderr}`);
      assert.match(run.stderr, pattern, args.join(' '));
      const json = await place.run(...args, '--json');
      assert.equal(json.code, 2);
      assert.equal(json.json().exit, 2);
      assert.ok(json.json().error?.message);
    }
  });

  test('ids with ../ name nothing outside the vault', async () => {
    for (const command of ['show', 'prove'])
      assert.equal(
        (await place.run(command, 'app', '--id', '../../../etc/passwd', '--json')).json().error?.code,
        'usage',
      );
  });
});

function planText(recipient: string): string {
  return `version: 1
name: journey
encryption:
  recipients: [${recipient}]
  identity: { file: ./holdfast.key }
vaults:
  here: { disk: ./vault }
tiers:
  daily: { keep: 30d }
sources:
  app:
    sqlite: { file: app.db }
    probes: { notes: select count(*) from notes }
    schedule: [{ cron: "0 2 * * *", tier: daily, to: [here] }]
  payloads:
    files: { paths: [payloads] }
    schedule: [{ cron: "0 2 * * *", tier: daily, to: [here] }]
`;
}

function rows(file: string): unknown[] {
  const db = new DatabaseSync(file, { readOnly: true });
  try {
    return db.prepare('select * from notes order by id').all();
  } finally {
    db.close();
  }
}
