import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { REGION } from '#test/cloud/cloud-plan';
import { type Permissions, permissionsOf } from '#test/cloud/permissions';
import { ACCOUNT, resolverOf } from '#test/cloud/resolve';
import { type Resource, resourcesOf, type Synthesised, synthesise, type Template } from '#test/cloud/synthesised';

/** As many as the largest plan that the templates are held to; one of them is a machine's. */
const MANY = Array.from({ length: 18 }, (_, index) => `db${index}`);
const MOST_RESOURCES = 400;

const PLAN = `version: 1
name: shop
encryption:
  recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
  identity: { env: HOLDFAST_IDENTITY }
vaults:
  cloud: { s3: shop-backups, region: ${REGION}, prefix: prod, replica: { vault: far } }
  far:   { s3: shop-far, region: eu-west-1, existing: true, lock: governance, replica: { vault: space } }
  space: { s3: shop, endpoint: "https://sgp1.example.com", accessKeyId: "\${SPACE_KEY}", secretAccessKey: "\${SPACE_SECRET}" }
  alone: { s3: shop-alone, region: ${REGION} }
tiers: { daily: { keep: 30d } }
sources:
  events: { postgres: { url: "\${DATABASE_URL}", version: 16 }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }] }
  tree:   { files: { paths: [x] }, schedule: [{ cron: "0 3 * * *", tier: daily, to: [cloud] }] }
  single: { redis: { url: "\${REDIS_URL}" }, schedule: [{ cron: "0 3 * * *", tier: daily, to: [alone] }] }
${MANY.map((name) => `  ${name}: { redis: { url: "\${URL_${name.toUpperCase()}}" }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [cloud] }] }`).join('\n')}
cloud: { region: ${REGION}, workers: { default: { cpu: 4, memory: 16GiB, scratch: 200GiB } } }
`;

const NAME = 'task events replicate';
const ID = '20261121T020000Z-7f3a';
const near = (key: string): string => `arn:aws:s3:::shop-backups/prod/${key}`;
const far = (key: string): string => `arn:aws:s3:::shop-far/${key}`;
const artifact = `backups/events/daily/${ID}/database.dump.zst.age`;
const others = `backups/db0/daily/${ID}/redis.rdb.zst.age`;
const CREATE = { 's3:if-none-match': '*', 's3:ObjectCreationOperation': 'true' };

type Row = readonly [what: string, action: string, resource: string, context?: Record<string, string>];

const MUST: readonly Row[] = [
  ['reads sealed bytes of the first vault', 's3:GetObject', near(artifact)],
  ['reads whose proofs they have', 's3:GetObject', near(`proofs/events/${ID}/x-proven.json`)],
  ['reads what was given up', 's3:GetObject', near('ledger/events/0000000001.json')],
  ['reads the plan of then', 's3:GetObject', near(`plans/${'0'.repeat(64)}.yaml`)],
  ['lists the source', 's3:ListBucket', 'arn:aws:s3:::shop-backups', { 's3:prefix': 'prod/backups/events/' }],
  ['sees whose vault it is', 's3:GetObject', far('vault.json')],
  ['asks for the vault’s time', 's3:ListBucket', 'arn:aws:s3:::shop-far', { 's3:prefix': 'vault.json' }],
  ['looks for a plan', 's3:ListBucket', 'arn:aws:s3:::shop-far', { 's3:prefix': `plans/${'0'.repeat(64)}.yaml` }],
  ['puts copies into the second', 's3:PutObject', far(artifact)],
  ['takes an upload back', 's3:AbortMultipartUpload', far(artifact)],
  ['locks them as the plan says', 's3:PutObjectRetention', far(artifact)],
  ['compares what a stopped copy left', 's3:GetObject', far(artifact)],
  ['puts proofs, entries and leases', 's3:PutObject', far(`proofs/events/${ID}/x-proven.json`)],
  ['tells the ledger', 's3:PutObject', far('ledger/events/0000000001.json')],
  ['beats its lease', 's3:PutObject', far('leases/events/replicate/0000000001.beat.json')],
];

