import { strict as assert } from 'node:assert';
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3';
import { never, vaultContract } from '#test/contracts/vault';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { PACE, type S3Pace } from '#vault/s3-client';
import { UPLOAD_LIMITS } from '#vault/s3-upload';
import { S3Vault, type S3VaultOptions } from '#vault/s3-vault';

const MIB = 1024 * 1024;
/** The smallest parts that S3 allows. */
const LIMITS = { partBytes: 5 * MIB, partsPerVolume: 2 };
/** As in life, but nobody waits. */
const QUICK: S3Pace = { ...PACE, firstMs: 1, longestMs: 4, connectMs: 1000, idleMs: 5000 };

let s3: S3ForTests;
before(async () => {
  s3 = await s3ForTests();
});
after(() => s3?.close());

function open(bucket: string, options: Partial<S3VaultOptions> = {}, endpoint = s3.endpoint, prefix = 'prod'): S3Vault {
  return new S3Vault({
    name: 'cloud',
    settings: { bucket, prefix, region: null, endpoint, credentials: s3, sse: null },
    limits: LIMITS,
    pace: QUICK,
    ...options,
  });
}

async function uploadsIn(bucket: string): Promise<string[]> {
  const client = new S3Client({ endpoint: s3.endpoint, forcePathStyle: true, region: 'us-east-1', credentials: s3 });
  const { Uploads } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
  client.destroy();
  return (Uploads ?? []).map(({ Key }) => Key ?? '');
}

async function kit(options: Partial<S3VaultOptions> = {}, prefix = 'prod', manyKeys = 2500) {
  const bucket = await s3.another();
  return {
    vault: open(bucket, options, s3.endpoint, prefix),
    again: () => open(bucket, options, s3.endpoint, prefix),
    missing: () => open('no-such-bucket', options),
    // Port 9 (discard) is closed on every machine that has no such daemon.
    unreachable: async () => open(bucket, options, 'http://127.0.0.1:9'),
    leftovers: () => uploadsIn(bucket),
    volumeBytes: LIMITS.partBytes * LIMITS.partsPerVolume,
    manyKeys,
    close: async () => {},
  };
}

vaultContract('an S3 vault', kit);
vaultContract('an S3 vault at the root of a bucket whose server tells no checksums', () =>
  kit({ features: { serverChecksum: false }, capacity: 1e12, pageKeys: 100 }, '', 250),
);

test('I8: an artifact of any length is held in memory three parts at a time', async () => {
  const vault = open(await s3.another(), { limits: UPLOAD_LIMITS });
  // The SDK's own memory is no part of the count.
  await vault.putOnce('vault.json', Buffer.from('{}'));
  const chunk = randomBytes(64 * 1024);
  let most = 0;
  const before = process.memoryUsage().arrayBuffers;
  const source = Readable.from(
    (function* () {
      for (let sent = 0; sent < 200 * MIB; sent += chunk.length) {
        most = Math.max(most, process.memoryUsage().arrayBuffers - before);
        yield chunk;
      }
    })(),
    { objectMode: false },
  );
  const [volume] = await vault.store('backups/a', 'x', source, { signal: never() });
  assert.equal(volume?.bytes, 200 * MIB);
  assert.ok(most < 64 * MIB, `${most} bytes`);
});
