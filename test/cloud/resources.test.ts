import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { EVERYTHING, REGION } from '#test/cloud/cloud-plan';
import { permissionsOf } from '#test/cloud/permissions';
import { ACCOUNT } from '#test/cloud/resolve';
import { type Synthesised, synthesise } from '#test/cloud/synthesised';
import { page } from '#test/docs/documents';

const REPLICA = 'arn:aws:s3:::shop-backups-replica';

describe('what a deployment makes', () => {
  let folder: string;
  let synthesised: Synthesised;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hf-plan-'));
    const file = join(folder, 'holdfast.yaml');
    writeFileSync(file, EVERYTHING);
    synthesised = synthesise(file);
  });
  after(() => {
    synthesised.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test('docs/aws.md has a row for every type of resource, with the stacks it is in, and no other', () => {
    const made = new Map<string, Set<string>>();
    for (const [stack, { Resources }] of synthesised.templates)
      for (const { Type } of Object.values(Resources))
        made.set(Type, (made.get(Type) ?? new Set()).add(stack.split('-')[1] ?? stack));
    const rows = [...page('docs/aws.md').matchAll(/^\| `([A-Z]\w*(?:::\w+)+)` \| ([^|]+) \| ([^|]+) \|/gm)];
    const order = ['vault', 'replica', 'work'];
    assert.deepEqual(
      Object.fromEntries(rows.map(([, type = '', stacks]) => [type, stacks])),
      Object.fromEntries([...made].map(([type, stacks]) => [type, order.filter((one) => stacks.has(one)).join(', ')])),
    );
    for (const [, type, , purpose] of rows) assert.notEqual(purpose?.trim(), '', `${type}: what is it for?`);
  });

  test('the restorer opens the replica when the first region is gone, and writes nothing there', async () => {
    const { allows } = permissionsOf(synthesised, 'shop', REGION);
    const key = `arn:aws:kms:eu-west-1:${ACCOUNT}:key/1b2c3d4e-0000-4000-8000-000000000000`;
    const named = (alias: string): Record<string, string | string[]> => ({
      'kms:ResourceAliases': [alias],
      'kms:ViaService': 's3.eu-west-1.amazonaws.com',
    });
    assert.equal(await allows('restorer', 's3:GetObject', `${REPLICA}/prod/vault.json`), true);
    assert.equal(await allows('restorer', 's3:ListBucket', REPLICA), true);
    assert.equal(await allows('restorer', 'kms:Decrypt', key, named('alias/holdfast/shop-cloud-replica')), true);
    assert.equal(await allows('restorer', 'kms:Decrypt', key, named('alias/somebody-else')), false);
    assert.equal(await allows('restorer', 's3:PutObject', `${REPLICA}/prod/backups/x`), false);
    assert.equal(await allows('restorer', 's3:DeleteObjectVersion', `${REPLICA}/prod/vault.json`), false);
  });

  test('S3’s replication opens what lies here, seals it anew there, and can do nothing else', async () => {
    const { allows, roleOf } = permissionsOf(synthesised, 'shop', REGION);
    const who = 'replication of shop-backups';
    const [id] = Object.entries(synthesised.templates.get('shop-vault')?.Resources ?? {}).find(
      ([, { Type }]) => Type === 'AWS::KMS::Key',
    ) as [string, unknown];
    const here = `arn:aws:kms:${REGION}:${ACCOUNT}:key/${id}`;
    const there = `arn:aws:kms:eu-west-1:${ACCOUNT}:key/1b2c3d4e-0000-4000-8000-000000000000`;
    const by = (region: string): Record<string, string> => ({ 'kms:ViaService': `s3.${region}.amazonaws.com` });
    const named = (alias: string) => ({ ...by('eu-west-1'), 'kms:ResourceAliases': [alias] });
    const object = 'arn:aws:s3:::shop-backups/prod/vault.json';
    assert.equal(await allows('s3.amazonaws.com', 'sts:AssumeRole', roleOf(who)), true);
    assert.equal(await allows('lambda.amazonaws.com', 'sts:AssumeRole', roleOf(who)), false);
    for (const action of ['GetObjectVersionForReplication', 'GetObjectVersionTagging', 'GetObjectRetention'])
      assert.equal(await allows(who, `s3:${action}`, object), true, action);
    for (const action of ['ReplicateObject', 'ReplicateTags'])
      assert.equal(await allows(who, `s3:${action}`, `${REPLICA}/prod/vault.json`), true, action);
    assert.equal(await allows(who, 'kms:Decrypt', here, by(REGION)), true);
    assert.equal(await allows(who, 'kms:Decrypt', here, by('eu-west-1')), false);
    for (const action of ['kms:Encrypt', 'kms:GenerateDataKey']) {
      assert.equal(await allows(who, action, there, named('alias/holdfast/shop-cloud-replica')), true, action);
      assert.equal(await allows(who, action, there, named('alias/somebody-else')), false, action);
    }
    for (const action of ['ReplicateDelete', 'DeleteObject', 'PutObject'])
      assert.equal(await allows(who, `s3:${action}`, `${REPLICA}/prod/vault.json`), false, action);
  });
});
