import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import {
  BlockPublicAccess,
  Bucket,
  BucketEncryption,
  type BucketProps,
  type IBucket,
  ObjectOwnership,
  PartitionDateSource,
  TargetObjectKeyFormat,
  TransitionDefaultMinimumObjectSize,
} from 'aws-cdk-lib/aws-s3';
import type { Construct } from 'constructs';
import { lifecycleOf, writeSizesAsText } from '#cloud/vault-lifecycle';
import type { Plan } from '#core/plan';

/** Buckets that outlive every deployment: of a vault, of its replica, and the logs of who asked for what. */

/**
 * Outlives its stack; but when the very deployment that makes it fails, it goes again. It is empty then, and what has a
 * fixed name and stayed would stand in the way of every other try.
 */
export const KEPT_ONCE_MADE = RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE;

const LOG_DAYS = 400;

const KEPT = {
  versioned: true,
  enforceSSL: true,
  minimumTLSVersion: 1.2,
  blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
  objectOwnership: ObjectOwnership.BUCKET_OWNER_ENFORCED,
  removalPolicy: KEPT_ONCE_MADE,
} satisfies BucketProps;

export interface BackupBucketProps {
  readonly plan: Plan;
  readonly vault: string;
  readonly name: string;
  readonly locked: boolean;
  readonly key: IKey;
  readonly logs: IBucket;
}

/** Encrypted by a key of its own, with the lifecycle of the vault. */
export function backupBucket(scope: Construct, { plan, vault, name, locked, key, logs }: BackupBucketProps): Bucket {
  const lifecycleRules = lifecycleOf(plan, vault);
  const bucket = new Bucket(scope, 'Bucket', {
    ...KEPT,
    bucketName: name,
    ...(locked ? { objectLockEnabled: true } : {}),
    encryption: BucketEncryption.KMS,
    encryptionKey: key,
    bucketKeyEnabled: true,
    serverAccessLogsBucket: logs,
    serverAccessLogsPrefix: `${vault}/`,
    targetObjectKeyFormat: TargetObjectKeyFormat.partitionedPrefix(PartitionDateSource.EVENT_TIME),
    transitionDefaultMinimumObjectSize: TransitionDefaultMinimumObjectSize.ALL_STORAGE_CLASSES_128_K,
    lifecycleRules,
  });
  writeSizesAsText(bucket, lifecycleRules);
  return bucket;
}

/** Encrypted by S3 itself: its log delivery writes with no key of ours. */
export function accessLogs(scope: Construct): Bucket {
  return new Bucket(scope, 'AccessLogs', {
    ...KEPT,
    encryption: BucketEncryption.S3_MANAGED,
    lifecycleRules: [
      { id: 'logs', expiration: Duration.days(LOG_DAYS), noncurrentVersionExpiration: Duration.days(1) },
    ],
  });
}
