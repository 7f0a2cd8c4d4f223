import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CLOUD_PLAN, REGION } from '#test/cloud/cloud-plan';
import { type Permissions, permissionsOf } from '#test/cloud/permissions';
import { ACCOUNT } from '#test/cloud/resolve';
import { type Synthesised, synthesise } from '#test/cloud/synthesised';

const at = (key: string): string => `arn:aws:s3:::shop-backups/prod/${key}`;
const BUCKET = 'arn:aws:s3:::shop-backups';
const ID = '20261121T020000Z-7f3a';
const ARTIFACT = at(`backups/events/daily/${ID}/database.dump.zst.age`);
const MANIFEST = at(`backups/events/daily/${ID}/manifest.json`);
/** A create-only put, as every one of ours is. */
const CREATE = { 's3:if-none-match': '*', 's3:ObjectCreationOperation': 'true' };
const OVERWRITE = { 's3:ObjectCreationOperation': 'true' };
const MARK = { 's3:RequestObjectTag/holdfast': 'expired', 's3:RequestObjectTagKeys': ['holdfast'] };

type Row = readonly [
  who: string,
  what: string,
  action: string,
  resource: string,
  context: Record<string, string | string[]>,
];

const MUST: readonly Row[] = [
  ['task events backup', 'puts its artifact', 's3:PutObject', ARTIFACT, CREATE],
  ['task events backup', 'puts its manifest', 's3:PutObject', MANIFEST, CREATE],
  ['task events backup', 'writes its ledger', 's3:PutObject', at('ledger/events/0000000001.json'), CREATE],
  [
    'task events backup',
    'beats its lease, again and again',
    's3:PutObject',
    at('leases/events/backup/0000000001.beat.json'),
    OVERWRITE,
  ],
  ['task events backup', 'reads manifests', 's3:GetObject', MANIFEST, {}],
  ['task events backup', 'reads who holds the lease', 's3:GetObject', at('leases/events/backup/0000000001.json'), {}],
  ['task events backup', 'sees whose vault it is', 's3:GetObject', at('vault.json'), {}],
  ['task events backup', 'lists its own names', 's3:ListBucket', BUCKET, { 's3:prefix': 'prod/backups/events/daily/' }],
  ['task events backup', 'asks for the vault’s time', 's3:ListBucket', BUCKET, { 's3:prefix': 'prod/vault.json' }],
  ['task events prove', 'asks for the vault’s time', 's3:ListBucket', BUCKET, { 's3:prefix': 'prod/vault.json' }],
  ['task events prove', 'reads the artifact', 's3:GetObject', ARTIFACT, {}],
  ['task events prove', 'puts a proof', 's3:PutObject', at(`proofs/events/${ID}/x-proven.json`), CREATE],
  ['function retain', 'marks what is given up', 's3:PutObjectTagging', ARTIFACT, MARK],
  ['function retain', 'reads manifests', 's3:GetObject', MANIFEST, {}],
  ['function retain', 'writes the ledger first', 's3:PutObject', at('ledger/events/0000000009.json'), CREATE],
  ['function replicate', 'reads sealed bytes', 's3:GetObject', ARTIFACT, {}],
  ['function replicate', 'puts copies', 's3:PutObject', ARTIFACT, CREATE],
  [
    'function start-job',
    'starts a task of this plan',
    'ecs:RunTask',
    `arn:aws:ecs:${REGION}:${ACCOUNT}:task-definition/shop-events-backup:7`,
    { 'ecs:cluster': `arn:aws:ecs:${REGION}:${ACCOUNT}:cluster/holdfast-shop` },
  ],
  [
    'function watch',
    'stops a task of this cluster',
    'ecs:StopTask',
    `arn:aws:ecs:${REGION}:${ACCOUNT}:task/holdfast-shop/0123`,
    { 'ecs:cluster': `arn:aws:ecs:${REGION}:${ACCOUNT}:cluster/holdfast-shop` },
  ],
  ['function watch', 'tells', 'sns:Publish', `arn:aws:sns:${REGION}:${ACCOUNT}:shop-critical`, {}],
  ['function finish-job', 'tells', 'sns:Publish', `arn:aws:sns:${REGION}:${ACCOUNT}:shop-high`, {}],
  ['function watch', 'sees what the bucket ends by itself', 's3:GetLifecycleConfiguration', BUCKET, {}],
  ['restorer', 'sees how the bucket is set up', 's3:GetBucketPolicy', BUCKET, {}],
  ['restorer', 'sees what it ends by itself', 's3:GetLifecycleConfiguration', BUCKET, {}],
  ['restorer', 'reads the artifact', 's3:GetObject', ARTIFACT, {}],
  ['restorer', 'lists everything', 's3:ListBucket', BUCKET, { 's3:prefix': '' }],
];

