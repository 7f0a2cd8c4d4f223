import { VaultRefused } from '#core/errors';
import type { S3Connection } from '#vault/s3-client';

/** No upload takes so long: its writer is gone. */
export const UPLOAD_LEFT_AFTER_MS = 7 * 24 * 60 * 60 * 1000;

/**
 * Ends uploads that killed runs left: no listing shows their parts, and they cost all the same. By the server's clock.
 * A store that lists no uploads, or not to us, is left to its own lifecycle rules.
 */
export async function endLeftUploads(connection: S3Connection, prefix: string, leftAfterMs: number): Promise<void> {
  try {
    const found = await connection.request('ListMultipartUploads', '', ({ client, sdk, bucket, options }) =>
      client.send(new sdk.ListMultipartUploadsCommand({ ...bucket, Prefix: prefix }), options),
    );
    const now = connection.serverTime?.getTime() ?? 0;
    for (const { Key, UploadId, Initiated } of found.Uploads ?? []) {
      if (Key === undefined || UploadId === undefined || Initiated === undefined) continue;
      if (!Key.startsWith(prefix) || now - Initiated.getTime() <= leftAfterMs) continue;
      await connection.request('AbortMultipartUpload', Key, async ({ client, sdk, bucket, options }) => {
        try {
          await client.send(new sdk.AbortMultipartUploadCommand({ ...bucket, Key, UploadId }), options);
        } catch (error) {
          // Another run was quicker.
          if ((error as Error).name !== 'NoSuchUpload') throw error;
        }
      });
    }
  } catch (error) {
    if (!(error instanceof VaultRefused)) throw error;
  }
}
