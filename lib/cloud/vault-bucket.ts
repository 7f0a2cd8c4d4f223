import { RemovalPolicy } from 'aws-cdk-lib';
import { AnyPrincipal, Effect, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import {
  BlockPublicAccess,
  Bucket,
  BucketEncryption,
  type IBucket,
  ObjectOwnership,
  PartitionDateSource,
  TargetObjectKeyFormat,
  TransitionDefaultMinimumObjectSize,
} from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import { lifecycleOf, writeSizesAsText } from '#cloud/vault-lifecycle';
import { NOT_CREATE_ONLY, WRITE_ONCE } from '#core/bucket-policy';
import type { Plan, VaultSettings } from '#core/plan';

export type S3VaultSettings = Extract<VaultSettings, { s3: string }>;

export interface VaultBucketProps {
  readonly plan: Plan;
  readonly vault: string;
  readonly settings: S3VaultSettings;
  readonly key: IKey;
  readonly logs: IBucket;
}

/** A bucket in which nothing is ever overwritten, and nobody deletes: lifecycle alone does, what retain has marked. */
export class VaultBucket extends Construct {
  readonly bucket: Bucket;

  constructor(scope: Construct, id: string, { plan, vault, settings, key, logs }: VaultBucketProps) {
    super(scope, id);
    const lifecycleRules = lifecycleOf(plan, vault);
    this.bucket = new Bucket(this, 'Bucket', {
      bucketName: settings.s3,
      versioned: true,
      ...(settings.lock ? { objectLockEnabled: true } : {}),
      encryption: BucketEncryption.KMS,
      encryptionKey: key,
      bucketKeyEnabled: true,
      enforceSSL: true,
      minimumTLSVersion: 1.2,
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      objectOwnership: ObjectOwnership.BUCKET_OWNER_ENFORCED,
      serverAccessLogsBucket: logs,
      serverAccessLogsPrefix: `${vault}/`,
      targetObjectKeyFormat: TargetObjectKeyFormat.partitionedPrefix(PartitionDateSource.EVENT_TIME),
      transitionDefaultMinimumObjectSize: TransitionDefaultMinimumObjectSize.ALL_STORAGE_CLASSES_128_K,
      lifecycleRules,
      removalPolicy: RemovalPolicy.RETAIN,
    });
    writeSizesAsText(this.bucket, lifecycleRules);
    this.bucket.addToResourcePolicy(createOnly(this.bucket, settings.prefix));
  }
}

function createOnly(bucket: IBucket, prefix: string | undefined): PolicyStatement {
  const root = prefix ? `${prefix}/` : '';
  return new PolicyStatement({
    sid: 'CreateOnly',
    effect: Effect.DENY,
    principals: [new AnyPrincipal()],
    actions: ['s3:PutObject'],
    resources: WRITE_ONCE.map((folder) => bucket.arnForObjects(`${root}${folder}/*`)),
    conditions: NOT_CREATE_ONLY,
  });
}
