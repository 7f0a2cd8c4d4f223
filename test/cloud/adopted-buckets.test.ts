import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  GetBucketLifecycleConfigurationCommand,
  PutBucketLifecycleConfigurationCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { App } from 'aws-cdk-lib';
import { VaultStack } from '#cloud/vault-stack';
import { replicationOf } from '#core/bucket-replication';
import { bucketRules } from '#core/bucket-rules';
import { READING_RIGHTS } from '#core/bucket-settings';
import { loadPlan } from '#core/plan-load';
import { Place } from '#test/cli/holdfast';
import { REGION } from '#test/cloud/cloud-plan';
import { lifecycleRules } from '#test/cloud/lifecycle-rules';
import { resourcesOf, synthesise, type Template } from '#test/cloud/synthesised';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';

const AWS = fileURLToPath(new URL('../servers/aws-s3api.ts', import.meta.url));

interface Ended {
  readonly code: number;
  readonly said: string;
}

function planOf(bucket: string, more = ''): string {
  return `version: 1
name: shop
encryption: none
vaults: { cloud: { s3: ${bucket}, prefix: prod, region: ${REGION}, existing: true }${more} }
tiers: { daily: { keep: 30d }, monthly: { keep: 12mo, class: archive, after: 45d }, config: { keep: { versions: 10 }, every: 1h } }
sources:
  app: { sqlite: { file: app.db }, schedule: [{ cron: "0 2 * * *", tiers: [daily, monthly], to: [cloud] }] }
  conf: { files: { paths: [conf] }, schedule: [{ every: 1h, tier: config, to: [cloud] }] }
`;
}