const MUST_NOT: readonly Row[] = [
  ['task events backup', 'I9: reads an artifact', 's3:GetObject', ARTIFACT, {}],
  ['task events backup', 'overwrites an artifact', 's3:PutObject', ARTIFACT, OVERWRITE],
  [
    'task events backup',
    'I3: overwrites a ledger entry',
    's3:PutObject',
    at('ledger/events/0000000001.json'),
    OVERWRITE,
  ],
  [
    'task events backup',
    'writes another source’s backups',
    's3:PutObject',
    at(`backups/cache/daily/${ID}/redis.rdb.zst.age`),
    CREATE,
  ],
  ['task events backup', 'reads another source’s ledger', 's3:GetObject', at('ledger/cache/0000000001.json'), {}],
  [
    'task events backup',
    'lists another source’s backups',
    's3:ListBucket',
    BUCKET,
    { 's3:prefix': 'prod/backups/cache/' },
  ],
  ['task events backup', 'lists the whole vault', 's3:ListBucket', BUCKET, { 's3:prefix': 'prod/' }],
  [
    'task events backup',
    'puts a proof of its own work',
    's3:PutObject',
    at(`proofs/events/${ID}/x-proven.json`),
    CREATE,
  ],
  ['task events backup', 'marks a backup as expired', 's3:PutObjectTagging', ARTIFACT, MARK],
  [
    'task events backup',
    'writes outside of the vault’s prefix',
    's3:PutObject',
    'arn:aws:s3:::shop-backups/other/backups/events/x',
    CREATE,
  ],
  ['task events prove', 'writes a backup', 's3:PutObject', ARTIFACT, CREATE],
  [
    'task events prove',
    'reads another source’s backups',
    's3:GetObject',
    at(`backups/cache/daily/${ID}/redis.rdb.zst.age`),
    {},
  ],
  [
    'function retain',
    'sets another tag',
    's3:PutObjectTagging',
    ARTIFACT,
    { 's3:RequestObjectTag/mine': 'x', 's3:RequestObjectTagKeys': ['mine'] },
  ],
  [
    'function retain',
    'sets another value',
    's3:PutObjectTagging',
    ARTIFACT,
    { 's3:RequestObjectTag/holdfast': 'kept', 's3:RequestObjectTagKeys': ['holdfast'] },
  ],
  [
    'function retain',
    'sets a second tag beside its own',
    's3:PutObjectTagging',
    ARTIFACT,
    { ...MARK, 's3:RequestObjectTagKeys': ['holdfast', 'mine'] },
  ],
  ['function retain', 'reads an artifact', 's3:GetObject', ARTIFACT, {}],
  ['function retain', 'writes a backup', 's3:PutObject', ARTIFACT, CREATE],
  [
    'function retain',
    'locks anything in a vault without lock',
    's3:PutObjectRetention',
    ARTIFACT,
    { 's3:object-lock-mode': 'GOVERNANCE', 's3:object-lock-remaining-retention-days': '1' },
  ],
  ['function watch', 'reads an artifact', 's3:GetObject', ARTIFACT, {}],
  ['function watch', 'marks a backup as expired', 's3:PutObjectTagging', ARTIFACT, MARK],
  [
    'function watch',
    'stops a task of another cluster',
    'ecs:StopTask',
    `arn:aws:ecs:${REGION}:${ACCOUNT}:task/other/0123`,
    { 'ecs:cluster': `arn:aws:ecs:${REGION}:${ACCOUNT}:cluster/other` },
  ],
  [
    'function start-job',
    'starts a task that is not of this plan',
    'ecs:RunTask',
    `arn:aws:ecs:${REGION}:${ACCOUNT}:task-definition/admin:1`,
    { 'ecs:cluster': `arn:aws:ecs:${REGION}:${ACCOUNT}:cluster/holdfast-shop` },
  ],
  [
    'function start-job',
    'starts a task on another cluster',
    'ecs:RunTask',
    `arn:aws:ecs:${REGION}:${ACCOUNT}:task-definition/shop-events-backup:7`,
    { 'ecs:cluster': `arn:aws:ecs:${REGION}:${ACCOUNT}:cluster/other` },
  ],
  [
    'function start-job',
    'passes somebody else’s role',
    'iam:PassRole',
    `arn:aws:iam::${ACCOUNT}:role/admin`,
    { 'iam:PassedToService': 'ecs-tasks.amazonaws.com' },
  ],
  [
    'function start-job',
    'I7: reads a secret’s value',
    'secretsmanager:GetSecretValue',
    `arn:aws:secretsmanager:${REGION}:${ACCOUNT}:secret:holdfast/shop/DATABASE_URL-AbCdEf`,
    {},
  ],
  ['function send-alert', 'reads the vault', 's3:GetObject', MANIFEST, {}],
  ['task events backup', 'reads how the bucket is set up', 's3:GetBucketPolicy', BUCKET, {}],
  ['function watch', 'reads the bucket’s policy', 's3:GetBucketPolicy', BUCKET, {}],
  ['restorer', 'writes', 's3:PutObject', ARTIFACT, CREATE],
  ['restorer', 'marks a backup as expired', 's3:PutObjectTagging', ARTIFACT, MARK],
];

