import { createHash, type Hash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { Cancelled, KeyExists, KeyMissing, messageOf, VaultRefused } from '#core/errors';
import type { StoredVolume, StoreOptions } from '#core/ports';
import type { PartBuffers } from '#vault/part-buffers';
import type { Call, S3Connection } from '#vault/s3-client';
import { compareStored, storedDiffer } from '#vault/s3-download';
import { garbled } from '#vault/s3-errors';
import { keeping } from '#vault/s3-keeping';
import { encryption, putObject, unquoted } from '#vault/s3-put';
import { readable } from '#vault/source-stream';
import { PART_BYTES, PARTS_PER_VOLUME, refuseOther, volumeName } from '#vault/volumes';

/** One is filled while two are on their way: 48 MiB for an artifact of any length, and for all that go at one time. */
export const BUFFERS = 3;

export interface UploadLimits {
  readonly partBytes: number;
  readonly partsPerVolume: number;
}

export const UPLOAD_LIMITS: UploadLimits = { partBytes: PART_BYTES, partsPerVolume: PARTS_PER_VOLUME };

export interface UploadTarget {
  readonly connection: S3Connection;
  /** `backups/events/daily/…`: for messages, and below the vault's root. */
  readonly folder: string;
  readonly name: string;
  /** The key in the bucket, the vault's prefix included. */
  objectKey(key: string): string;
  /** What the store's listing says of a key, null when it is not there. */
  stat(key: string): Promise<StoredObject | null>;
  readonly limits: UploadLimits;
  readonly buffers: PartBuffers;
  /** The completing call refuses a key that is there. */
  readonly conditionalMultipart: boolean;
  /** The server's own checksums are taken for evidence; else all is read back. */
  readonly serverChecksum: boolean;
}

export interface StoredObject {
  readonly bytes: number;
  /** Without quotes. */
  readonly etag: string;
}

interface Part {
  readonly number: number;
  readonly etag: string;
  /** Ours, raw. */
  readonly sha256: Buffer;
  /** Ours, raw; null when the server answered with its SHA-256, which is better. */
  readonly md5: Buffer | null;
  /** The server has told a checksum of what it received, and it is ours. */
  readonly proven: boolean;
}

/** A part's bytes are the first `size` of the buffer. */
interface Filled {
  readonly buffer: Buffer;
  readonly size: number;
  readonly sha256: Buffer;
}

interface Volume {
  readonly key: string;
  readonly name: string;
  /** Null for a single put. */
  readonly uploadId: string | null;
  readonly hash: Hash;
  readonly parts: Part[];
  begun: number;
  bytes: number;
  completed: boolean;
  proven: boolean;
}

/**
 * Streams an artifact into the bucket. Nothing has its final name before the stream has ended well; on any failure the
 * unfinished uploads are aborted.
 */
export async function upload(target: UploadTarget, bytes: Readable, options: StoreOptions): Promise<StoredVolume[]> {
  const run = new Upload(target, bytes, options);
  try {
    return await run.run();
  } catch (error) {
    throw await run.giveUp(error);
  } finally {
    bytes.destroy();
  }
}

class Upload {
  readonly #target: UploadTarget;
  readonly #source: Readable;
  readonly #options: StoreOptions;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #volumes: Volume[] = [];
  readonly #inFlight = new Set<Promise<void>>();
  /** Keys for which an upload may have been begun twice. */
  readonly #doubtful = new Set<string>();
  /** Buffers that are on their way. */
  #sending = 0;
  #failed: { readonly error: unknown } | null = null;

  constructor(target: UploadTarget, source: Readable, options: StoreOptions) {
    this.#target = target;
    this.#source = source;
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal]);
  }

  async run(): Promise<StoredVolume[]> {
    const { partBytes, partsPerVolume } = this.#target.limits;
    await this.#refuseExisting(this.#keyOf(1));
    const chunks = readable(this.#source, this.#options.signal);
    let rest: Buffer = Buffer.alloc(0);
    let volume: Volume | null = null;
    let whole = createHash('sha256');
    // One byte more than is expected, so that the end is seen without another buffer.
    const room = Math.min(partBytes, (this.#options.expect?.bytes ?? partBytes) + 1);
    for (let ended = false; !ended; ) {
      if (volume?.begun === partsPerVolume) {
        volume = null;
        whole = createHash('sha256');
      }
      const buffer = await this.#takeBuffer(room);
      let sending = false;
      try {
        const hash = createHash('sha256');
        let size = 0;
        while (size < room) {
          if (rest.length === 0) {
            const next = await chunks.next();
            if (next.done) {
              ended = true;
              break;
            }
            rest = next.value;
            this.#options.onBytes?.(rest.length);
          }
          const piece = rest.subarray(0, room - size);
          rest = rest.subarray(piece.length);
          piece.copy(buffer, size);
          hash.update(piece);
          whole.update(piece);
          size += piece.length;
        }
        if (this.#failed) break;
        if (size === 0 && this.#volumes.length > 0) break;
        const part = { buffer, size, sha256: hash.digest() };
        if (ended && this.#volumes.length === 0) await this.#putWhole(part, whole);
        else {
          volume ??= await this.#beginVolume(whole);
          this.#sendPart(volume, part);
          sending = true;
        }
      } finally {
        if (!sending) this.#target.buffers.give(buffer);
      }
    }
    await Promise.all(this.#inFlight);
    if (this.#failed) throw this.#failed.error;
    refuseOther(this.#target.folder, this.#stored(), this.#options.expect);
    for (const each of this.#volumes) await this.#complete(each);
    for (const key of this.#doubtful) await this.#abortTwins(key);
    for (const each of this.#volumes) if (!each.proven) await this.#readBack(each);
    return this.#stored();
  }

  #stored(): StoredVolume[] {
    return this.#volumes.map(({ name, bytes, hash }) => ({ name, bytes, sha256: hash.copy().digest('hex') }));
  }

  /** Ends what is under way, and takes back what has no final name yet. Returns the error to throw. */
  async giveUp(thrown: unknown): Promise<unknown> {
    // What fails from here on only fails because it is stopped.
    const error = this.#failed?.error ?? thrown;
    this.#stop.abort();
    await Promise.allSettled(this.#inFlight);
    const farewell = AbortSignal.timeout(this.#target.connection.pace.farewellMs);
    try {
      for (const { key, uploadId, completed } of this.#volumes)
        if (uploadId !== null && !completed) await this.#abort(key, uploadId, farewell);
      for (const key of this.#doubtful) await this.#abortAll(key, farewell);
    } catch (second) {
      // The first failure is the one to tell; that parts were left (and cost) belongs to it.
      if (error instanceof Error)
        error.message += `; and its unfinished upload could not be aborted: ${messageOf(second)}`;
    }
    return error;
  }

  async #abort(key: string, uploadId: string, signal: AbortSignal): Promise<void> {
    const Key = this.#target.objectKey(key);
    try {
      await this.#send(
        'AbortMultipartUpload',
        key,
        ({ client, sdk, bucket, options }) =>
          client.send(new sdk.AbortMultipartUploadCommand({ ...bucket, Key, UploadId: uploadId }), options),
        signal,
      );
    } catch (error) {
      if (!(error instanceof KeyMissing)) throw error;
    }
  }

  /** The artifact is whole. A store that lists no uploads, or not to this writer, as in AWS, ends them by its lifecycle. */
  async #abortTwins(key: string): Promise<void> {
    try {
      await this.#abortAll(key, this.#signal);
    } catch (error) {
      if (!(error instanceof VaultRefused)) throw error;
    }
  }

  /** Uploads of our key that were begun by a request whose answer was lost: nobody else ever uploads to it. */
  async #abortAll(key: string, signal: AbortSignal): Promise<void> {
    const Prefix = this.#target.objectKey(key);
    const reply = await this.#send(
      'ListMultipartUploads',
      key,
      ({ client, sdk, bucket, options }) =>
        client.send(new sdk.ListMultipartUploadsCommand({ ...bucket, Prefix }), options),
      signal,
    );
    for (const { Key, UploadId } of reply.Uploads ?? [])
      if (Key === Prefix && UploadId !== undefined) await this.#abort(key, UploadId, signal);
  }

  /** One put, which the store refuses if the key is there. */
  async #putWhole({ buffer, size, sha256 }: Filled, hash: Hash): Promise<void> {
    const name = volumeName(this.#target.name, 1);
    const key = this.#keyOf(1);
    const body = buffer.subarray(0, size);
    const stored = { name, bytes: size, sha256: hash.copy().digest('hex') };
    refuseOther(this.#target.folder, [stored], this.#options.expect);
    const { checksum } = await putObject(this.#target, key, body, {
      createOnly: true,
      sha256,
      keep: this.#options,
      signal: this.#signal,
    });
    this.#volumes.push({
      key,
      name,
      uploadId: null,
      hash,
      parts: [],
      begun: 1,
      bytes: size,
      completed: true,
      proven: checksum && this.#target.serverChecksum,
    });
  }

  async #beginVolume(hash: Hash): Promise<Volume> {
    const { objectKey, connection } = this.#target;
    const name = volumeName(this.#target.name, this.#volumes.length + 1);
    const key = `${this.#target.folder}/${name}`;
    if (this.#volumes.length > 0) await this.#refuseExisting(key);
    const reply = await keeping(
      connection,
      'CreateMultipartUpload',
      key,
      this.#options,
      ({ client, sdk, bucket, options, ambiguous }, kept) => {
        if (ambiguous) this.#doubtful.add(key);
        return client.send(
          new sdk.CreateMultipartUploadCommand({
            ...bucket,
            Key: objectKey(key),
            ChecksumAlgorithm: 'SHA256',
            ...encryption(connection),
            ...kept,
          }),
          options,
        );
      },
      this.#signal,
    );
    if (!reply.UploadId)
      throw garbled(`CreateMultipartUpload of ${key} in ${connection.place.url} was answered without an id`);
    const volume: Volume = {
      key,
      name,
      uploadId: reply.UploadId,
      hash,
      parts: [],
      begun: 0,
      bytes: 0,
      completed: false,
      proven: false,
    };
    this.#volumes.push(volume);
    return volume;
  }

  #sendPart(volume: Volume, part: Filled): void {
    const number = ++volume.begun;
    const body = part.buffer.subarray(0, part.size);
    volume.bytes += part.size;
    this.#sending++;
    const sending = this.#uploadPart(volume, number, body, part.sha256)
      .then(
        (sent) => {
          volume.parts.push(sent);
        },
        (error: unknown) => {
          this.#failed ??= { error };
          // Wakes the reader, which may wait long for a slow source.
          this.#source.destroy();
        },
      )
      .finally(() => {
        this.#sending--;
        this.#target.buffers.give(part.buffer);
      });
    this.#inFlight.add(sending);
    void sending.finally(() => this.#inFlight.delete(sending));
  }

  async #uploadPart(volume: Volume, number: number, body: Buffer, sha256: Buffer): Promise<Part> {
    const checksum = sha256.toString('base64');
    const reply = await this.#send(
      'UploadPart',
      volume.key,
      ({ client, sdk, bucket, options }) =>
        client.send(
          new sdk.UploadPartCommand({
            ...bucket,
            Key: this.#target.objectKey(volume.key),
            UploadId: volume.uploadId as string,
            PartNumber: number,
            Body: body,
            ChecksumSHA256: checksum,
          }),
          options,
        ),
      this.#signal,
    );
    const etag = unquoted(reply.ETag);
    if (reply.ChecksumSHA256 !== undefined)
      return { number, etag, sha256, md5: null, proven: reply.ChecksumSHA256 === checksum };
    const md5 = createHash('md5').update(body).digest();
    return { number, etag, sha256, md5, proven: etag === md5.toString('hex') };
  }

  async #complete(volume: Volume): Promise<void> {
    const { uploadId, key } = volume;
    if (uploadId === null) return;
    const { objectKey, conditionalMultipart, connection, serverChecksum } = this.#target;
    if (!conditionalMultipart) await this.#refuseExisting(key);
    const parts = volume.parts.sort((a, b) => a.number - b.number);
    let checksum: string | undefined;
    let doneBefore = false;
    try {
      await this.#send(
        'CompleteMultipartUpload',
        key,
        async ({ client, sdk, bucket, options, ambiguous }) => {
          doneBefore = ambiguous;
          const reply = await client.send(
            new sdk.CompleteMultipartUploadCommand({
              ...bucket,
              Key: objectKey(key),
              UploadId: uploadId,
              IfNoneMatch: '*',
              MultipartUpload: {
                Parts: parts.map(({ number, etag, sha256, md5 }) => ({
                  PartNumber: number,
                  ETag: etag,
                  ...(md5 === null ? { ChecksumSHA256: sha256.toString('base64') } : {}),
                })),
              },
            }),
            options,
          );
          checksum = reply.ChecksumSHA256;
        },
        this.#signal,
      );
    } catch (error) {
      // The first try may have been carried out although its answer was lost: then the object is there, and is ours.
      const mine = doneBefore && !(error instanceof Cancelled) ? await this.#target.stat(key) : null;
      if (mine?.bytes !== volume.bytes) throw error;
    }
    volume.completed = true;
    const stored = await this.#target.stat(key);
    if (stored === null || stored.bytes !== volume.bytes)
      throw storedDiffer(
        connection,
        key,
        stored === null ? 'nothing' : `${stored.bytes} bytes`,
        `${volume.bytes} bytes`,
      );
    const whole = checksum === undefined ? stored.etag === etagOf(parts) : checksum === checksumOf(parts);
    volume.proven = serverChecksum && whole && parts.every((part) => part.proven);
  }

  async #readBack({ key, bytes, hash }: Volume): Promise<void> {
    const sha256 = hash.copy().digest('hex');
    await compareStored(this.#target.connection, key, this.#target.objectKey(key), { bytes, sha256 });
  }

  /** Before the bytes are sent, and for stores that would overwrite: two runs never share a folder, so there is no race to lose. */
  async #refuseExisting(key: string): Promise<void> {
    if ((await this.#target.stat(key)) !== null)
      throw new KeyExists(`${key} is already in ${this.#target.connection.place.url}, and is written once only`, {
        hint: 'another run wrote it; look at the ledger',
      });
  }

  async #takeBuffer(bytes: number): Promise<Buffer> {
    while (this.#sending >= BUFFERS) await Promise.race(this.#inFlight);
    const buffer = await this.#target.buffers.take(bytes);
    // A failure may have come while this waited for others.
    const failed = this.#failed as { readonly error: unknown } | null;
    if (!failed) return buffer;
    this.#target.buffers.give(buffer);
    throw failed.error;
  }

  #keyOf(number: number): string {
    return `${this.#target.folder}/${volumeName(this.#target.name, number)}`;
  }

  #send<Output>(
    operation: string,
    key: string,
    make: (call: Call) => Promise<Output>,
    signal?: AbortSignal,
  ): Promise<Output> {
    return this.#target.connection.request(operation, key, make, signal);
  }
}

function etagOf(parts: readonly Part[]): string {
  const md5s = parts.map(({ md5 }) => md5).filter((md5) => md5 !== null);
  return `${createHash('md5').update(Buffer.concat(md5s)).digest('hex')}-${parts.length}`;
}

function checksumOf(parts: readonly Part[]): string {
  const sha256s = Buffer.concat(parts.map(({ sha256 }) => sha256));
  return `${createHash('sha256').update(sha256s).digest('base64')}-${parts.length}`;
}
