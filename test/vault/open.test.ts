import { strict as assert } from 'node:assert';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { PlanInvalid, UsageError, VariableMissing } from '#core/errors';
import { createProcesses } from '#host/processes';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { createVaultIdentity, readVaultIdentity } from '#vault/identity';
import { openVault, openVaultUrl } from '#vault/open';

describe('vaults are opened as the plan or a URL names them', () => {
  let place: string;
  let s3: S3ForTests;
  const processes = createProcesses(process.env, new AbortController().signal, null);
  const reveal = (text: string): string =>
    text.replace(/\$\{(\w+)\}/g, (_, name: string) => {
      if (name === 'KEY') return s3.accessKeyId;
      if (name === 'SECRET') return s3.secretAccessKey;
      throw new VariableMissing(`\${${name}} is not in the environment`);
    });
  const deps = () => ({ reveal, processes, baseDirectory: place });
  const made = { plan: 'plan', id: 'id', created: new Date() };

  before(async () => {
    place = await mkdtemp(join(tmpdir(), 'holdfast-open-'));
    s3 = await s3ForTests();
  });
  after(async () => {
    await s3?.close();
    await rm(place, { recursive: true, force: true });
  });

  test('a relative directory is one beside the plan, and a path or file URL opens the same vault', async () => {
    const vault = openVault('ssd', { disk: './backups' }, deps());
    assert.equal(vault.name, 'ssd');
    assert.equal(vault.url, join(place, 'backups'));
    await createVaultIdentity(vault, made);
    for (const url of ['backups', './backups', join(place, 'backups'), pathToFileURL(join(place, 'backups')).href]) {
      const same = openVaultUrl(url, deps());
      assert.equal(same.url, vault.url);
      assert.equal((await readVaultIdentity(same, null)).plan, 'plan');
    }
  });

  test('a bucket of the plan and the same one by URL and environment are one vault, keys never in its address', async () => {
    const settings = {
      s3: s3.bucket,
      prefix: '/prod/a/',
      endpoint: s3.endpoint,
      accessKeyId: '${KEY}',
      secretAccessKey: '${SECRET}',
    };
    const vault = openVault('cloud', settings, deps());
    assert.equal(vault.url, `s3://${s3.bucket}/prod/a`);
    await createVaultIdentity(vault, made);
    const environment = {
      AWS_ACCESS_KEY_ID: s3.accessKeyId,
      AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
      AWS_ENDPOINT_URL_S3: s3.endpoint,
    };
    const byUrl = openVaultUrl(`s3://${s3.bucket}/prod/a`, { ...deps(), environment });
    assert.equal((await readVaultIdentity(byUrl, null)).id, 'id');
    const elsewhere = openVaultUrl(`s3://${s3.bucket}/prod`, { ...deps(), environment });
    await assert.rejects(readVaultIdentity(elsewhere, null), /not mounted, or not a vault/);
  });

  test('what a vault cannot do is known before it is asked', () => {
    const on = (settings: Parameters<typeof openVault>[1]) => openVault('v', settings, deps()).features;
    assert.equal(on({ s3: 'bucket' }).conditionalMultipart, true);
    assert.equal(on({ s3: 'bucket', endpoint: 'https://store.example.com' }).conditionalMultipart, false);
    assert.equal(on({ s3: 'bucket' }).knowsSpace, false);
    assert.equal(on({ s3: 'bucket', capacity: 5 }).knowsSpace, true);
    assert.equal(on({ disk: 'x' }).serverChecksum, false);
  });

  test('one key without the other, a missing variable and an odd prefix are errors of the plan', () => {
    assert.throws(() => openVault('v', { s3: 'bucket', accessKeyId: 'x' }, deps()), PlanInvalid);
    assert.throws(
      () => openVault('v', { s3: 'bucket', accessKeyId: '${NOPE}', secretAccessKey: 'x' }, deps()),
      VariableMissing,
    );
    for (const prefix of ['../other', 'a//b', 'a/./b', 'a\\b', 'a\nb', 'x'.repeat(300)])
      assert.throws(() => openVault('v', { s3: 'bucket', prefix }, deps()), PlanInvalid, prefix);
  });

  test('a URL that is none is refused with what is wanted, without what may be a password in it', () => {
    for (const url of [
      '',
      's3://',
      's3://x',
      'ftp://user:hush@host/x',
      'https://example.com/bucket',
      's3://bucket/../x',
    ])
      assert.throws(
        () => openVaultUrl(url, deps()),
        (error) => error instanceof UsageError && !error.message.includes('hush'),
        url,
      );
  });
});
