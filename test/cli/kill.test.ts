import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, test } from 'node:test';
import { readManifest, sha256Hex } from '#core/manifest';
import { Place } from '#test/cli/holdfast';
import { good } from '#test/cli/small-plan';

const KILLS = 100;

/** A seed that is printed, so that a failure can be run again: HOLDFAST_TEST_SEED=… */
const seed = Number(process.env['HOLDFAST_TEST_SEED'] ?? Date.now() % 100_000);
let state = seed;
function random(): number {
  state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
  return state / 2_147_483_648;
}

interface Listed {
  readonly result: { readonly backups: readonly { source: string; id: string; proof: string }[] };
}

describe(`kill -9 at ${KILLS} random moments of backups, proofs and restores (seed ${seed})`, () => {
  const place = new Place();

  before(async () => {
    const db = new DatabaseSync(place.path('app.db'));
    db.exec('create table notes (id integer primary key, text text)');
    const insert = db.prepare('insert into notes (text) values (?)');
    db.exec('begin');
    for (let n = 0; n < 20_000; n++) insert.run(`note ${n} `.repeat(10));
    db.exec('commit');
    db.close();
    for (let n = 0; n < 200; n++) {
      mkdirSync(place.path('tree', String(n % 10)), { recursive: true });
      writeFileSync(place.path('tree', String(n % 10), `${n}.txt`), `file ${n} `.repeat(500));
    }
    const made = await place.run('keygen', '--out', 'holdfast.key');
    const recipient = /age1[0-9a-z]+/.exec(made.stdout + made.stderr)?.[0];
    place.write(
      'holdfast.yaml',
      `version: 1
name: killed
encryption: { recipients: [${recipient}], identity: { file: holdfast.key } }
vaults: { here: { disk: ./vault } }
tiers: { hourly: { keep: 7d } }
sources:
  app: { sqlite: { file: app.db }, schedule: [{ every: 1h, tier: hourly, to: [here] }] }
  tree: { files: { paths: [tree] }, schedule: [{ every: 1h, tier: hourly, to: [here] }] }
`,
    );
    assert.equal((await place.run('check', '--create')).code, 0);
    const first = await place.run('backup', '--all');
    assert.equal(first.code, 0, first.stderr);
  });
  after(() => place.remove());

  test('I1: afterwards only whole backups are listed, the next run works, and no plaintext is left', async () => {
    const whole = performance.now();
    await good(place.run('backup', 'app'));
    const usual = performance.now() - whole;
    /** Of the last one of its kind that came to its end: a moment after that would kill nothing. */
    const lasted = new Map<string, number>();
    let kills = 0;
    for (let n = 0; n < KILLS; n++) {
      const source = random() < 0.5 ? 'app' : 'tree';
      const target = place.path('back', String(n));
      const command = [
        ['backup', source],
        ['prove', source],
        ['restore', source, '--to', target],
      ][n % 3] as string[];
      const kind = `${command[0]} ${source}`;
      const began = performance.now();
      const child = place.start(command);
      const ended = new Promise((done) => child.once('close', done));
      const timer = setTimeout(() => child.kill('SIGKILL'), random() * 1.2 * (lasted.get(kind) ?? usual));
      await ended;
      clearTimeout(timer);
      if (child.signalCode === 'SIGKILL') kills++;
      else lasted.set(kind, performance.now() - began);
      if (existsSync(target) && readdirSync(target).length > 0 && child.signalCode === 'SIGKILL')
        await wholeRestore(source, target);
    }

    assert.ok(kills > KILLS / 4, `only ${kills} of ${KILLS} came before the end`);
    const list = await place.run('list', '--json');
    assert.equal(list.code, 0, list.stderr);
    const { backups } = (list.json() as Listed).result;
    assert.ok(backups.length >= 3);
    for (const { source, id } of backups) storedWhole(`backups/${source}/hourly/${id}`);
    for (const { source, id } of backups.slice(-3)) {
      const proved = await place.run('prove', source, '--id', id);
      assert.equal(proved.code, 0, `${source} ${id}: ${proved.stderr}`);
    }
    const next = await place.run('backup', '--all', '--json');
    assert.equal(next.code, 0, next.stderr);
    assert.equal((await place.run('status')).code, 0);
    assert.equal((await place.run('restore', 'tree', '--to', './last')).code, 0);

    assert.deepEqual(
      readdirSync(place.path('scratch')).filter((name) => name.startsWith('run-')),
      [],
    );
    const verified = await place.run('ledger', 'verify', '--json');
    const findings = (verified.json().result as { reports: { findings: string[] }[] }).reports.flatMap(
      (one) => one.findings,
    );
    const ownFault = findings.filter((finding) => !/has no ledger entry/.test(finding));
    assert.deepEqual(ownFault, [], 'the chain is whole; a run killed right after its commit may lack its entry');
  });

  function storedWhole(folder: string): void {
    const key = `${folder}/manifest.json`;
    const { artifacts } = readManifest(readFileSync(place.path('vault', key), 'utf8'), key);
    for (const { name, bytes, sha256 } of artifacts.flatMap(({ volumes }) => volumes)) {
      const stored = readFileSync(place.path('vault', folder, name));
      assert.deepEqual([stored.length, sha256Hex(stored)], [bytes, sha256], `${folder}/${name}`);
    }
  }

  /** A killed restore may leave its hidden staging, never half of what was asked for in its place. */
  async function wholeRestore(source: string, target: string): Promise<void> {
    const found = readdirSync(target, { recursive: true, withFileTypes: true }).filter(
      (entry) => entry.isFile() && !/\/\.[^/]*holdfast-restore-/.test(`${entry.parentPath}/${entry.name}`),
    );
    if (found.length === 0) return;
    if (source === 'tree') assert.equal(found.length, 200, `half a tree at ${target}`);
    else {
      assert.equal(found.length, 1);
      const file = `${found[0]?.parentPath}/${found[0]?.name}`;
      const db = new DatabaseSync(file, { readOnly: true });
      assert.equal(db.prepare('select count(*) as n from notes').get()?.['n'], 20_000);
      db.close();
    }
    rmSync(target, { recursive: true });
  }
});
