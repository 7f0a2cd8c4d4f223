import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { RecordInvalid, StoredBytesDiffer } from '#core/errors';
import type { S3Connection } from '#vault/s3-client';
import { garbled, judge, s3Error } from '#vault/s3-errors';
import { SMALL_BYTES } from '#vault/volumes';

/** A connection that dropped but brought so much is no failed attempt: long reads may drop often. */
const PROGRESS_BYTES = 1024 * 1024;

interface Opened {
  readonly bytes: number;
  readonly stream: Readable;
}

interface Reply {
  readonly body: Readable;
  /** Of the whole object. */
  readonly bytes: number;
  readonly etag: string | null;
}

/**
 * Streams an object. A connection that drops is taken up where it broke; a body that stays too short is an error.
 * @throws KeyMissing, VaultUnreachable, VaultRefused
 */
export async function download(connection: S3Connection, key: string, objectKey: string): Promise<Opened> {
  const first = await get(connection, key, objectKey, 0);
  let reply = first;
  async function* chunks(): AsyncGenerator<Buffer> {
    let offset = 0;
    let failures = 0;
    let lastFailure = 0;
    for (;;) {
      try {
        for await (const chunk of reply.body as AsyncIterable<Buffer>) {
          offset += chunk.length;
          if (offset > first.bytes)
            throw garbled(`${key} in ${connection.place.url} is longer than the ${first.bytes} bytes announced`);
          yield chunk;
        }
        if (offset === first.bytes) return;
        throw garbled(`${key} in ${connection.place.url} ended after ${offset} of ${first.bytes} bytes`);
      } catch (error) {
        failures = offset - lastFailure >= PROGRESS_BYTES ? 1 : failures + 1;
        lastFailure = offset;
        if (judge(error) === 'final' || offset > first.bytes || failures >= connection.pace.attempts)
          throw s3Error(error, 'GetObject', key, connection.place);
        await connection.wait(failures);
        if (offset === first.bytes) return;
        reply = await get(connection, key, objectKey, offset);
        if (reply.etag !== first.etag || reply.bytes !== first.bytes)
          throw new StoredBytesDiffer(`${key} in ${connection.place.url} changed while it was read`, {
            hint: 'nothing may overwrite a backup: look for who did, then run it again',
          });
      }
    }
  }
  const stream = Readable.from(chunks(), { objectMode: false });
  // A stream that nobody began to read never ran the generator: its connection has to be closed from here.
  stream.once('close', () => reply.body.destroy());
  return { bytes: first.bytes, stream };
}

/** A whole small object. */
export async function downloadSmall(connection: S3Connection, key: string, objectKey: string): Promise<Buffer> {
  const { bytes, stream } = await download(connection, key, objectKey);
  if (bytes > SMALL_BYTES) {
    stream.destroy();
    throw new RecordInvalid(
      `${key} in ${connection.place.url} has ${bytes} bytes, want a record of at most ${SMALL_BYTES}`,
      {
        hint: 'something else was put in its place; compare another copy of the vault',
      },
    );
  }
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** For servers that give no checksum of their own: reads what is stored and compares it (I2). */
export async function compareStored(
  connection: S3Connection,
  key: string,
  objectKey: string,
  sent: { readonly bytes: number; readonly sha256: string },
): Promise<void> {
  const { bytes, stream } = await download(connection, key, objectKey);
  const hash = createHash('sha256');
  for await (const chunk of stream) hash.update(chunk as Buffer);
  const sha256 = hash.digest('hex');
  if (bytes !== sent.bytes || sha256 !== sent.sha256)
    throw storedDiffer(connection, key, `${bytes} bytes with sha256 ${sha256}`, `${sent.bytes} with ${sent.sha256}`);
}

export function storedDiffer(connection: S3Connection, key: string, stored: string, sent: string): StoredBytesDiffer {
  return new StoredBytesDiffer(`${key} in ${connection.place.url}: the store has ${stored}, sent were ${sent}`, {
    hint: "run the backup again; if it happens again, use another vault and ask the store's operator",
  });
}

async function get(connection: S3Connection, key: string, objectKey: string, offset: number): Promise<Reply> {
  return connection.request('GetObject', key, async ({ client, sdk, bucket }) => {
    const range = offset === 0 ? {} : { Range: `bytes=${offset}-` };
    const reply = await client.send(new sdk.GetObjectCommand({ ...bucket, Key: objectKey, ...range }));
    const body = reply.Body as Readable | undefined;
    if (!body || reply.ContentLength === undefined) {
      body?.destroy();
      throw garbled(`${key} in ${connection.place.url} was sent without its length`);
    }
    // A body that breaks before anybody reads it must not bring the process down; reading it tells.
    body.on('error', () => undefined);
    const total = offset === 0 ? reply.ContentLength : Number(/\/(\d+)$/.exec(reply.ContentRange ?? '')?.[1] ?? -1);
    return { body, bytes: total, etag: reply.ETag ?? null };
  });
}
