import { strict as assert } from 'node:assert';
import { after, before, describe, test } from 'node:test';
import {
  GetObjectTaggingCommand,
  type LifecycleRule,
  PutBucketLifecycleConfigurationCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { VaultRefused } from '#core/errors';
import { rejects } from '#test/contracts/vault';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { errorXml, type FaultyS3, startFaultyS3 } from '#test/servers/faulty-s3';
import { PACE } from '#vault/s3-client';
import { S3Vault } from '#vault/s3-vault';

const TAG = { Key: 'holdfast', Value: 'expired' };

describe('the marks of retention, and which rules of a bucket heed them', () => {
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

  function open(bucket: string, prefix = 'prod', endpoint = s3.endpoint): S3Vault {
    return new S3Vault({
      name: 'cloud',
      settings: { bucket, prefix, region: null, endpoint, credentials: s3, sse: null },
      pace: { ...PACE, attempts: 2, firstMs: 1, longestMs: 2 },
    });
  }

  async function rules(bucket: string, ...given: Partial<LifecycleRule>[]): Promise<void> {
    const whole = given.map((rule, index) => ({
      ID: `rule-${index}`,
      Status: 'Enabled' as const,
      Expiration: { Days: 1 },
      ...rule,
    }));
    await client.send(
      new PutBucketLifecycleConfigurationCommand({ Bucket: bucket, LifecycleConfiguration: { Rules: whole } }),
    );
  }

  const marked = (prefix: string): Partial<LifecycleRule> => ({ Filter: { And: { Prefix: prefix, Tags: [TAG] } } });

  test('a bucket without lifecycle rules covers nothing', async () => {
    assert.equal(await open(s3.bucket).expiryMarks.covers('backups/events/daily/'), false);
  });

  const table: readonly [string, Partial<LifecycleRule>, boolean][] = [
    ['its own prefix and the mark', marked('prod/backups/events/daily/'), true],
    ['a shorter prefix and the mark', marked('prod/'), true],
    ['the mark alone', { Filter: { Tag: TAG } }, true],
    ['another tier', marked('prod/backups/events/weekly/'), false],
    ['another vault of the bucket', marked('test/backups/events/daily/'), false],
    ['the prefix and no mark: it would end what nobody marked', { Filter: { Prefix: 'prod/' } }, false],
    ['another tag', { Filter: { And: { Prefix: 'prod/', Tags: [{ Key: 'team', Value: 'a' }] } } }, false],
    [
      'the mark and one tag more, which our objects lack',
      { Filter: { And: { Prefix: 'prod/', Tags: [TAG, { Key: 'team', Value: 'a' }] } } },
      false,
    ],
    ['the right one, switched off', { ...marked('prod/'), Status: 'Disabled' }, false],
  ];
  for (const [name, rule, covers] of table)
    test(`a rule with ${name} ${covers ? 'covers' : 'does not cover'} a tier's backups`, async () => {
      const bucket = await s3.another();
      await rules(bucket, { Filter: { Prefix: 'elsewhere/' } }, rule);
      assert.equal(await open(bucket).expiryMarks.covers('backups/events/daily/'), covers);
    });

  test('a rule as AWS tells it, and one with a least size, which would leave manifests for ever', async () => {
    const vault = open(s3.bucket, 'prod', faulty.endpoint);
    const rule = (filter: string): string =>
      `<LifecycleConfiguration><Rule><ID>a</ID><Status>Enabled</Status><Filter><And><Prefix>prod/backups/</Prefix>${filter}<Tag><Key>holdfast</Key><Value>expired</Value></Tag></And></Filter><Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>`;
    faulty.onRequest(() => ({ answer: { status: 200, body: rule('') } }));
    assert.equal(await vault.expiryMarks.covers('backups/events/daily/'), true);
    const sized = rule('<ObjectSizeGreaterThan>131072</ObjectSizeGreaterThan>');
    faulty.onRequest(() => ({ answer: { status: 200, body: sized } }));
    assert.equal(await vault.expiryMarks.covers('backups/events/daily/'), false);
  });

  test('I14: "may not be asked" is not "has no rule"; a store without lifecycle has none', async () => {
    const vault = open(s3.bucket, 'prod', faulty.endpoint);
    faulty.onRequest(() => ({ answer: { status: 403, body: errorXml('AccessDenied') } }));
    const refused = await rejects(vault.expiryMarks.covers('backups/events/daily/'), VaultRefused);
    assert.match(refused.hint ?? '', /s3:GetLifecycleConfiguration/);
    faulty.onRequest(() => ({ answer: { status: 501, body: errorXml('NotImplemented') } }));
    assert.equal(await vault.expiryMarks.covers('backups/events/daily/'), false);
  });

  test('what the bucket has removed meanwhile needs no mark, and what comes after it gets one', async () => {
    const vault = open(s3.bucket, 'meanwhile');
    const there = Array.from({ length: 12 }, (_, index) => `backups/${index}`);
    for (const key of there) await vault.putOnce(key, Buffer.from(key));
    await vault.expiryMarks.mark(['backups/gone', ...there.slice(0, 6), 'backups/gone-too', ...there.slice(6)]);
    for (const key of there) {
      const Key = `meanwhile/${key}`;
      const { TagSet } = await client.send(new GetObjectTaggingCommand({ Bucket: s3.bucket, Key }));
      assert.deepEqual(TagSet, [TAG]);
    }
  });

  test('what may not be marked is an error', async () => {
    const vault = open(s3.bucket);
    await vault.putOnce('backups/a', Buffer.from('a'));
    faulty.onRequest((seen) =>
      seen.method === 'PUT' ? { answer: { status: 403, body: errorXml('AccessDenied') } } : null,
    );
    const refused = await rejects(
      open(s3.bucket, 'prod', faulty.endpoint).expiryMarks.mark(['backups/a']),
      VaultRefused,
    );
    assert.match(refused.hint ?? '', /s3:PutObjectTagging/);
  });
});
