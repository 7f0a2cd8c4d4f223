import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  CreateBucketCommand,
  GetObjectTaggingCommand,
  PutBucketLifecycleConfigurationCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { verifyLedger } from '#jobs/ledger-verify';
import { AgedWorld } from '#test/jobs/aged-world';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { errorXml, type FaultyS3, startFaultyS3 } from '#test/servers/faulty-s3';
import type { MemoryVault } from '#test/vault/memory-vault';
import { createVaultIdentity } from '#vault/identity';
import { PACE } from '#vault/s3-client';
import { S3Vault } from '#vault/s3-vault';

describe('retain in a bucket', () => {
  let s3: S3ForTests;
  let faulty: FaultyS3;
  let client: S3Client;
  before(async () => {
    s3 = await s3ForTests();
    faulty = await startFaultyS3(s3.endpoint);
    client = new S3Client({ endpoint: s3.endpoint, forcePathStyle: true, region: 'us-east-1', credentials: s3 });
  });
  after(async () => {
    client?.destroy();
    await faulty?.stop();
    await s3?.close();
  });

  async function bucketWorld(): Promise<{ world: AgedWorld; bucket: string; vault: S3Vault }> {
    faulty.onRequest(() => null);
    const bucket = `retain-${randomBytes(6).toString('hex')}`;
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
    const vault = new S3Vault({
      name: 'here',
      settings: { bucket, prefix: 'prod', region: null, endpoint: faulty.endpoint, credentials: s3, sse: null },
      pace: { ...PACE, attempts: 2, firstMs: 1, longestMs: 2 },
    });
    await createVaultIdentity(vault, { plan: 'aged', id: 'here', created: new Date('2020-01-01') });
    const world = new AgedWorld({ now: new Date().toISOString() });
    world.vaults.set('here', vault as unknown as MemoryVault);
    return { world, bucket, vault };
  }

  async function idsIn(vault: S3Vault): Promise<string[]> {
    const keys = await Array.fromAsync(vault.list('backups/app/'), ({ key }) => key);
    return keys.flatMap((key) => /([^/]+)\/manifest\.json$/.exec(key)?.[1] ?? []).sort();
  }

  test('I5: without a lifecycle it removes what is over, and verify accepts that', async () => {
    const { world, vault } = await bucketWorld();
    const full = await world.add(60);
    await world.add(59, { kind: 'differential', base: full });
    const kept = [await world.add(20), await world.add(1)];
    const ran = await world.retain();
    assert.deepEqual(ran.stopped, []);
    assert.deepEqual(await idsIn(vault), kept);
    const rest = await Array.fromAsync(vault.list('proofs/app/'), ({ key }) => key.split('/')[2]);
    assert.deepEqual(rest, kept);
    assert.deepEqual((await verifyLedger(vault, 'app')).findings, []);
  });

  test('I5, I14, peers 3I: a listing that answers 500, or half of itself, removes nothing and is told', async () => {
    const { world, vault } = await bucketWorld();
    const ids = [await world.add(60), await world.add(50), await world.add(1)];
    for (const prefix of ['backups/', 'backups/app/', 'proofs/app/', 'holds/app/', 'ledger/app/']) {
      for (const fault of [{ answer: { status: 500, body: errorXml('InternalError') } }, { cutBody: 150 }]) {
        let broken = 0;
        faulty.onRequest(({ query, method }) => {
          if (method !== 'GET' || !query.get('prefix')?.startsWith(`prod/${prefix}`)) return null;
          broken++;
          return fault;
        });
        const ran = await world.retain();
        faulty.onRequest(() => null);
        assert.ok(broken > 0, prefix);
        assert.equal(ran.stopped.length, 1, prefix);
        assert.match(ran.stopped[0]?.code ?? '', /^vault-/);
        assert.deepEqual(await idsIn(vault), ids, prefix);
      }
    }
  });

  test('I5: with a lifecycle rule it only marks, and deletes nothing', async () => {
    const { world, bucket, vault } = await bucketWorld();
    await client.send(
      new PutBucketLifecycleConfigurationCommand({
        Bucket: bucket,
        LifecycleConfiguration: {
          Rules: [
            {
              ID: 'app-daily',
              Status: 'Enabled',
              Expiration: { Days: 30 },
              Filter: { And: { Prefix: 'prod/backups/app/daily/', Tags: [{ Key: 'holdfast', Value: 'expired' }] } },
            },
          ],
        },
      }),
    );
    const [over, newest] = [await world.add(60), await world.add(1)];
    faulty.seen.length = 0;
    const ran = await world.retain();
    assert.deepEqual(ran.stopped, []);
    assert.deepEqual(
      ran.decisions.map(({ done }) => done),
      ['marked', null],
    );
    assert.deepEqual(await idsIn(vault), [over, newest]);
    assert.ok(!faulty.seen.some(({ method }) => method === 'DELETE'));
    const tags = async (id: string, name: string): Promise<string[]> => {
      const Key = `prod/backups/app/daily/${id}/${name}`;
      const { TagSet = [] } = await client.send(new GetObjectTaggingCommand({ Bucket: bucket, Key }));
      return TagSet.map((tag) => `${tag.Key}=${tag.Value}`);
    };
    for (const name of ['manifest.json', 'snapshot.db.zst']) {
      assert.deepEqual(await tags(over, name), ['holdfast=expired']);
      assert.deepEqual(await tags(newest, name), []);
    }
    assert.deepEqual((await verifyLedger(vault, 'app')).findings, []);
  });

  test('a marked backup that the bucket removes under the next night’s hands stops nothing', async () => {
    const { world, bucket } = await bucketWorld();
    const Filter = { And: { Prefix: 'prod/backups/app/daily/', Tags: [{ Key: 'holdfast', Value: 'expired' }] } };
    const Rules = [{ ID: 'app', Status: 'Enabled' as const, Expiration: { Days: 30 }, Filter }];
    await client.send(
      new PutBucketLifecycleConfigurationCommand({ Bucket: bucket, LifecycleConfiguration: { Rules } }),
    );
    const over = [await world.add(62), await world.add(61)];
    await world.add(1);
    await world.retain();
    let gone = 0;
    faulty.onRequest(({ query, path }) => {
      if (!query.has('tagging') || !path.includes(over[0] as string)) return null;
      gone++;
      return { answer: { status: 404, body: errorXml('NoSuchKey') } };
    });
    const ran = await world.retain();
    assert.ok(gone >= 2, 'each of its objects was looked at');
    assert.deepEqual(ran.stopped, []);
  });
});