const EVERYBODY = [
  'task events backup',
  'task events prove',
  'task cache backup',
  'task cache prove',
  'execution',
  'restorer',
  ...['start-job', 'finish-job', 'watch', 'retain', 'replicate', 'send-alert'].map((host) => `function ${host}`),
];

describe('least privilege, by simulation over the synthesised policies', () => {
  let folder: string;
  let synthesised: Synthesised;
  let permissions: Permissions;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hf-plan-'));
    const file = join(folder, 'holdfast.yaml');
    writeFileSync(file, CLOUD_PLAN);
    synthesised = synthesise(file);
    permissions = permissionsOf(synthesised, 'shop', REGION);
  });
  after(() => {
    synthesised.close();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const [who, what, action, resource, context] of MUST)
    test(`the ${who} ${what}`, async () => {
      assert.equal(await permissions.allows(who, action, resource, context), true);
    });

  for (const [who, what, action, resource, context] of MUST_NOT)
    test(`never: the ${who} ${what}`, async () => {
      assert.equal(await permissions.allows(who, action, resource, context), false);
    });

  for (const who of EVERYBODY)
    test(`never: the ${who} deletes an object or a version, lifts a lock, or changes the bucket`, async () => {
      for (const [action, resource] of [
        ['s3:DeleteObject', ARTIFACT],
        ['s3:DeleteObjectVersion', ARTIFACT],
        ['s3:BypassGovernanceRetention', ARTIFACT],
        ['s3:DeleteBucket', BUCKET],
        ['s3:PutLifecycleConfiguration', BUCKET],
        ['s3:PutBucketPolicy', BUCKET],
        ['s3:PutBucketVersioning', BUCKET],
        ['s3:PutEncryptionConfiguration', BUCKET],
        ['s3:PutBucketPublicAccessBlock', BUCKET],
        ['s3:PutBucketObjectLockConfiguration', BUCKET],
        ['s3:PutReplicationConfiguration', BUCKET],
      ] as const)
        assert.equal(await permissions.allows(who, action, resource), false, action);
    });

  test('start-job passes exactly the roles of its tasks, and to ECS alone', async () => {
    for (const who of [
      'task events backup',
      'task events prove',
      'task cache backup',
      'task cache prove',
      'execution',
    ]) {
      const role = permissions.roleOf(who);
      const to = (service: string) =>
        permissions.allows('function start-job', 'iam:PassRole', role, { 'iam:PassedToService': service });
      assert.equal(await to('ecs-tasks.amazonaws.com'), true, who);
      assert.equal(await to('lambda.amazonaws.com'), false, who);
    }
  });
});
