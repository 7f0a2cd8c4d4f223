import { Stack, type StackProps, Tags } from 'aws-cdk-lib';
import { AccountPrincipal, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import type { Bucket, CfnBucket, IBucket } from 'aws-cdk-lib/aws-s3';
import type { Construct } from 'constructs';
import { accessLogs, backupBucket, KEPT_ONCE_MADE } from '#cloud/kept-bucket';
import type { S3VaultSettings } from '#cloud/vault-bucket';
import { REPLICATION_RULE, replicaBucketName, replicaKeyAlias, replicationRoleName } from '#core/bucket-replication';
import type { Plan } from '#core/plan';

/** A vault whose copies S3 makes by itself. */
export interface ReplicatedVault {
  readonly vault: string;
  readonly settings: S3VaultSettings;
  readonly region: string;
  readonly account: string | null;
}

export function replicatedVaults(vaults: readonly (readonly [string, S3VaultSettings])[]): readonly ReplicatedVault[] {
  return vaults.flatMap(([vault, settings]) =>
    settings.replica?.region
      ? [{ vault, settings, region: settings.replica.region, account: settings.replica.account ?? null }]
      : [],
  );
}

export interface ReplicaStackProps extends StackProps {
  readonly plan: Plan;
  readonly replicated: ReplicatedVault;
  /** The account that replicates into it; null: this one. */
  readonly from: string | null;
}

/** The second bucket: another region or account, a key and a lifecycle of its own, there when the first region is gone. */
export class ReplicaStack extends Stack {
  constructor(scope: Construct, id: string, { plan, replicated, from, ...props }: ReplicaStackProps) {
    super(scope, id, { ...props, terminationProtection: true });
    const { vault, settings } = replicated;
    const key = new Key(this, 'Key', {
      alias: replicaKeyAlias(plan, vault),
      description: `Holdfast ${plan.name}: replica of ${vault}`,
      enableKeyRotation: true,
      removalPolicy: KEPT_ONCE_MADE,
    });
    // Its lifecycle is its own: S3 does not replicate what lifecycle deletes. The marks that the rules ask for, it does.
    const bucket = backupBucket(this, {
      plan,
      vault,
      name: replicaBucketName(settings),
      locked: settings.lock !== undefined,
      key,
      logs: accessLogs(this),
    });
    if (from !== null) admit(bucket, key, from, `arn:aws:iam::${from}:role/${replicationRoleName(plan, vault)}`);
    Tags.of(this).add('holdfast:plan', plan.name);
  }
}

/** Another account's role, by a condition: a principal that does not exist yet would be refused. */
function admit(bucket: Bucket, key: Key, account: string, role: string): void {
  const conditions = { ArnEquals: { 'aws:PrincipalArn': role } };
  const principals = [new AccountPrincipal(account)];
  bucket.addToResourcePolicy(
    new PolicyStatement({
      sid: 'Replication',
      principals,
      actions: ['s3:ReplicateObject', 's3:ReplicateTags', 's3:ObjectOwnerOverrideToBucketOwner'],
      resources: [bucket.arnForObjects('*')],
      conditions,
    }),
  );
  key.addToResourcePolicy(
    new PolicyStatement({
      sid: 'Replication',
      principals,
      actions: ['kms:Encrypt', 'kms:GenerateDataKey'],
      resources: ['*'],
      conditions,
    }),
  );
}

/**
 * By S3 alone, and by the key's name: its ARN is another stack's, in another region. Who writes wants GenerateDataKey
 * beside Encrypt: with a bucket key, S3 makes that first.
 */
export function replicaKeyUse(
  actions: readonly ('kms:Encrypt' | 'kms:GenerateDataKey' | 'kms:Decrypt')[],
  plan: Plan,
  { vault, region }: ReplicatedVault,
  account: string,
): PolicyStatement {
  return new PolicyStatement({
    actions: [...actions],
    resources: [`arn:aws:kms:${region}:${account}:key/*`],
    conditions: {
      'ForAnyValue:StringEquals': { 'kms:ResourceAliases': replicaKeyAlias(plan, vault) },
      StringEquals: { 'kms:ViaService': `s3.${region}.amazonaws.com` },
    },
  });
}

export interface ReplicationProps {
  readonly plan: Plan;
  readonly replicated: ReplicatedVault;
  readonly bucket: IBucket;
  /** Null: the bucket is adopted. What it replicates, its owner says (`core/bucket-files`), and opens a key of its own. */
  readonly key: Key | null;
  /** Null: the account that is deployed into. */
  readonly account: string | null;
}

/**
 * S3's own replication of one bucket. Written on the resource itself: the L2 wants the destination's key as an object
 * of a stack in another region. Deletions are not replicated, and the role could not.
 */
export function replicate(scope: Construct, { plan, replicated, bucket, key, account }: ReplicationProps): void {
  const stack = Stack.of(scope);
  const { vault, settings, region } = replicated;
  const there = replicated.account ?? account ?? stack.account;
  const destination = `arn:aws:s3:::${replicaBucketName(settings)}`;
  const role = new Role(scope, `Replication-${vault}`, {
    roleName: replicationRoleName(plan, vault),
    assumedBy: new ServicePrincipal('s3.amazonaws.com'),
  });
  const allow = (actions: string[], resources: string[], conditions = {}): void => {
    role.addToPolicy(new PolicyStatement({ actions, resources, conditions }));
  };
  allow(['s3:GetReplicationConfiguration', 's3:ListBucket'], [bucket.bucketArn]);
  allow(
    [
      's3:GetObjectVersionForReplication',
      's3:GetObjectVersionAcl',
      's3:GetObjectVersionTagging',
      's3:GetObjectRetention',
      's3:GetObjectLegalHold',
    ],
    [bucket.arnForObjects('*')],
  );
  allow(['s3:ReplicateObject', 's3:ReplicateTags', 's3:ObjectOwnerOverrideToBucketOwner'], [`${destination}/*`]);
  if (key)
    allow(['kms:Decrypt'], [key.keyArn], { StringEquals: { 'kms:ViaService': `s3.${stack.region}.amazonaws.com` } });
  role.addToPolicy(replicaKeyUse(['kms:Encrypt', 'kms:GenerateDataKey'], plan, replicated, there));
  if (!key) return;
  const resource = bucket.node.defaultChild as CfnBucket;
  resource.replicationConfiguration = {
    role: role.roleArn,
    rules: [
      {
        id: REPLICATION_RULE,
        status: 'Enabled',
        priority: 1,
        filter: { prefix: '' },
        deleteMarkerReplication: { status: 'Disabled' },
        sourceSelectionCriteria: { sseKmsEncryptedObjects: { status: 'Enabled' } },
        destination: {
          bucket: destination,
          ...(replicated.account === null
            ? {}
            : { account: replicated.account, accessControlTranslation: { owner: 'Destination' } }),
          encryptionConfiguration: {
            replicaKmsKeyId: `arn:aws:kms:${region}:${there}:${replicaKeyAlias(plan, vault)}`,
          },
          metrics: { status: 'Enabled', eventThreshold: { minutes: 15 } },
        },
      },
    ],
  };
}
