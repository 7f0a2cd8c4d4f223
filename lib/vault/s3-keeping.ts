import { randomBytes } from 'node:crypto';
import type { ObjectLockRetention } from '@aws-sdk/client-s3';
import { VaultRefused } from '#core/errors';
import type { Keeping, KeepOptions, Lacking, ObjectLock } from '#core/ports';
import { inTurns } from '#vault/in-turns';
import { checkKey } from '#vault/keys';
import type { Call, S3Connection } from '#vault/s3-client';
import { failureOf } from '#vault/s3-errors';

const CLASSES = { infrequent: 'STANDARD_IA', 'archive-instant': 'GLACIER_IR' } as const;
const LOCKED_AT_ONCE = 8;

/** The part of a `PutObject` or `CreateMultipartUpload` that says how the object is kept. */
export interface KeepFields {
  StorageClass?: 'STANDARD_IA' | 'GLACIER_IR';
  ObjectLockMode?: 'GOVERNANCE' | 'COMPLIANCE';
  ObjectLockRetainUntilDate?: Date;
}

type Part = Lacking['part'];

/**
 * Sends a request that says how the object is to be kept. A store that knows no such class, or a bucket without Object
 * Lock, refuses it: then it is sent again without, and `onLess` hears of it, as a backup is worth more than its class.
 * A refusal for want of rights is none of these, and is thrown.
 */
export async function keeping<Output>(
  connection: S3Connection,
  operation: string,
  key: string,
  keep: KeepOptions,
  send: (call: Call, fields: KeepFields) => Promise<Output>,
  signal?: AbortSignal,
): Promise<Output> {
  const left = new Set<Part>();
  for (;;) {
    const fields = fieldsOf(keep, left);
    let refused: Part | null = null;
    try {
      const reply = await connection.request(
        operation,
        key,
        async (call) => {
          try {
            return await send(call, fields);
          } catch (error) {
            refused = refusedPart(error, fields);
            throw error;
          }
        },
        signal,
      );
      for (const part of left) keep.onLess?.({ part, what: lessOf(part, keep, connection) });
      return reply;
    } catch (error) {
      if (refused === null) throw error;
      left.add(refused);
    }
  }
}

/** Storage classes and Object Lock of a bucket. */
export class S3Keeping implements Keeping {
  readonly #connection: S3Connection;
  readonly #objectKey: (key: string) => string;
  #lockSeen = false;

  constructor(connection: S3Connection, objectKey: (key: string) => string) {
    this.#connection = connection;
    this.#objectKey = objectKey;
  }

