import { createHash } from 'node:crypto';
import { KeyExists, messageOf } from '#core/errors';
import type { KeepOptions } from '#core/ports';
import type { S3Connection } from '#vault/s3-client';
import { compareStored } from '#vault/s3-download';
import { keeping } from '#vault/s3-keeping';

export interface PutTarget {
  readonly connection: S3Connection;
  /** The key in the bucket, the vault's prefix included. */
  objectKey(key: string): string;
}

/**
 * One put of a whole object. Tells whether the server gave a checksum of it, equal to ours.
 * @throws KeyExists with `createOnly`, when the key is there
 */
export async function putObject(
  { connection, objectKey }: PutTarget,
  key: string,
  body: Buffer,
  options: {
    readonly createOnly: boolean;
    readonly sha256: Buffer;
    readonly keep?: KeepOptions | undefined;
    readonly signal?: AbortSignal;
  },
): Promise<{ readonly checksum: boolean }> {
  const checksum = options.sha256.toString('base64');
  let lost = false;
  try {
    const reply = await keeping(
      connection,
      'PutObject',
      key,
      options.keep ?? {},
      ({ client, sdk, bucket, options: sending, ambiguous }, kept) => {
        lost = ambiguous;
        return client.send(
          new sdk.PutObjectCommand({
            ...bucket,
            Key: objectKey(key),
            Body: body,
            ChecksumSHA256: checksum,
            ...(options.createOnly ? { IfNoneMatch: '*' } : {}),
            ...encryption(connection),
            ...kept,
          }),
          sending,
        );
      },
      options.signal,
    );
    if (reply.ChecksumSHA256 !== undefined) return { checksum: reply.ChecksumSHA256 === checksum };
    return { checksum: unquoted(reply.ETag) === createHash('md5').update(body).digest('hex') };
  } catch (error) {
    // Refused because an earlier try of this very call was carried out although its answer was lost: then it is ours.
    if (!(error instanceof KeyExists && lost)) throw error;
    try {
      await compareStored(connection, key, objectKey(key), {
        bytes: body.length,
        sha256: options.sha256.toString('hex'),
      });
    } catch (second) {
      error.message += `; what lies there was not written by this call: ${messageOf(second)}`;
      throw error;
    }
    return { checksum: true };
  }
}

/** Header values of an ETag are quoted; Ceph's If-Match and ours compare without. */
export function unquoted(etag: string | undefined): string {
  return (etag ?? '').replaceAll('"', '');
}

/** What the plan's `sse` asks for, in the store's words. */
export function encryption({ settings }: S3Connection): { ServerSideEncryption?: 'AES256' | 'aws:kms' } {
  if (settings.sse === null) return {};
  return { ServerSideEncryption: settings.sse === 'kms' ? 'aws:kms' : 'AES256' };
}
