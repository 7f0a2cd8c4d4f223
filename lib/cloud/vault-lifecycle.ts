import { Duration } from 'aws-cdk-lib';
import { type Bucket, type CfnBucket, type LifecycleRule, StorageClass } from 'aws-cdk-lib/aws-s3';
import type { LifecycleRule as S3Rule } from '#core/bucket-lifecycle';
import { bucketRules } from '#core/bucket-rules';
import type { Plan } from '#core/plan';

/** What the bucket of a vault does by itself, in the CDK's words. */
export function lifecycleOf(plan: Plan, vault: string): LifecycleRule[] {
  return bucketRules(plan, vault).map(translated);
}

function translated({ ID, Filter, ...does }: S3Rule): LifecycleRule {
  const { And: and } = Filter ?? {};
  const prefix = and?.Prefix ?? Filter?.Prefix;
  const { Days: days, ExpiredObjectDeleteMarker: expiredObjectDeleteMarker } = does.Expiration ?? {};
  const noncurrent = does.NoncurrentVersionExpiration?.NoncurrentDays;
  const abort = does.AbortIncompleteMultipartUpload?.DaysAfterInitiation;
  return {
    id: ID,
    ...(prefix ? { prefix } : {}),
    ...(and?.Tags ? { tagFilters: Object.fromEntries(and.Tags.map(({ Key, Value }) => [Key, Value])) } : {}),
    ...(and?.ObjectSizeGreaterThan ? { objectSizeGreaterThan: and.ObjectSizeGreaterThan } : {}),
    ...(days === undefined ? {} : { expiration: Duration.days(days) }),
    ...(expiredObjectDeleteMarker ? { expiredObjectDeleteMarker } : {}),
    ...(does.Transitions
      ? {
          transitions: does.Transitions.map(({ StorageClass: name = '', Days = 0 }) => ({
            storageClass: new StorageClass(name),
            transitionAfter: Duration.days(Days),
          })),
        }
      : {}),
    ...(noncurrent === undefined ? {} : { noncurrentVersionExpiration: Duration.days(noncurrent) }),
    ...(abort === undefined ? {} : { abortIncompleteMultipartUploadAfter: Duration.days(abort) }),
  };
}

/** CloudFormation has the size as text, the L2 writes a number: its own validation warns of each. */
export function writeSizesAsText(bucket: Bucket, rules: readonly LifecycleRule[]): void {
  const resource = bucket.node.defaultChild as CfnBucket;
  for (const [index, { objectSizeGreaterThan }] of rules.entries())
    if (objectSizeGreaterThan !== undefined)
      resource.addPropertyOverride(
        `LifecycleConfiguration.Rules.${index}.ObjectSizeGreaterThan`,
        String(objectSizeGreaterThan),
      );
}