  /**
   * Leaves the lock out, and says so, where the bucket is known to have none: some stores (Ceph) take a locked multipart
   * upload there, and lock nothing.
   */
  async possible<Options extends KeepOptions>(keep: Options): Promise<Options> {
    if (!keep.lock || (await this.#mayLock())) return keep;
    keep.onLess?.({ part: 'lock', what: lessOf('lock', keep, this.#connection) });
    const { lock: _none, ...rest } = keep;
    return rest as Options;
  }

  /** Some stores (Ceph) forget the lock that a multipart upload was begun with. AWS does not, and is not asked. */
  async confirm(keys: readonly string[], keep: KeepOptions): Promise<void> {
    if (!keep.lock || this.#connection.settings.endpoint === null) return;
    try {
      await this.extendLock(keys, keep.lock);
    } catch (error) {
      if (!(error instanceof VaultRefused)) throw error;
      keep.onLess?.({ part: 'lock', what: `nobody can tell whether the lock holds: ${error.message}` });
    }
  }

  /** False when the bucket has no Object Lock; true when it has, or its configuration may not be read. */
  async #mayLock(): Promise<boolean> {
    this.#lockSeen ||= await this.#connection.request(
      'GetObjectLockConfiguration',
      '',
      async ({ client, sdk, bucket, options }) => {
        try {
          const reply = await client.send(new sdk.GetObjectLockConfigurationCommand(bucket), options);
          return reply.ObjectLockConfiguration?.ObjectLockEnabled === 'Enabled';
        } catch (error) {
          const { name, status } = failureOf(error);
          if (name === 'ObjectLockConfigurationNotFoundError') return false;
          // Who may write need not be allowed to read the configuration: then the put itself tells.
          if (status === 403 || status === 501 || status === 405) return true;
          throw error;
        }
      },
    );
    return this.#lockSeen;
  }

  /** Begins an upload that is never completed: that tells, and leaves nothing. */
  async lacking(asked: KeepOptions): Promise<readonly Lacking[]> {
    const key = `backups/.check-${randomBytes(4).toString('hex')}`;
    const Key = this.#objectKey(key);
    const lacking: Lacking[] = [];
    const onLess = (less: Lacking): void => {
      lacking.push(less);
    };
    const { UploadId } = await keeping(
      this.#connection,
      'CreateMultipartUpload',
      key,
      await this.possible({ ...asked, onLess }),
      ({ client, sdk, bucket, options }, fields) =>
        client.send(new sdk.CreateMultipartUploadCommand({ ...bucket, Key, ...fields }), options),
    );
    await this.#connection.request('AbortMultipartUpload', key, ({ client, sdk, bucket, options }) =>
      client.send(new sdk.AbortMultipartUploadCommand({ ...bucket, Key, UploadId }), options),
    );
    return lacking;
  }

  async lockedUntil(key: string): Promise<Date | null> {
    checkKey(key);
    return (await this.#retentionOf(key))?.RetainUntilDate ?? null;
  }

  async extendLock(keys: readonly string[], lock: ObjectLock): Promise<void> {
    for (const key of keys) checkKey(key);
    await inTurns(keys, LOCKED_AT_ONCE, (key) => this.#extend(key, lock));
  }

  async #extend(key: string, { mode, until }: ObjectLock): Promise<void> {
    const Key = this.#objectKey(key);
    const present = await this.#retentionOf(key);
    if (present?.RetainUntilDate && present.RetainUntilDate >= until) return;
    // A lock that nobody may lift is not made into one that somebody may.
    const Mode = present?.Mode === 'COMPLIANCE' ? 'COMPLIANCE' : modeOf(mode);
    await this.#connection.request('PutObjectRetention', key, ({ client, sdk, bucket, options }) =>
      client.send(
        new sdk.PutObjectRetentionCommand({ ...bucket, Key, Retention: { Mode, RetainUntilDate: until } }),
        options,
      ),
    );
  }

  /** Undefined: the object has no lock. */
  async #retentionOf(key: string): Promise<ObjectLockRetention | undefined> {
    const Key = this.#objectKey(key);
    return this.#connection.request('GetObjectRetention', key, async ({ client, sdk, bucket, options }) => {
      try {
        return (await client.send(new sdk.GetObjectRetentionCommand({ ...bucket, Key }), options)).Retention;
      } catch (error) {
        // In AWS's word for it, and in Ceph's.
        const { name } = failureOf(error);
        if (name === 'NoSuchObjectLockConfiguration' || name === 'ObjectLockConfigurationNotFoundError')
          return undefined;
        throw error;
      }
    });
  }
}

function fieldsOf({ storageClass, lock }: KeepOptions, left: ReadonlySet<Part>): KeepFields {
  return {
    ...(storageClass === undefined || left.has('class') ? {} : { StorageClass: CLASSES[storageClass] }),
    ...(lock === undefined || left.has('lock')
      ? {}
      : { ObjectLockMode: modeOf(lock.mode), ObjectLockRetainUntilDate: lock.until }),
  };
}

function modeOf(mode: ObjectLock['mode']): 'GOVERNANCE' | 'COMPLIANCE' {
  return mode === 'governance' ? 'GOVERNANCE' : 'COMPLIANCE';
}

/** AWS and MinIO name the class; Ceph says InvalidArgument. A bucket without Object Lock: InvalidRequest, everywhere. */
function refusedPart(error: unknown, fields: KeepFields): Part | null {
  const { name, status } = failureOf(error);
  const unknown = name === 'NotImplemented' || status === 501;
  if (fields.StorageClass && (name === 'InvalidStorageClass' || name === 'InvalidArgument' || unknown)) return 'class';
  if (fields.ObjectLockMode && (name === 'InvalidRequest' || unknown)) return 'lock';
  return null;
}

function lessOf(part: Part, { storageClass, lock }: KeepOptions, { place }: S3Connection): string {
  return part === 'class'
    ? `${place.url} knows no class ${storageClass ? CLASSES[storageClass] : ''}: stored in the bucket's default class`
    : `${place.url} has no Object Lock: stored without the plan's lock: ${lock?.mode}`;
}