describe('a bucket of somebody’s own', () => {
  let s3: S3ForTests;
  let client: S3Client;
  let folder: string;
  let place: Place;
  before(async () => {
    s3 = await s3ForTests();
    client = new S3Client({ endpoint: s3.endpoint, forcePathStyle: true, region: 'us-east-1', credentials: s3 });
    folder = mkdtempSync(join(tmpdir(), 'hf-adopted-'));
    writeFileSync(
      join(folder, 'aws'),
      `#!/bin/sh\nexec '${process.execPath}' --disable-warning=ExperimentalWarning '${AWS}' "$@"\n`,
      { mode: 0o755 },
    );
    place = new Place({
      AWS_ENDPOINT_URL_S3: s3.endpoint,
      AWS_ACCESS_KEY_ID: s3.accessKeyId,
      AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
    });
  });
  after(async () => {
    place?.remove();
    rmSync(folder, { recursive: true, force: true });
    client?.destroy();
    await s3?.close();
  });

  function put(script: string): Promise<Ended> {
    const environment = {
      PATH: `${folder}:${process.env['PATH']}`,
      AWS_ENDPOINT_URL_S3: s3.endpoint,
      AWS_ACCESS_KEY_ID: s3.accessKeyId,
      AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
      NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
    };
    return new Promise((resolve) =>
      execFile('sh', [script], { env: environment, cwd: tmpdir() }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), said: `${stdout}${stderr}` }),
      ),
    );
  }

  const wrong = async (): Promise<string[]> => {
    const ran = await place.run('check', '--json');
    const { checks } = ran.json().result as { checks: { name: string; ok: boolean | null; message: string }[] };
    // The gateway can be given no algorithm, and is reached without TLS, which is denied in the end.
    const gateway = /encrypts by default|ignores If-None-Match|leases\/\.check .* AccessDenied/;
    return checks.flatMap(({ name, ok, message }) =>
      name === 'vault cloud' && ok === false && !gateway.test(message) ? [message] : [],
    );
  };

  test('synthesis writes what it has to be given, and says so; put once, check finds nothing more, and it replaces nothing', async () => {
    const bucket = await s3.another();
    place.write('holdfast.yaml', planOf(bucket));
    mkdirSync(place.path('conf'), { recursive: true });
    await place.run('check', '--create');
    assert.equal((await wrong()).length, 7);
    const text = planOf(bucket, `, copy: { s3: shop-made, region: ${REGION} }`).replaceAll('[cloud]', '[cloud, copy]');
    place.write('deployed.yaml', text);
    const made = synthesise(place.path('deployed.yaml'), { region: REGION });
    try {
      const template = made.templates.get('shop-vault');
      assert.ok(template);
      const buckets = new Map(
        resourcesOf(template, 'AWS::S3::Bucket').map(([, { Properties }]) => [Properties?.['BucketName'], Properties]),
      );
      assert.ok(!buckets.has(bucket));
      const configuration = buckets.get('shop-made')?.['LifecycleConfiguration'];
      assert.deepEqual(
        JSON.parse(JSON.stringify(lifecycleRules(configuration))),
        bucketRules(loadPlan(text, 'deployed.yaml').plan, 'copy'),
        'what is deployed is what check compares with',
      );
      assert.deepEqual(readdirSync(join(made.directory, 'buckets')), [bucket]);
      const readers = resourcesOf(made.templates.get('shop-work') as Template, 'AWS::IAM::ManagedPolicy').filter(
        ([, { Properties }]) =>
          Object.values(READING_RIGHTS).every((right) => JSON.stringify(Properties).includes(`"${right}"`)),
      );
      assert.deepEqual(
        readers.map(([, { Properties }]) => Properties?.['ManagedPolicyName']),
        ['shop-machine-keeper'],
        'who only writes need not know how the bucket is set up',
      );
      assert.match(
        made.lines.join('\n'),
        new RegExp(`bucket ${bucket} is yours \\(existing: true\\).*: sh \\S+/put.sh`),
      );
      const script = join(made.directory, 'buckets', bucket, 'put.sh');
      assert.deepEqual(readdirSync(dirname(script)).sort(), ['lifecycle.json', 'policy.json', 'put.sh']);
      const ran = await put(script);
      assert.equal(ran.code, 0, ran.said);
      assert.deepEqual(await wrong(), []);
      const again = await put(script);
      assert.equal(again.code, 1, 'it replaces nothing');
      assert.match(again.said, /has a policy already, and this would replace all of it: nothing was changed/);
    } finally {
      made.close();
    }
  });

  test('with a replica: the deployment makes the role and the second bucket’s rights, and leaves the first one alone', () => {
    const text = planOf('shop-backups').replace('existing: true', 'existing: true, replica: { region: eu-west-1 }');
    const app = new App({ outdir: join(folder, 'replicated') });
    const { plan } = loadPlan(text, 'holdfast.yaml');
    new VaultStack(app, 'shop-vault', { plan, env: { region: REGION } });
    app.synth();
    const read = readFileSync(join(folder, 'replicated', 'shop-vault.template.json'), 'utf8');
    const template = JSON.parse(read) as Template;
    assert.doesNotMatch(read, /"BucketName":"?shop-backups"/);
    assert.equal(resourcesOf(template, 'AWS::S3::Bucket').length, 1, 'of the access logs');
    const roles = resourcesOf(template, 'AWS::IAM::Role').map(([, { Properties }]) => Properties?.['RoleName']);
    const { Role } = replicationOf(plan, 'cloud') as { Role: string };
    assert.deepEqual(
      roles.map((name) => `arn:aws:iam::ACCOUNT:role/${name}`),
      [Role],
    );
    assert.match(read, /arn:aws:s3:::shop-backups-replica\/\*/);
  });

  test('I5: with rules of its own: check --bucket-rules merges them, and leaves out what ends backups', async () => {
    const bucket = await s3.another();
    place.write('holdfast.yaml', planOf(bucket));
    await place.run('check', '--create');
    const Rules = [
      { ID: 'theirs', Status: 'Enabled' as const, Filter: { Prefix: 'logs/' }, Expiration: { Days: 90 } },
      { ID: 'tidy', Status: 'Enabled' as const, Filter: { Prefix: '' }, Expiration: { Days: 365 } },
    ];
    const names = async (): Promise<(string | undefined)[]> => {
      const reply = await client.send(new GetBucketLifecycleConfigurationCommand({ Bucket: bucket }));
      return (reply.Rules ?? []).map(({ ID }) => ID).sort();
    };
    await client.send(
      new PutBucketLifecycleConfigurationCommand({ Bucket: bucket, LifecycleConfiguration: { Rules } }),
    );
    assert.ok((await wrong()).some((message) => /rule "tidy" .* ends backups after 365 days/.test(message)));

    const told = await place.run('check', '--bucket-rules', 'rules');
    assert.equal(told.code, 1);
    assert.match(told.stdout, /left out of its rules, .*: rule "tidy" \(the whole bucket\)/);
    const script = place.path('rules', bucket, 'put.sh');
    const ran = await put(script);
    assert.equal(ran.code, 0, ran.said);
    assert.deepEqual(await wrong(), []);
    const after = await names();
    assert.ok(after.includes('theirs') && !after.includes('tidy'));
    const kept = JSON.parse(readFileSync(place.path('rules', bucket, 'lifecycle.before.json'), 'utf8'));
    assert.deepEqual(kept.Rules.map(({ ID }: { ID: string }) => ID).sort(), ['theirs', 'tidy']);
  });
});
