import { strict as assert } from 'node:assert';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  CreateBucketCommand,
  GetObjectTaggingCommand,
  ListObjectVersionsCommand,
  PutBucketLifecycleConfigurationCommand,
  PutObjectCommand,
  PutObjectRetentionCommand,
  PutObjectTaggingCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { keysOf } from '#test/contracts/vault';
import { type Ceph, startCeph } from '#test/servers/ceph';
import { until } from '#test/until';
import { PACE } from '#vault/s3-client';
import { S3Vault } from '#vault/s3-vault';

const BUCKET = 'expiring';
const PREFIX = 'prod/backups/events/daily/';
const DAY_MILLISECONDS = 1000;

/** On a gateway of its own: one round goes through the rules of all its buckets, and takes seconds where many have some. */
describe('what retention marks, the bucket itself removes', () => {
  let ceph: Ceph;
  let client: S3Client;
  before(async () => {
    ceph = await startCeph(mkdtempSync(join(tmpdir(), 'hf-c-')), { daySeconds: DAY_MILLISECONDS / 1000 });
    client = new S3Client({ endpoint: ceph.endpoint, forcePathStyle: true, region: 'us-east-1', credentials: ceph });
    await client.send(new CreateBucketCommand({ Bucket: BUCKET, ObjectLockEnabledForBucket: true }));
    const rule = {
      ID: 'marked',
      Status: 'Enabled' as const,
      Filter: { And: { Prefix: PREFIX, Tags: [{ Key: 'holdfast', Value: 'expired' }] } },
      Expiration: { Days: 1 },
      NoncurrentVersionExpiration: { NoncurrentDays: 1 },
    };
    await client.send(
      new PutBucketLifecycleConfigurationCommand({ Bucket: BUCKET, LifecycleConfiguration: { Rules: [rule] } }),
    );
  });
  after(async () => {
    client?.destroy();
    await ceph?.stop();
  });

  /** As many rounds of the rules as it takes. */
  function inTime(what: string, holds: () => Promise<boolean>): Promise<void> {
    const round = async (): Promise<boolean> => {
      await ceph.lifecycle(BUCKET);
      return holds();
    };
    return until(round, what, 60_000);
  }

  async function versionsOf(key: string): Promise<number> {
    const { Versions } = await client.send(new ListObjectVersionsCommand({ Bucket: BUCKET, Prefix: `prod/${key}` }));
    return Versions?.length ?? 0;
  }

  test('I5: what is marked goes after its days, what is not marked stays, and a locked object waits for its lock', async () => {
    const { endpoint } = ceph;
    const vault = new S3Vault({
      name: 'cloud',
      settings: { bucket: BUCKET, prefix: 'prod', region: null, endpoint, credentials: ceph, sse: null },
      pace: PACE,
    });
    const [old, kept, locked] = ['old', 'kept', 'locked'].map(
      (name) => `backups/events/daily/${name}/manifest.json`,
    ) as [string, string, string];
    for (const key of [old, kept]) await vault.putOnce(key, Buffer.from('{}'));
    const lockedKey = { Bucket: BUCKET, Key: `prod/${locked}` };
    const { VersionId } = await client.send(
      new PutObjectCommand({
        ...lockedKey,
        Body: '{}',
        ObjectLockMode: 'GOVERNANCE',
        ObjectLockRetainUntilDate: new Date(Date.now() + 86_400_000),
      }),
    );
    const oldKey = { Bucket: BUCKET, Key: `prod/${old}` };
    await client.send(new PutObjectTaggingCommand({ ...oldKey, Tagging: { TagSet: [{ Key: 'team', Value: 'a' }] } }));

    assert.equal(await vault.expiryMarks.covers('backups/events/daily/'), true);
    await vault.expiryMarks.mark([old, locked]);
    // Twice is as good as once.
    await vault.expiryMarks.mark([old]);
    const { TagSet } = await client.send(new GetObjectTaggingCommand(oldKey));
    assert.deepEqual(
      new Map(TagSet?.map((tag) => [tag.Key, tag.Value])),
      new Map([
        ['team', 'a'],
        ['holdfast', 'expired'],
      ]),
    );

    await inTime('the marked object to go', async () => (await versionsOf(old)) === 0);
    await inTime('the locked object to be hidden', async () => !(await keysOf(vault, 'backups/')).includes(locked));
    const hidden = performance.now();
    await inTime('its days to be over', async () => performance.now() > hidden + 2 * DAY_MILLISECONDS);
    assert.equal(await versionsOf(locked), 1, 'not gone before its lock ends');
    await client.send(
      new PutObjectRetentionCommand({
        ...lockedKey,
        VersionId,
        Retention: { Mode: 'GOVERNANCE', RetainUntilDate: new Date(Date.now() + 1000) },
        BypassGovernanceRetention: true,
      }),
    );
    await inTime('the locked object to go', async () => (await versionsOf(locked)) === 0);
    assert.deepEqual(await keysOf(vault, 'backups/'), [kept]);
  });
});
