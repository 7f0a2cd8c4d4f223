import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CLOUD_PLAN, REGION } from '#test/cloud/cloud-plan';
import { type Permissions, permissionsOf } from '#test/cloud/permissions';
import { type Synthesised, synthesise } from '#test/cloud/synthesised';

const at = (key: string): string => `arn:aws:s3:::shop-backups/prod/${key}`;
const ARTIFACT = at('backups/events/yearly/20260101T020000Z-7f3a/database.dump.zst.age');
const MANIFEST = at('backups/events/yearly/20260101T020000Z-7f3a/manifest.json');
const lock = (mode: string, days: number): Record<string, string> => ({
  's3:object-lock-mode': mode,
  's3:object-lock-remaining-retention-days': String(days),
});
const YEAR = lock('GOVERNANCE', 365);
const OTHERS = [
  'task events prove',
  'task cache backup',
  'execution',
  'restorer',
  ...['start-job', 'finish-job', 'watch', 'send-alert'].map((host) => `function ${host}`),
];

describe('who may make a lock longer in a vault with lock: governance, lockFor: 1y', () => {
  let folder: string;
  let synthesised: Synthesised;
  let locked: Permissions;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hf-plan-'));
    const file = join(folder, 'holdfast.yaml');
    writeFileSync(
      file,
      CLOUD_PLAN.replace('prefix: prod }', 'prefix: prod, lock: governance }').replace(
        'daily: { keep: 30d }',
        'daily: { keep: 30d }, yearly: { keep: forever }',
      ),
    );
    synthesised = synthesise(file);
    locked = permissionsOf(synthesised, 'shop', REGION);
  });
  after(() => {
    synthesised?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test('retain renews what is kept for ever: reads a lock, and makes it as long as the plan says', async () => {
    for (const object of [ARTIFACT, MANIFEST]) {
      assert.equal(await locked.allows('function retain', 's3:GetObjectRetention', object), true);
      assert.equal(await locked.allows('function retain', 's3:PutObjectRetention', object, YEAR), true);
    }
  });

  test('never: retain locks longer than that, in a mode that nobody can lift, or elsewhere', async () => {
    const may = (object: string, context: Record<string, string>) =>
      locked.allows('function retain', 's3:PutObjectRetention', object, context);
    assert.equal(await may(ARTIFACT, lock('GOVERNANCE', 36_500)), false);
    assert.equal(await may(ARTIFACT, lock('COMPLIANCE', 365)), false);
    for (const key of ['ledger/events/0000000001.json', 'leases/events/retain/0000000001.json', 'vault.json'])
      assert.equal(await may(at(key), YEAR), false, key);
  });

  test('never: anybody shortens or lifts a lock, or sets a legal hold', async () => {
    for (const who of ['task events backup', 'function retain', 'function replicate', ...OTHERS])
      for (const [action, resource] of [
        ['s3:BypassGovernanceRetention', ARTIFACT],
        ['s3:PutObjectLegalHold', ARTIFACT],
        ['s3:PutBucketObjectLockConfiguration', 'arn:aws:s3:::shop-backups'],
      ] as const)
        assert.equal(await locked.allows(who, action, resource), false, `${who} ${action}`);
  });

  test('never: another role makes locks longer', async () => {
    for (const who of OTHERS)
      assert.equal(await locked.allows(who, 's3:PutObjectRetention', ARTIFACT, YEAR), false, who);
  });

  test('the restorer alone may ask for a thaw', async () => {
    assert.equal(await locked.allows('restorer', 's3:RestoreObject', ARTIFACT), true);
    for (const who of ['task events backup', 'function retain', 'function replicate', ...OTHERS])
      if (who !== 'restorer') assert.equal(await locked.allows(who, 's3:RestoreObject', ARTIFACT), false, who);
  });
});
