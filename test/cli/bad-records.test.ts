import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { backupFolder, canonicalJson, type Manifest, sha256Hex } from '#core/manifest';
import { Place } from '#test/cli/holdfast';
import { edit, good, newest, notesIn, refused, type SmallPlan, smallPlan } from '#test/cli/small-plan';

describe('keys that do not fit and records that were edited, by the command line', () => {
  let small: SmallPlan;
  let place: Place;
  let older: Manifest;
  let manifest: Manifest;
  let copy: Place;

  before(async () => {
    small = await smallPlan();
    place = small.place;
    await good(place.run('check', '--create'));
    await good(place.run('backup', '--all'));
    older = await newest(place, 'app');
    await good(place.run('backup', 'app'));
    manifest = await newest(place, 'app');
  });
  after(() => place.remove());

  /** What follows is done to a copy of the whole place. */
  async function onCopy(act: () => Promise<void>): Promise<void> {
    copy = new Place();
    try {
      cpSync(place.directory, copy.directory, { recursive: true });
      await act();
    } finally {
      copy.remove();
    }
  }
  const folder = (one = manifest): string => copy.path('vault', backupFolder(one));

  test('a wrong identity: prove fails with exit 1 and does not call the backup disproven; restore says which key is wanted', async () => {
    await onCopy(async () => {
      rmSync(copy.path('holdfast.key'));
      await good(copy.run('keygen', '--out', 'holdfast.key'));
      const proved = await refused(copy, ['prove', 'app'], 1, /holdfast\.key|identity/);
      assert.equal(proved.json().error?.code, 'identity-wrong');
      const { proofs } = proved.json().result as { proofs: { result: string }[] };
      assert.deepEqual(
        proofs.map((proof) => proof.result),
        ['unproven'],
      );
      const restored = await refused(copy, ['restore', 'app', '--to', './out'], 1, /identity|holdfast\.key/);
      assert.equal(restored.json().error?.code, 'identity-wrong');
      assert.ok(!existsSync(copy.path('out', 'app.db')), 'nothing is left at the target');
      const list = (await good(copy.run('list', 'app', '--json'))).json().result as { backups: { proof: string }[] };
      assert.deepEqual(
        list.backups.map((one) => one.proof),
        ['proven', 'proven'],
      );
      assert.equal((await copy.run('check')).code, 1);
      const backup = await copy.run('backup', 'app', '--json');
      assert.equal(backup.code, 1, 'stored, and its proof failed');
      assert.deepEqual(
        (backup.json().result as { runs: { status: string; proof: string }[] }).runs.map((run) => [
          run.status,
          run.proof,
        ]),
        [['ok', 'unproven']],
      );
    });
  });

  test('an identity that is absent: a proof is inconclusive, exit 6, and a restore says where the key should be', async () => {
    await onCopy(async () => {
      rmSync(copy.path('holdfast.key'));
      const proved = await refused(copy, ['prove', 'app'], 6, /holdfast\.key/);
      const { proofs } = proved.json().result as { proofs: { result: string; reason: string }[] };
      assert.equal(proofs[0]?.result, 'inconclusive');
      assert.match(proofs[0]?.reason ?? '', /holdfast\.key/);
      const restored = await refused(copy, ['restore', 'app', '--to', './out'], 2, /holdfast\.key/);
      assert.equal(restored.json().error?.code, 'keys-missing');
      const bare = await refused(copy, ['restore', 'app', '--vault', './vault', '--to', './out'], 2, /identity/);
      assert.match(bare.json().error?.hint ?? '', /--identity/);
    });
  });

  test('I1, I14: a manifest that was edited is no backup; every command says so instead of leaving it out in silence', async () => {
    await onCopy(async () => {
      edit(`${folder()}/manifest.json`, (text) => text.replace(`"host": "`, `"host": "x`));
      const list = await copy.run('list', 'app', '--json');
      assert.deepEqual(
        (list.json().result as { backups: { id: string }[] }).backups.map((one) => one.id),
        [older.id],
      );
      assert.match(list.json().warnings.join(), new RegExp(`${manifest.id}.*own hash`));
      await refused(copy, ['show', 'app', '--id', manifest.id], 1, /own hash/);
      await refused(copy, ['prove', 'app', '--id', manifest.id], 1, /own hash/);
      const restored = await good(copy.run('restore', 'app', '--to', './out', '--json'));
      assert.equal((restored.json().result as { id: string }).id, older.id);
      assert.match(restored.json().warnings.join(), /own hash/);
      const verified = await copy.run('ledger', 'verify', 'app', '--json');
      assert.equal(verified.code, 1);
      assert.match(verified.stdout, /own hash/);
      const status = await copy.run('status', 'app', '--json');
      assert.equal(status.code, 3);
      assert.match(status.stdout, /own hash/);
      assert.equal((await copy.run('backup', 'app')).code, 0, 'the next run works');
    });
  });

  test('I15: a manifest that was edited and signed anew is found by ledger verify', async () => {
    await onCopy(async () => {
      edit(`${folder()}/manifest.json`, (text) => {
        const { sha256: _, ...rest } = JSON.parse(text) as Manifest;
        const changed = { ...rest, reason: 'as if' };
        return JSON.stringify({ ...changed, sha256: sha256Hex(canonicalJson(changed)) });
      });
      const verified = await copy.run('ledger', 'verify', 'app', '--json');
      assert.equal(verified.code, 1);
      assert.match(verified.stdout, /not the one the ledger recorded/);
      // Its proofs are of other bytes: they do not count for a restore.
      const restored = await good(copy.run('restore', 'app', '--to', './out', '--json'));
      assert.equal((restored.json().result as { id: string }).id, older.id);
    });
  });

  test('a manifest of a newer format is told as that', async () => {
    await onCopy(async () => {
      edit(`${folder()}/manifest.json`, (text) => text.replace('"format": 1', '"format": 2'));
      await refused(copy, ['show', 'app', '--id', manifest.id], 1, /format 2.*format 1/);
      assert.match((await copy.run('list', '--json')).json().warnings.join(), /format 2/);
    });
  });

  test('a manifest of another source, or moved to another tier or id, is refused where it now lies', async () => {
    await onCopy(async () => {
      const tree = await newest(copy, 'tree');
      mkdirSync(copy.path('vault', 'backups', 'tree', 'weekly'), { recursive: true });
      cpSync(folder(tree), copy.path('vault', 'backups', 'tree', 'weekly', tree.id), { recursive: true });
      cpSync(folder(), copy.path('vault', 'backups', 'tree', 'daily', manifest.id), { recursive: true });
      renameSync(folder(), folder().replace(manifest.id, '20200101T000000Z-0000'));
      const list = await copy.run('list', '--json');
      assert.equal((list.json().result as { backups: unknown[] }).backups.length, 2);
      assert.equal(list.json().warnings.filter((warning) => /is the manifest of/.test(warning)).length, 3);
      await refused(copy, ['restore', 'tree', '--id', manifest.id, '--to', './out'], 1, /is the manifest of/);
    });
  });

  test('a proof that was edited, or given a better name, does not count', async () => {
    await onCopy(async () => {
      const proofs = copy.path('vault', 'proofs', 'app', manifest.id);
      const [name = ''] = readdirSync(proofs);
      edit(`${proofs}/${name}`, (text) => text.replace('"differences": []', '"differences": [""]'));
      const restored = await good(copy.run('restore', 'app', '--to', './out', '--json'));
      assert.equal((restored.json().result as { id: string }).id, older.id, 'the newest that is truly proven');
      assert.match(restored.json().warnings.join('\n'), new RegExp(`${name}.*edited`));
      const verified = await copy.run('ledger', 'verify', 'app', '--json');
      assert.equal(verified.code, 1);
      assert.match(verified.stdout, /edited or moved/);
      assert.equal((await copy.run('status', 'app')).code, 3);
      rmSync(proofs, { recursive: true });
      mkdirSync(proofs);
      cpSync(
        copy.path(
          'vault',
          'proofs',
          'app',
          older.id,
          readdirSync(copy.path('vault', 'proofs', 'app', older.id))[0] ?? '',
        ),
        `${proofs}/${name}`,
      );
      const again = await good(copy.run('restore', 'app', '--to', './out2', '--json'));
      assert.equal((again.json().result as { id: string }).id, older.id);
    });
  });

  for (const [what, change] of [
    ['a removed entry', (file: (seq: number) => string) => rmSync(file(2))],
    ['a removed first entry', (file: (seq: number) => string) => rmSync(file(1))],
    ['a removed tail', (file: (seq: number) => string) => rmSync(file(4))],
    ['an edited entry', (file: (seq: number) => string) => edit(file(3), (text) => text.replace('daily', 'dayly'))],
    ['two entries exchanged', (file: (seq: number) => string) => exchange(file(1), file(3))],
  ] as const)
    test(`I15: ledger verify finds ${what}, and the chain still takes the next entry`, async () => {
      await onCopy(async () => {
        change((seq) => copy.path('vault', 'ledger', 'app', `${String(seq).padStart(10, '0')}.json`));
        const verified = await copy.run('ledger', 'verify', '--json');
        assert.equal(verified.code, 1, verified.stdout);
        const { ok, reports } = verified.json().result as {
          ok: boolean;
          reports: { source: string; findings: string[] }[];
        };
        assert.equal(ok, false);
        assert.ok((reports.find((one) => one.source === 'app')?.findings.length ?? 0) > 0);
        assert.deepEqual(reports.find((one) => one.source === 'tree')?.findings, []);
        await good(copy.run('backup', 'app'));
      });
    });

  test('ids and names with ../ reach nothing outside of the vault, and are told as what they are', async () => {
    for (const args of [
      ['show', 'app', '--id', '../../../etc/passwd'],
      ['show', 'app', '--id', ''],
      ['prove', 'app', '--id', `../daily/${manifest.id}`],
      ['prove', 'app', '--id', ''],
      ['restore', 'app', '--id', `${manifest.id}/..`, '--to', './out'],
      ['restore', 'app', '--id', '../../../etc/passwd', '--to', './out'],
    ])
      await refused(place, args, 2, /no backup id/);
    for (const args of [
      ['backup', '../app'],
      ['list', '../../etc'],
      ['show', '../app'],
      ['restore', '../../app', '--to', './out'],
      ['ledger', '../app'],
    ])
      assert.equal((await place.run(...args, '--json')).code, 2, args.join(' '));
    const bare = await place.run(
      ...['restore', '../../app', '--vault', './vault', '--identity', 'holdfast.key', '--to', './out', '--json'],
    );
    assert.ok([1, 2].includes(bare.code ?? 0), bare.stdout);
    assert.notEqual(bare.json().error?.code, 'defect');
    small.plan({
      sources: ['../app: { sqlite: { file: app.db }, schedule: [{ every: 1h, tier: daily, to: [here] }] }'],
    });
    await refused(place, ['backup', '--all'], 2, /\.\.\/app/);
    small.plan();
    assert.deepEqual(notesIn(place.path('app.db')), ['one', 'two']);
  });
});

function exchange(one: string, other: string): void {
  renameSync(one, `${one}.tmp`);
  renameSync(other, one);
  renameSync(`${one}.tmp`, other);
}
