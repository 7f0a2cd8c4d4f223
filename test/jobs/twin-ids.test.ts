import assert from 'node:assert/strict';
import { readFileSync, renameSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { manifestKey } from '#core/manifest';
import { backup } from '#jobs/backup';
import type { BackupRequest } from '#jobs/backup-run';
import { findBackup } from '#jobs/catalog';
import { verifyLedger } from '#jobs/ledger-verify';
import { proveOne } from '#jobs/prove-one';
import { replicate } from '#jobs/replicate';
import { status } from '#jobs/status';
import { makeDatabase } from '#test/cli/small-plan';
import { FastTime } from '#test/jobs/fast-time';
import { Serving } from '#test/jobs/serving';

const START = new Date();
const REQUEST: BackupRequest = {
  source: 'app',
  tier: null,
  point: null,
  reason: null,
  trigger: { by: 'schedule', schedule: 'every 4h', scheduledAt: START },
};
const ALL = { sources: [], from: null, to: null, dryRun: false };

describe('two machines back one source up at one time, each into the vault that it reaches alone', () => {
  let here: Serving;
  before(async () => {
    here = new Serving(new FastTime(START, START));
    here.write(
      'holdfast.yaml',
      `version: 1
name: twins
encryption: none
vaults: { one: { disk: ./one }, two: { disk: ./two } }
tiers: { hourly: { keep: 7d } }
sources:
  app: { sqlite: { file: app.db }, schedule: [{ every: 4h, tier: hourly, to: [one, two] }] }
`,
    );
    makeDatabase(here.path('app.db'), ['one']);
    await here.open();
  });
  after(() => here.close());

  async function without(vault: string, notes: string[]): Promise<string> {
    renameSync(here.path(vault), here.path(`${vault}.away`));
    try {
      makeDatabase(here.path('app.db'), notes);
      const run = await backup(REQUEST, here.environment());
      assert.deepEqual([run.status, run.proof, run.error?.code], ['ok', 'proven', 'vault-missing']);
      return run.id as string;
    } finally {
      renameSync(here.path(`${vault}.away`), here.path(vault));
    }
  }

  test('I3, I4: of one id, and of two contents: both stay, each with its own proof, and the difference is told', async () => {
    const id = await without('two', ['one']);
    assert.equal(await without('one', ['one', 'and more']), id, 'the leases of two vaults count alike');
    const environment = here.environment();
    const names = ['one', 'two'];
    const stored = (): string[] =>
      names.map((name) => readFileSync(here.path(name, manifestKey({ source: 'app', tier: 'hourly', id })), 'utf8'));
    const before = stored();
    assert.notEqual(before[0], before[1]);

    const done = await replicate(ALL, environment);
    assert.deepEqual([done.exit, done.copies, done.proofs], [3, [], 0]);
    assert.match(done.differences.join('\n'), new RegExp(`^app ${id}.* one.* two`));
    assert.deepEqual(stored(), before, 'nothing was written over');

    for (const [index, name] of names.entries()) {
      const vault = environment.vault(name);
      const manifest = await findBackup(vault, 'app', id);
      assert.equal(manifest.sha256, JSON.parse(before[index] as string).sha256);
      // The proof of the one vouches for nothing in the other.
      assert.equal((await proveOne({ source: 'app', id, from: name, stored: false }, environment)).result, 'proven');
      assert.deepEqual((await verifyLedger(vault, 'app')).findings, []);
    }
    const [app] = (await status(['app'], environment)).sources;
    assert.equal(app?.newestProven?.id, id);
    assert.deepEqual((await replicate(ALL, environment)).proofs, 0);
    assert.deepEqual(stored(), before);
  });
});
