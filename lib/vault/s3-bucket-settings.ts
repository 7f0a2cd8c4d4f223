import * as z from 'zod';
import type { PolicyStatement } from '#core/bucket-policy';
import {
  type BucketLifecycle,
  type BucketLock,
  type BucketPart,
  type BucketSettings,
  READING_RIGHTS,
  type ReplicationRule,
  type Seen,
} from '#core/bucket-settings';
import { messageOf } from '#core/errors';
import type { BucketReader } from '#core/ports';
import type { Call, S3Connection } from '#vault/s3-client';
import { failureOf, garbled, isRightLacking } from '#vault/s3-errors';

/** Answers by which a store says that it does not know a call. */
const UNKNOWN_CALL = new Set(['NotImplemented', 'MethodNotAllowed', 'XNotImplemented']);
const PUBLIC_WAYS = ['BlockPublicAcls', 'IgnorePublicAcls', 'BlockPublicPolicy', 'RestrictPublicBuckets'] as const;

const texts = z.union([z.string(), z.array(z.string())]).optional();
/** Loose: what else a statement says goes back into the bucket with it. */
const statementSchema = z.looseObject({
  Sid: z.string().optional(),
  Effect: z.string().optional(),
  Principal: z.unknown().optional(),
  Action: texts,
  Resource: texts,
  Condition: z.record(z.string(), z.record(z.string(), z.unknown())).optional(),
});
const policySchema = z.looseObject({ Statement: z.union([z.array(statementSchema), statementSchema]) });

/** Reads how a bucket is set up. "None" and "could not look" are two answers (I14). */
export class S3BucketSettings implements BucketReader {
  readonly #connection: S3Connection;

  constructor(connection: S3Connection) {
    this.#connection = connection;
  }

  lifecycle(): Promise<Seen<BucketLifecycle>> {
    return this.#see(
      'lifecycle',
      'GetBucketLifecycleConfiguration',
      { NoSuchLifecycleConfiguration: { rules: [], smallStay: true } },
      async ({ client, sdk, bucket, options }) => {
        const { Rules = [], TransitionDefaultMinimumObjectSize: smallest } = await client.send(
          new sdk.GetBucketLifecycleConfigurationCommand(bucket),
          options,
        );
        return { rules: Rules, smallStay: smallest !== 'varies_by_storage_class' };
      },
    );
  }

  async settings(): Promise<BucketSettings> {
    return {
      lifecycle: await this.lifecycle(),
      versioning: await this.#versioning(),
      policy: await this.#policy(),
      lock: await this.#lock(),
      encryption: await this.#encryption(),
      publicWays: await this.#publicWays(),
      replication: await this.#replication(),
    };
  }

  #versioning(): Promise<Seen<'Enabled' | 'Suspended' | null>> {
    return this.#see('versioning', 'GetBucketVersioning', {}, async ({ client, sdk, bucket, options }) => {
      const { Status } = await client.send(new sdk.GetBucketVersioningCommand(bucket), options);
      return Status ?? null;
    });
  }

  #policy(): Promise<Seen<readonly PolicyStatement[]>> {
    return this.#see(
      'policy',
      'GetBucketPolicy',
      { NoSuchBucketPolicy: [] },
      async ({ client, sdk, bucket, options }) => {
        const { Policy = '' } = await client.send(new sdk.GetBucketPolicyCommand(bucket), options);
        return this.#statements(Policy);
      },
    );
  }

  #statements(text: string): PolicyStatement[] {
    try {
      return [policySchema.parse(JSON.parse(text)).Statement].flat();
    } catch (error) {
      throw garbled(`the policy of ${this.#connection.place.url} cannot be read: ${messageOf(error)}`);
    }
  }

  #lock(): Promise<Seen<BucketLock>> {
    return this.#see(
      'lock',
      'GetObjectLockConfiguration',
      { ObjectLockConfigurationNotFoundError: { enabled: false, byDefault: false } },
      async ({ client, sdk, bucket, options }) => {
        const reply = await client.send(new sdk.GetObjectLockConfigurationCommand(bucket), options);
        const { ObjectLockEnabled, Rule } = reply.ObjectLockConfiguration ?? {};
        return { enabled: ObjectLockEnabled === 'Enabled', byDefault: Rule?.DefaultRetention !== undefined };
      },
    );
  }

  #encryption(): Promise<Seen<string | null>> {
    return this.#see(
      'encryption',
      'GetBucketEncryption',
      { ServerSideEncryptionConfigurationNotFoundError: null },
      async ({ client, sdk, bucket, options }) => {
        const reply = await client.send(new sdk.GetBucketEncryptionCommand(bucket), options);
        const rules = reply.ServerSideEncryptionConfiguration?.Rules ?? [];
        return rules[0]?.ApplyServerSideEncryptionByDefault?.SSEAlgorithm ?? null;
      },
    );
  }

  #publicWays(): Promise<Seen<readonly string[]>> {
    return this.#see<readonly string[]>(
      'publicWays',
      'GetPublicAccessBlock',
      { NoSuchPublicAccessBlockConfiguration: PUBLIC_WAYS },
      async ({ client, sdk, bucket, options }) => {
        const reply = await client.send(new sdk.GetPublicAccessBlockCommand(bucket), options);
        return PUBLIC_WAYS.filter((way) => reply.PublicAccessBlockConfiguration?.[way] !== true);
      },
    );
  }

  #replication(): Promise<Seen<readonly ReplicationRule[]>> {
    return this.#see(
      'replication',
      'GetBucketReplication',
      { ReplicationConfigurationNotFoundError: [] },
      async ({ client, sdk, bucket, options }) => {
        const reply = await client.send(new sdk.GetBucketReplicationCommand(bucket), options);
        return (reply.ReplicationConfiguration?.Rules ?? []).map((rule) => ({
          enabled: rule.Status === 'Enabled',
          prefix: rule.Filter?.And?.Prefix ?? rule.Filter?.Prefix ?? rule.Prefix ?? '',
          tagged: rule.Filter?.Tag !== undefined || (rule.Filter?.And?.Tags ?? []).length > 0,
          destination: rule.Destination?.Bucket ?? '',
          // Without a filter it is of the first version, which always replicated them.
          deletions: rule.DeleteMarkerReplication?.Status === 'Enabled' || rule.Filter === undefined,
          kmsObjects: rule.SourceSelectionCriteria?.SseKmsEncryptedObjects?.Status === 'Enabled',
        }));
      },
    );
  }

  /** @param absent answers that mean "there is none", by the store's word for it */
  async #see<Value>(
    part: BucketPart,
    operation: string,
    absent: Readonly<Record<string, Value>>,
    read: (call: Call) => Promise<Value>,
  ): Promise<Seen<Value>> {
    let unseen: 'right' | 'call' | null = null;
    try {
      const value = await this.#connection.request(operation, '', async (call) => {
        unseen = null;
        try {
          return await read(call);
        } catch (error) {
          const { name, status } = failureOf(error);
          if (Object.hasOwn(absent, name)) return absent[name] as Value;
          if (UNKNOWN_CALL.has(name) || status === 501) unseen = 'call';
          else if (isRightLacking(error)) unseen = 'right';
          throw error;
        }
      });
      return { value };
    } catch (error) {
      if (unseen === null) throw error;
      return { unseen: { right: unseen === 'right' ? READING_RIGHTS[part] : null, message: messageOf(error) } };
    }
  }
}