const MUST_NOT: readonly Row[] = [
  ['writes into the vault it copies from', 's3:PutObject', near(artifact), CREATE],
  ['tells that vault’s ledger anything', 's3:PutObject', near('ledger/events/0000000001.json'), CREATE],
  ['reads another source', 's3:GetObject', near(others)],
  ['writes another source', 's3:PutObject', far(others)],
  ['lists another source', 's3:ListBucket', 'arn:aws:s3:::shop-backups', { 's3:prefix': 'prod/backups/db0/' }],
  ['lists the whole vault', 's3:ListBucket', 'arn:aws:s3:::shop-far', { 's3:prefix': '' }],
  ['makes a vault', 's3:PutObject', far('vault.json')],
  ['writes a runbook', 's3:PutObject', far('RUNBOOK.md')],
  ['reads another vault', 's3:GetObject', 'arn:aws:s3:::shop-alone/vault.json'],
  ['deletes', 's3:DeleteObject', far(artifact)],
  ['deletes a version', 's3:DeleteObjectVersion', far(artifact)],
  ['lifts a lock', 's3:BypassGovernanceRetention', far(artifact)],
  ['marks', 's3:PutObjectTagging', far(artifact)],
  [
    'I7: reads a secret by itself',
    'secretsmanager:GetSecretValue',
    `arn:aws:secretsmanager:${REGION}:${ACCOUNT}:secret:holdfast/shop/SPACE_KEY-AbCdEf`,
  ],
];

describe('tasks that copy', () => {
  let folder: string;
  let synthesised: Synthesised;
  let permissions: Permissions;
  let work: Template;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hf-plan-'));
    const file = join(folder, 'holdfast.yaml');
    writeFileSync(file, PLAN);
    synthesised = synthesise(file);
    permissions = permissionsOf(synthesised, 'shop', REGION);
    work = synthesised.templates.get('shop-work') as Template;
  });
  after(() => {
    synthesised.close();
    rmSync(folder, { recursive: true, force: true });
  });

  function definitions(): ReadonlyMap<string, Record<string, unknown>> {
    const { value } = resolverOf(synthesised.templates, 'shop-work', REGION);
    const all = resourcesOf(work, 'AWS::ECS::TaskDefinition').map(
      ([, { Properties }]: readonly [string, Resource]) => value(Properties) as Record<string, unknown>,
    );
    return new Map(all.map((one) => [String(one['Family']), one]));
  }

  test('each source with a second bucket has one, a machine’s too; twenty of them stay under 400 resources', () => {
    const families = [...definitions().keys()].filter((family) => family.endsWith('-replicate'));
    assert.deepEqual(families.sort(), ['events', 'tree', ...MANY].map((source) => `shop-${source}-replicate`).sort());
    assert.ok(!definitions().has('shop-tree-backup'));
    const resources = Object.keys(work.Resources).length;
    assert.ok(resources < MOST_RESOURCES, `${resources} resources`);
  });

  test('I7, I9: it is given the keys of the vaults, and neither the database’s password nor the identity', () => {
    for (const source of ['events', 'tree']) {
      const definition = definitions().get(`shop-${source}-replicate`);
      assert.ok(definition);
      const [container] = definition['ContainerDefinitions'] as [
        { readonly Secrets: readonly { readonly Name: string }[] },
      ];
      assert.deepEqual(
        container.Secrets.map(({ Name }) => Name),
        ['SPACE_KEY', 'SPACE_SECRET'],
      );
    }
  });

  test('I8: bytes stream through it: it is small, whatever the source’s workers are', () => {
    const { Cpu, Memory, EphemeralStorage } = definitions().get('shop-events-replicate') ?? {};
    assert.deepEqual([Cpu, Memory, EphemeralStorage], ['1024', '2048', undefined]);
  });

  for (const [what, action, resource, context = CREATE] of MUST)
    test(`the ${NAME} ${what}`, async () => {
      assert.equal(await permissions.allows(NAME, action, resource, context), true);
    });

  for (const [what, action, resource, context = CREATE] of MUST_NOT)
    test(`never: the ${NAME} ${what}`, async () => {
      assert.equal(await permissions.allows(NAME, action, resource, context), false);
    });

  test('start-job starts it and passes its role; the function replicate asks start-job, and starts nothing itself', async () => {
    const family = `arn:aws:ecs:${REGION}:${ACCOUNT}:task-definition/shop-events-replicate:3`;
    const onCluster = { 'ecs:cluster': `arn:aws:ecs:${REGION}:${ACCOUNT}:cluster/holdfast-shop` };
    const ask = `arn:aws:lambda:${REGION}:${ACCOUNT}:function:shop-start-job`;
    const toEcs = { 'iam:PassedToService': 'ecs-tasks.amazonaws.com' };
    assert.equal(await permissions.allows('function start-job', 'ecs:RunTask', family, onCluster), true);
    assert.equal(await permissions.allows('function start-job', 'iam:PassRole', permissions.roleOf(NAME), toEcs), true);
    assert.equal(await permissions.allows('function replicate', 'lambda:InvokeFunction', ask), true);
    assert.equal(await permissions.allows('function replicate', 'ecs:RunTask', family, onCluster), false);
  });
});
