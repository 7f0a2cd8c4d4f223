import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import {
  DeleteBucketLifecycleCommand,
  type LifecycleRule,
  PutBucketLifecycleConfigurationCommand,
  PutBucketPolicyCommand,
  PutBucketVersioningCommand,
  PutPublicAccessBlockCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { bucketPolicy } from '#core/bucket-policy';
import { bucketRules } from '#core/bucket-rules';
import { READING_RIGHTS } from '#core/bucket-settings';
import { loadPlan } from '#core/plan-load';
import type { CheckLine } from '#core/ports';
import { checkBuckets, type LiveBucket } from '#jobs/check-buckets';
import { lookAtVault } from '#jobs/vault-look';
import { AgedWorld } from '#test/jobs/aged-world';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { errorXml, type FaultyS3, type Seen, startFaultyS3 } from '#test/servers/faulty-s3';
import type { MemoryVault } from '#test/vault/memory-vault';
import { createVaultIdentity } from '#vault/identity';
import { PACE } from '#vault/s3-client';
import { S3Vault } from '#vault/s3-vault';

/** What the gateway cannot be given: an algorithm by default. As AWS answers. */
const ENCRYPTED =
  '<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>';
const PARTS = ['lifecycle', 'versioning', 'policy', 'object-lock', 'encryption', 'publicAccessBlock', 'replication'];

describe('check looks at how a bucket is set up', () => {
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
  beforeEach(() =>
    faulty.onRequest(({ query }) => (query.has('encryption') ? { answer: { status: 200, body: ENCRYPTED } } : null)),
  );

  /** A bucket of the plan's. The gateway stands for AWS where the plan names no endpoint. */
  async function bucketOf(more = '', deployed = 'cloud: { region: eu-north-1 }'): Promise<Place> {
    const bucket = await s3.another();
    const world = new AgedWorld();
    const text = `version: 1
name: shop
encryption: none
vaults: { cloud: { s3: ${bucket}, prefix: prod, region: eu-north-1${more} } }
tiers: { daily: { keep: 30d }, yearly: { keep: forever, class: deep-archive } }
sources:
  app: { sqlite: { file: a.db }, schedule: [{ cron: "0 2 * * *", tiers: [daily, yearly], to: [cloud] }] }
${deployed}
`;
    world.plan = loadPlan(text, 'holdfast.yaml');
    const vault = new S3Vault({
      name: 'cloud',
      settings: { bucket, prefix: 'prod', region: null, endpoint: faulty.endpoint, credentials: s3, sse: null },
      pace: { ...PACE, attempts: 2, firstMs: 1, longestMs: 2 },
    });
    world.vaults.set('cloud', vault as unknown as MemoryVault);
    return new Place(world, bucket, client);
  }

  test('a bucket as it was made is wrong in all that the plan wants, each with what to do', async () => {
    const place = await bucketOf(', existing: true');
    const lines = await place.check();
    const wrong = lines.filter(({ ok }) => ok === false).map(({ message }) => message);
    assert.equal(wrong.length, 5, JSON.stringify(wrong));
    for (const said of [
      /no rule ends what retention marks in prod\/backups\/app\/daily\/: nothing of app\/daily is removed/,
      /versioning is off/,
      /lets a writer overwrite what is in backups\/, logs\/, proofs\/, ledger\//,
      /without TLS/,
      /public is not kept out/,
    ])
      assert.ok(
        wrong.some((message) => said.test(message)),
        String(said),
      );
    assert.ok(lines.every(({ name, hint }) => name === 'vault cloud' && hint));
  });

  test('with the plan’s rules, policy and versions put, it is all as the plan wants it', async () => {
    const place = await bucketOf(', existing: true');
    await place.putAll();
    const [line, ...more] = await place.check();
    assert.deepEqual(more, []);
    assert.equal(line?.ok, true);
    assert.match(line?.message ?? '', /as the plan wants it: lifecycle, versioning, policy/);
  });

  const drift: readonly (readonly [string, (rules: LifecycleRule[]) => LifecycleRule[], RegExp])[] = [
    [
      'I5: widened, and without the mark',
      (rules) => rules.map((rule) => (rule.ID === 'app-daily' ? { ...rule, Filter: { Prefix: 'prod/' } } : rule)),
      /rule "app-daily" \(prod\/\) ends backups after 30 days that nobody gave up/,
    ],
    [
      'I5: added for the whole bucket',
      (rules) => [...rules, { ID: 'tidy', Status: 'Enabled', Filter: { Prefix: '' }, Expiration: { Days: 90 } }],
      /rule "tidy" \(the whole bucket\) ends backups after 90 days/,
    ],
    [
      'with other days',
      (rules) => rules.map((rule) => (rule.ID === 'app-daily' ? { ...rule, Expiration: { Days: 7 } } : rule)),
      /after 7 days, the plan keeps it 30 days/,
    ],
    ['removed', (rules) => rules.filter(({ ID }) => ID !== 'app-daily'), /no rule ends what retention marks/],
    [
      'switched off',
      (rules) => rules.map((rule) => (rule.ID === 'app-daily' ? { ...rule, Status: 'Disabled' } : rule)),
      /no rule ends what retention marks/,
    ],
  ];
  for (const [what, change, said] of drift)
    test(`a deployed rule that somebody has changed, ${what}, is wrong`, async () => {
      const place = await bucketOf();
      await place.putAll();
      assert.deepEqual(
        (await place.check()).map(({ ok }) => ok),
        [true],
      );
      await place.putRules(change(place.rules()));
      const wrong = (await place.check()).filter(({ ok }) => ok === false);
      assert.ok(
        wrong.some(({ message }) => said.test(message)),
        JSON.stringify(wrong),
      );
    });

  test('versions suspended, and a policy that somebody took away', async () => {
    const place = await bucketOf();
    await place.putAll();
    await place.putVersioning('Suspended');
    const [line, how, ...more] = await place.check();
    assert.deepEqual(more, []);
    assert.match(line?.message ?? '', /versioning is suspended/);
    assert.match(how?.message ?? '', /in one thing$/);
    assert.match(how?.hint ?? '', /--bucket-rules/);
  });

  test('I14: what may not be looked at is named by its right, and nothing is said to be fine', async () => {
    const place = await bucketOf();
    await place.putAll();
    faulty.onRequest(({ query }) =>
      PARTS.some((part) => query.has(part)) ? { answer: { status: 403, body: errorXml('AccessDenied') } } : null,
    );
    const [line, ...more] = await place.check();
    assert.deepEqual(more, []);
    assert.equal(line?.ok, null);
    for (const right of Object.values(READING_RIGHTS)) assert.match(line?.message ?? '', new RegExp(right));
    assert.match(line?.message ?? '', /could not look/);
  });

  test('without a deployment the bucket is advised about, and a right to look that is lacking is a note', async () => {
    const place = await bucketOf('', '');
    const lines = await place.check();
    assert.ok(lines.length > 3, JSON.stringify(lines));
    assert.ok(
      lines.every(({ ok }) => ok),
      JSON.stringify(lines),
    );
    faulty.onRequest(({ query }) =>
      PARTS.some((part) => query.has(part)) ? { answer: { status: 403, body: errorXml('AccessDenied') } } : null,
    );
    const [line, ...more] = await place.check();
    assert.deepEqual(more, []);
    assert.equal(line?.ok, true);
    assert.match(line?.message ?? '', /could not look/);
  });

  test('I14: one right that is lacking hides nothing of the rest', async () => {
    const place = await bucketOf();
    await place.putAll();
    await place.putVersioning('Suspended');
    faulty.onRequest(({ query }) => {
      if (query.has('encryption')) return { answer: { status: 200, body: ENCRYPTED } };
      return query.has('lifecycle') ? { answer: { status: 403, body: errorXml('AccessDenied') } } : null;
    });
    const lines = await place.check();
    assert.deepEqual(
      lines.map(({ ok }) => ok),
      [false, true, null],
    );
    assert.match(lines[2]?.message ?? '', /may not s3:GetLifecycleConfiguration$/);
  });

  test('a call that the store does not know is told as not looked at', async () => {
    const place = await bucketOf();
    await place.putAll();
    faulty.onRequest(({ query }) =>
      query.has('encryption') || query.has('publicAccessBlock')
        ? { answer: { status: 501, body: errorXml('NotImplemented') } }
        : null,
    );
    const lines = await place.check();
    assert.deepEqual(
      lines.map(({ ok }) => ok),
      [null],
    );
    assert.match(
      lines[0]?.message ?? '',
      /could not look at its encryption, block of public access: the store does not/,
    );
  });

  test('I14: a store that fails, or a policy that nobody can read, is one line that says so', async () => {
    const place = await bucketOf();
    faulty.onRequest(() => ({ answer: { status: 403, body: errorXml('InvalidAccessKeyId') } }));
    const [refused, ...more] = await place.check();
    assert.deepEqual([refused?.ok, more], [false, []]);
    assert.match(refused?.hint ?? '', /accessKeyId/);
    const answers = [
      () => ({ answer: { status: 503, body: errorXml('ServiceUnavailable') } }),
      ({ query }: Seen) => (query.has('policy') ? { answer: { status: 200, body: '{"Statement": 7}' } } : null),
    ];
    for (const answer of answers) {
      faulty.onRequest(answer);
      const [line, ...rest] = await place.check();
      assert.deepEqual([line?.ok, rest], [false, []]);
      assert.match(line?.message ?? '', /^could not look at how its bucket is set up: /);
    }
    faulty.onRequest(() => ({ answer: { status: 404, body: errorXml('NoSuchBucket') } }));
    assert.deepEqual(await place.check(), [], 'the vault’s own line tells that there is no bucket');
  });

  test('another provider’s bucket: no rules are fine, rules for marks too, and the one that ends backups is wrong', async () => {
    const place = await bucketOf(', endpoint: "https://s3.example.com"');
    const oks = async (): Promise<(boolean | null)[]> => (await place.check()).map(({ ok }) => ok);
    faulty.seen.length = 0;
    assert.deepEqual(await oks(), [true]);
    assert.ok(faulty.seen.every(({ query }) => !query.has('policy') && !query.has('encryption')));
    await place.putRules(place.rules());
    assert.deepEqual(await oks(), [true]);
    const wide = {
      ID: 'tidy',
      Status: 'Enabled',
      Filter: { Prefix: 'prod/backups/' },
      Expiration: { Days: 90 },
    } as const;
    await place.putRules([...place.rules(), wide]);
    const [line] = await place.check();
    assert.equal(line?.ok, false);
    assert.match(line?.message ?? '', /rule "tidy"/);
    await client.send(new DeleteBucketLifecycleCommand({ Bucket: place.bucket }));
    faulty.onRequest(() => ({ answer: { status: 501, body: errorXml('NotImplemented') } }));
    assert.deepEqual(await oks(), [], 'a store without a lifecycle ends nothing');
    faulty.onRequest(() => ({ answer: { status: 403, body: errorXml('AccessDenied') } }));
    const [unseen] = await place.check();
    assert.match(unseen?.message ?? '', /could not look .* s3:GetLifecycleConfiguration/);
    assert.equal(unseen?.ok, true, 'whoever only backs up need not be allowed to');
    assert.match(unseen?.hint ?? '', /allow/);
  });

  test('I5: watch and status see the rule that ends backups; what they may not look at is no alarm, and ends none', async () => {
    const place = await bucketOf(', endpoint: "https://s3.example.com"');
    await place.putIdentity();
    assert.deepEqual(await place.endingRules(), []);
    const tidy = { ID: 'tidy', Status: 'Enabled', Filter: { Prefix: 'prod/' }, Expiration: { Days: 9 } } as const;
    await place.putRules([...place.rules(), tidy]);
    assert.deepEqual(await place.endingRules(), ['rule "tidy" (prod/)']);
    for (const status of [403, 500, 501]) {
      faulty.onRequest(({ query }) =>
        query.has('lifecycle') ? { answer: { status, body: errorXml(status === 403 ? 'AccessDenied' : 'X') } } : null,
      );
      assert.equal(await place.endingRules(), null, String(status));
    }
  });

  test('who asks gets the bucket as it was found', async () => {
    const place = await bucketOf();
    await place.putRules([{ ID: 'theirs', Status: 'Enabled', Filter: { Prefix: 'x/' }, Expiration: { Days: 1 } }]);
    const found: LiveBucket[] = [];
    await place.check((live) => found.push(live));
    const lifecycle = found[0]?.settings.lifecycle;
    assert.ok(lifecycle && 'value' in lifecycle);
    assert.deepEqual(
      lifecycle.value.rules.map(({ ID }) => ID),
      ['theirs'],
    );
  });
});

class Place {
  readonly bucket: string;
  readonly #world: AgedWorld;
  readonly #client: S3Client;

  constructor(world: AgedWorld, bucket: string, client: S3Client) {
    this.bucket = bucket;
    this.#world = world;
    this.#client = client;
  }

  async check(onLooked?: (live: LiveBucket) => void): Promise<CheckLine[]> {
    return Array.fromAsync(checkBuckets(['cloud'], this.#world.environment, onLooked));
  }

  async putIdentity(): Promise<void> {
    const vault = this.#world.vault('cloud');
    await createVaultIdentity(vault, { plan: 'shop', id: 'cloud', created: new Date('2026-01-01') });
  }

  /** As the watch finds them. */
  async endingRules(): Promise<readonly string[] | null | undefined> {
    const { problem, endingRules } = await lookAtVault('cloud', [], false, this.#world.environment);
    assert.equal(problem, null);
    return endingRules;
  }

  rules(): LifecycleRule[] {
    return bucketRules(this.#world.plan.plan, 'cloud') as LifecycleRule[];
  }

  async putRules(rules: readonly LifecycleRule[]): Promise<void> {
    await this.#client.send(
      new PutBucketLifecycleConfigurationCommand({
        Bucket: this.bucket,
        LifecycleConfiguration: { Rules: [...rules] },
      }),
    );
  }

  async putVersioning(Status: 'Enabled' | 'Suspended'): Promise<void> {
    await this.#client.send(
      new PutBucketVersioningCommand({ Bucket: this.bucket, VersioningConfiguration: { Status } }),
    );
  }

  async putAll(): Promise<void> {
    const Bucket = this.bucket;
    await this.putRules(this.rules());
    await this.putVersioning('Enabled');
    const Statement = bucketPolicy({ bucket: Bucket, roots: ['prod/'], region: 'eu-north-1' });
    await this.#client.send(
      new PutBucketPolicyCommand({ Bucket, Policy: JSON.stringify({ Version: '2012-10-17', Statement }) }),
    );
    const PublicAccessBlockConfiguration = {
      BlockPublicAcls: true,
      IgnorePublicAcls: true,
      BlockPublicPolicy: true,
      RestrictPublicBuckets: true,
    };
    await this.#client.send(new PutPublicAccessBlockCommand({ Bucket, PublicAccessBlockConfiguration }));
  }
}
