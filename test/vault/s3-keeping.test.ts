import { strict as assert } from 'node:assert';
import { randomBytes } from 'node:crypto';
import { after, before, beforeEach, describe, test } from 'node:test';
import { CreateBucketCommand, GetObjectRetentionCommand, HeadObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { KeyMissing, VaultRefused } from '#core/errors';
import type { Lacking, ObjectLock } from '#core/ports';
import { inChunks, keysOf, never, rejects, toBuffer } from '#test/contracts/vault';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { errorXml, type FaultyS3, type Seen, startFaultyS3 } from '#test/servers/faulty-s3';
import { PACE } from '#vault/s3-client';
import { S3Vault } from '#vault/s3-vault';

const MIB = 1024 * 1024;
const DAY = 86_400_000;

describe('storage classes and locks of a bucket', () => {
  let s3: S3ForTests;
  let faulty: FaultyS3;
  let client: S3Client;
  let count = 0;
  const locked = `lock-${randomBytes(6).toString('hex')}`;
  before(async () => {
    s3 = await s3ForTests();
    faulty = await startFaultyS3(s3.endpoint);
    client = new S3Client({ endpoint: s3.endpoint, forcePathStyle: true, region: 'us-east-1', credentials: s3 });
    await client.send(new CreateBucketCommand({ Bucket: locked, ObjectLockEnabledForBucket: true }));
  });
  after(async () => {
    client?.destroy();
    await faulty?.stop();
    await s3?.close();
  });
  beforeEach(() => faulty.onRequest(() => null));

  function open(bucket: string): S3Vault {
    return new S3Vault({
      name: 'cloud',
      settings: { bucket, prefix: 'prod', region: null, endpoint: faulty.endpoint, credentials: s3, sse: null },
      limits: { partBytes: 5 * MIB, partsPerVolume: 4 },
      pace: { ...PACE, attempts: 2, firstMs: 1, longestMs: 2 },
    });
  }
  const fresh = (): string => `backups/app/daily/${++count}`;
  const lock = (days: number): ObjectLock => ({ mode: 'governance', until: new Date(Date.now() + days * DAY) });
  async function retentionOf(key: string) {
    const place = { Bucket: locked, Key: `prod/${key}` };
    return (await client.send(new GetObjectRetentionCommand(place))).Retention;
  }

  test('small and multipart objects are locked until the day they were promised', async () => {
    const vault = open(locked);
    const folder = fresh();
    const keep = { lock: lock(30), onLess: () => assert.fail('nothing is left out') };
    const signal = never();
    await vault.store(folder, 'small', inChunks(randomBytes(1000)), { signal, ...keep });
    await vault.store(folder, 'large', inChunks(randomBytes(7 * MIB)), { signal, ...keep });
    await vault.putOnce(`${folder}/manifest.json`, Buffer.from('{}'), keep);
    for (const name of ['small', 'large', 'manifest.json']) {
      const retention = await retentionOf(`${folder}/${name}`);
      assert.equal(retention?.Mode, 'GOVERNANCE');
      assert.equal(retention?.RetainUntilDate?.getTime(), keep.lock.until.getTime());
    }
    // Records that are written again and again have none.
    await vault.putAgain('leases/app/backup/0000000001.beat.json', Buffer.from('{}'));
    const beat = { Bucket: locked, Key: 'prod/leases/app/backup/0000000001.beat.json' };
    assert.equal((await client.send(new HeadObjectCommand(beat))).ObjectLockMode, undefined);
  });

  test('a lock is made longer, never shorter, and no compliance becomes governance', async () => {
    const vault = open(locked);
    const key = `${fresh()}/manifest.json`;
    await vault.putOnce(key, Buffer.from('{}'), { lock: { ...lock(30), mode: 'compliance' } });
    await vault.keeping.extendLock([key], lock(20));
    const before = await retentionOf(key);
    assert.ok((before?.RetainUntilDate?.getTime() ?? 0) > Date.now() + 29 * DAY);
    const longer = lock(60);
    await vault.keeping.extendLock([key], longer);
    const after = await retentionOf(key);
    assert.equal(after?.Mode, 'COMPLIANCE');
    assert.equal(after?.RetainUntilDate?.getTime(), longer.until.getTime());
    const bare = `${fresh()}/manifest.json`;
    await vault.putOnce(bare, Buffer.from('{}'));
    assert.equal(await vault.keeping.lockedUntil(bare), null);
    assert.deepEqual(await vault.keeping.lockedUntil(key), longer.until);
    await vault.keeping.extendLock([bare], longer);
    assert.equal((await retentionOf(bare))?.Mode, 'GOVERNANCE');
    const none = 'backups/app/daily/none/manifest.json';
    await rejects(vault.keeping.extendLock([none], longer), KeyMissing);
    await rejects(vault.keeping.lockedUntil(none), KeyMissing);
  });

  test('a store that knows no such class, or a bucket without Object Lock, stores all the same and says what it left out', async () => {
    const vault = open(s3.bucket);
    for (const size of [1000, 7 * MIB]) {
      const said: Lacking[] = [];
      const folder = fresh();
      const bytes = randomBytes(size);
      const keep = { storageClass: 'infrequent' as const, lock: lock(30), onLess: (less: Lacking) => said.push(less) };
      await vault.store(folder, 'x', inChunks(bytes), { signal: never(), ...keep });
      assert.deepEqual(said.map(({ part }) => part).sort(), ['class', 'lock']);
      assert.ok((await toBuffer(await vault.open(`${folder}/x`))).equals(bytes));
    }
    const lacking = await vault.keeping.lacking({ storageClass: 'archive-instant', lock: lock(30) });
    const said = lacking.map(({ what }) => what).join(' and ');
    assert.match(said, /no Object Lock.*governance.*no class GLACIER_IR/);
    assert.deepEqual(await open(locked).keeping.lacking({ lock: lock(30) }), []);
    assert.ok(!(await keysOf(vault, 'backups/')).some((key) => key.includes('.check')));
  });

  test('AWS names a class it does not know; a lock it refuses is left out, and the class stays', async () => {
    const said: string[] = [];
    const sent: Seen[] = [];
    const isPut = (seen: Seen): boolean => seen.method === 'PUT';
    faulty.onRequest((seen) => {
      // The bucket's configuration may not be read: the put itself tells.
      if (seen.query.has('object-lock')) return { answer: { status: 403, body: errorXml('AccessDenied') } };
      if (!isPut(seen)) return null;
      sent.push(seen);
      if (seen.headers['x-amz-object-lock-mode'])
        return {
          answer: { status: 400, body: errorXml('InvalidRequest', 'Bucket is missing Object Lock Configuration') },
        };
      if (seen.headers['x-amz-storage-class'] === 'GLACIER_IR')
        return { answer: { status: 400, body: errorXml('InvalidStorageClass') } };
      return { answer: { status: 200, headers: { etag: '"d41d8cd98f00b204e9800998ecf8427e"' } } };
    });
    const vault = open(s3.bucket);
    const onLess = ({ part }: Lacking): void => void said.push(part);
    await vault.putOnce('backups/a', Buffer.from('{}'), { storageClass: 'infrequent', lock: lock(30), onLess });
    assert.deepEqual(said, ['lock']);
    assert.equal(sent.at(-1)?.headers['x-amz-storage-class'], 'STANDARD_IA');
    await vault.putOnce('backups/b', Buffer.from('{}'), { storageClass: 'archive-instant', onLess });
    assert.deepEqual(said, ['lock', 'class']);
    assert.equal(sent.at(-1)?.headers['x-amz-storage-class'], undefined);
  });

  test('a put that is refused for want of rights is an error, not a put with less', async () => {
    faulty.onRequest((seen) =>
      seen.method === 'PUT' ? { answer: { status: 403, body: errorXml('AccessDenied') } } : null,
    );
    const keep = { storageClass: 'infrequent' as const, onLess: () => assert.fail('nothing was stored') };
    await rejects(open(s3.bucket).putOnce('backups/c', Buffer.from('{}'), keep), VaultRefused);
  });
});
