import type { LifecycleRule } from '#core/bucket-lifecycle';
import type { PolicyStatement } from '#core/bucket-policy';

/** What was read of a bucket, part by part: a part that could not be looked at is never taken for absent (I14). */
export type Seen<Value> =
  | { readonly value: Value }
  /** `right`: what these credentials may not do. Null = the store does not know the call. */
  | { readonly unseen: { readonly right: string | null; readonly message: string } };

export interface BucketSettings {
  readonly lifecycle: Seen<BucketLifecycle>;
  readonly versioning: Seen<'Enabled' | 'Suspended' | null>;
  readonly policy: Seen<readonly PolicyStatement[]>;
  readonly lock: Seen<BucketLock>;
  /** The algorithm of what is put without one. */
  readonly encryption: Seen<string | null>;
  /** Of the four ways in which the public is kept out, those that are not in force. */
  readonly publicWays: Seen<readonly string[]>;
  readonly replication: Seen<readonly ReplicationRule[]>;
}

export interface BucketLifecycle {
  readonly rules: readonly LifecycleRule[];
  /** Small objects stay where they are unless a rule says else: AWS's default. */
  readonly smallStay: boolean;
}

export interface BucketLock {
  readonly enabled: boolean;
  /** Every object that is put is locked, leases and pages too. */
  readonly byDefault: boolean;
}

export interface ReplicationRule {
  readonly enabled: boolean;
  readonly prefix: string;
  readonly tagged: boolean;
  /** ARN of the bucket. */
  readonly destination: string;
  readonly deletions: boolean;
  /** What is encrypted by a key of KMS as well. */
  readonly kmsObjects: boolean;
}

export type BucketPart = keyof BucketSettings;

/** The right that reading each part takes, as IAM names it. */
export const READING_RIGHTS: Readonly<Record<BucketPart, string>> = {
  lifecycle: 's3:GetLifecycleConfiguration',
  versioning: 's3:GetBucketVersioning',
  policy: 's3:GetBucketPolicy',
  lock: 's3:GetBucketObjectLockConfiguration',
  encryption: 's3:GetEncryptionConfiguration',
  publicWays: 's3:GetBucketPublicAccessBlock',
  replication: 's3:GetReplicationConfiguration',
};

/** One thing in which a bucket is not what its plan wants. */
export interface BucketDifference {
  /** False: it costs, and no promise is broken. */
  readonly grave: boolean;
  readonly what: string;
  readonly hint: string;
  /** The lifecycle rule that does it, where one does. */
  readonly rule?: LifecycleRule;
}
