import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { ListObjectsV2CommandOutput } from '@aws-sdk/client-s3';
import type {
  Archive,
  BucketReader,
  ExpiryMarks,
  KeepOptions,
  StoredVolume,
  StoreOptions,
  Vault,
  VaultEntry,
  VaultFeatures,
} from '#core/ports';
import { VAULT_KEY } from '#vault/identity';
import { checkKey, checkPrefix, isListedKey, keyMissing, leadingNumber, tenDigits } from '#vault/keys';
import { PartBuffers } from '#vault/part-buffers';
import { S3Archive } from '#vault/s3-archive';
import { S3BucketSettings } from '#vault/s3-bucket-settings';
import { PACE, S3Connection, type S3Pace, type S3Settings } from '#vault/s3-client';
import { download, downloadSmall } from '#vault/s3-download';
import { garbled } from '#vault/s3-errors';
import { S3ExpiryMarks } from '#vault/s3-expiry-marks';
import { S3Keeping } from '#vault/s3-keeping';
import { endLeftUploads, UPLOAD_LEFT_AFTER_MS } from '#vault/s3-leftovers';
import { putObject, unquoted } from '#vault/s3-put';
import { BUFFERS, type StoredObject, UPLOAD_LIMITS, type UploadLimits, upload } from '#vault/s3-upload';

const PAGE_KEYS = 1000;

export interface S3VaultOptions {
  readonly name: string;
  readonly settings: S3Settings;
  /** The plan's `capacity` in bytes. */
  readonly capacity?: number | undefined;
  /** The run's: see `S3Connection`. */
  readonly stop?: AbortSignal | undefined;
  /** What the store cannot do, where it is known. */
  readonly features?: Partial<VaultFeatures>;
  /** For tests. */
  readonly pace?: S3Pace;
  /** For tests: small parts and volumes. */
  readonly limits?: UploadLimits;
  /** For tests: the age of an upload whose writer is gone. */
  readonly uploadLeftAfterMs?: number;
  /** For tests: keys in one answer of a listing, at most 1000. */
  readonly pageKeys?: number;
}

/** Backups in a bucket, of AWS or of a store that speaks its protocol. */
export class S3Vault implements Vault {
  readonly name: string;
  readonly url: string;
  readonly features: VaultFeatures;
  readonly bucket: BucketReader;
  readonly expiryMarks: ExpiryMarks;
  readonly keeping: S3Keeping;
  readonly archive: Archive;
  readonly #connection: S3Connection;
  readonly #options: S3VaultOptions;
  readonly #pageKeys: number;
  readonly #buffers: PartBuffers;
  #leftUploadsEnded = false;

  constructor(options: S3VaultOptions) {
    this.name = options.name;
    this.#options = options;
    this.#pageKeys = options.pageKeys ?? PAGE_KEYS;
    this.#connection = new S3Connection(options.settings, options.pace ?? PACE, options.stop ?? null);
    this.url = this.#connection.place.url;
    const objectKey = (key: string): string => this.#objectKey(key);
    this.bucket = new S3BucketSettings(this.#connection);
    this.expiryMarks = new S3ExpiryMarks(this.#connection, this.bucket, objectKey);
    this.keeping = new S3Keeping(this.#connection, objectKey);
    this.archive = new S3Archive(this.#connection, objectKey, (prefix) => this.#pages(prefix, {}));
    this.#buffers = new PartBuffers((options.limits ?? UPLOAD_LIMITS).partBytes, BUFFERS);
    this.features = {
      createOnly: true,
      // Ceph, and with it several stores, ignores the condition there.
      conditionalMultipart: options.settings.endpoint === null,
      // Taken only when the server's answer carries one: else the bytes are read back all the same.
      serverChecksum: true,
      knowsSpace: options.capacity !== undefined,
      ...options.features,
    };
  }

  async putOnce(key: string, body: Uint8Array, keep?: KeepOptions): Promise<void> {
    checkKey(key);
    await this.#put(key, body, true, keep && (await this.keeping.possible(keep)));
  }

  async putAgain(key: string, body: Uint8Array): Promise<void> {
    checkKey(key);
    await this.#put(key, body, false);
  }

  async store(folder: string, name: string, bytes: Readable, options: StoreOptions): Promise<readonly StoredVolume[]> {
    checkKey(`${folder}/${name}`);
    await this.#endLeftUploads();
    const { conditionalMultipart, serverChecksum } = this.features;
    const keep = await this.keeping.possible(options);
    const volumes = await upload(
      {
        connection: this.#connection,
        folder,
        name,
        objectKey: (key) => this.#objectKey(key),
        stat: (key) => this.#stat(key),
        limits: this.#options.limits ?? UPLOAD_LIMITS,
        buffers: this.#buffers,
        conditionalMultipart,
        serverChecksum,
      },
      bytes,
      keep,
    );
    const keys = volumes.map((volume) => `${folder}/${volume.name}`);
    await this.keeping.confirm(keys, keep);
    return volumes;
  }

  async get(key: string): Promise<Uint8Array> {
    checkKey(key);
    return downloadSmall(this.#connection, key, this.#objectKey(key));
  }

  async open(key: string): Promise<Readable> {
    checkKey(key);
    return (await download(this.#connection, key, this.#objectKey(key))).stream;
  }

  async *list(
    prefix: string,
    options: { readonly after?: string; readonly limit?: number } = {},
  ): AsyncIterable<VaultEntry> {
    checkPrefix(prefix);
    let left = options.limit ?? Number.POSITIVE_INFINITY;
    if (left <= 0) return;
    const after = options.after ?? '';
    for await (const page of this.#pages(prefix, { after, size: Math.min(this.#pageKeys, left) })) {
      for (const { Key, Size, LastModified } of page.Contents ?? []) {
        const key = this.#keyOf(Key);
        if (Size === undefined || LastModified === undefined)
          throw this.#garbledList(prefix, `${key} has no size or time`);
        if (!isListedKey(key)) continue;
        yield { key, bytes: Size, modified: LastModified };
        if (--left === 0) return;
      }
    }
  }

  async *folders(prefix: string): AsyncIterable<string> {
    checkPrefix(prefix);
    const folder = prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`;
    for await (const page of this.#pages(folder, { delimiter: '/' })) {
      for (const { Prefix } of page.CommonPrefixes ?? []) {
        const name = this.#keyOf(Prefix).slice(folder.length, -1);
        if (isListedKey(name)) yield name;
      }
    }
  }

  /** Doubling steps, then halves: a listing can begin anywhere, but not at its end. One request below a thousand entries, about 25 at a million. */
  async lastNumber(prefix: string): Promise<number | null> {
    checkPrefix(prefix);
    const folder = prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`;
    const first = await this.#numbersFrom(folder, 0, this.#pageKeys);
    let last = first.last;
    if (last === null || !first.more) return last;
    // Something may lie above `last`; nothing lies at or above `nothing`.
    let nothing = Number.POSITIVE_INFINITY;
    for (let step = this.#pageKeys; nothing - last > 1; ) {
      const near = nothing - last <= this.#pageKeys;
      const from: number = near ? last + 1 : Math.min(last + step, Math.ceil((last + nothing) / 2));
      const page = await this.#numbersFrom(folder, from, near ? this.#pageKeys : 1);
      if (page.last === null) nothing = from;
      else {
        last = page.last;
        step *= 2;
        if (!page.more) return last;
      }
    }
    return last;
  }

  async link(key: string, seconds: number): Promise<string> {
    checkKey(key);
    return this.#connection.request('GetObject', key, async ({ client, sdk, bucket }) => {
      const { getSignedUrl } = await import('@aws-sdk/s3-request-presigner');
      const command = new sdk.GetObjectCommand({ ...bucket, Key: this.#objectKey(key) });
      return getSignedUrl(client, command, { expiresIn: seconds });
    });
  }

  async remove(key: string): Promise<void> {
    checkKey(key);
    // The store's own delete succeeds for what was never there.
    if ((await this.#stat(key)) === null) throw keyMissing(key, this.url);
    await this.#connection.request('DeleteObject', key, ({ client, sdk, bucket, options }) =>
      client.send(new sdk.DeleteObjectCommand({ ...bucket, Key: this.#objectKey(key) }), options),
    );
  }

  async now(): Promise<Date> {
    // A name that everybody may list who may do anything here, whether it is there or not.
    await this.#page(VAULT_KEY, { size: 1 });
    const time = this.#connection.serverTime;
    if (time === null) throw garbled(`${this.url} answers without a Date header`);
    return time;
  }

  async free(): Promise<number | null> {
    const { capacity } = this.#options;
    if (capacity === undefined) return null;
    let used = 0;
    for await (const page of this.#pages('', {})) for (const { Size } of page.Contents ?? []) used += Size ?? 0;
    return Math.max(0, capacity - used);
  }

  async total(): Promise<number | null> {
    return this.#options.capacity ?? null;
  }

  async #put(key: string, body: Uint8Array, createOnly: boolean, keep?: KeepOptions): Promise<void> {
    const buffer = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    const sha256 = createHash('sha256').update(buffer).digest();
    await putObject({ connection: this.#connection, objectKey: (name) => this.#objectKey(name) }, key, buffer, {
      createOnly,
      sha256,
      keep,
    });
  }

  /** Once a run is enough. */
  async #endLeftUploads(): Promise<void> {
    if (this.#leftUploadsEnded) return;
    this.#leftUploadsEnded = true;
    const after = this.#options.uploadLeftAfterMs ?? UPLOAD_LEFT_AFTER_MS;
    await endLeftUploads(this.#connection, this.#objectKey('backups/'), after);
  }

  async #stat(key: string): Promise<StoredObject | null> {
    const objectKey = this.#objectKey(key);
    const page = await this.#page(key, { size: 1 });
    const [found] = page.Contents ?? [];
    if (found?.Key !== objectKey) return null;
    if (found.Size === undefined) throw this.#garbledList(key, 'it has no size');
    return { bytes: found.Size, etag: unquoted(found.ETag) };
  }

  /** The greatest number in one page of names beginning at a number, and whether more may follow the page. */
  async #numbersFrom(folder: string, from: number, size: number): Promise<{ last: number | null; more: boolean }> {
    // `~` comes after all that a key may hold: all names of the number before are passed over.
    const after = from === 0 ? '' : `${folder}${tenDigits(from - 1)}~`;
    const page = await this.#page(folder, { after, size });
    const names = (page.Contents ?? []).map(({ Key }) => this.#keyOf(Key).slice(folder.length));
    const numbers = names.map(leadingNumber);
    const last = numbers.findLast((number) => number !== null) ?? null;
    // Names that begin with no number sort after all that do, or are hidden before them.
    return { last, more: page.IsTruncated === true && (numbers.at(-1) ?? null) !== null };
  }

  async *#pages(
    prefix: string,
    options: { readonly after?: string; readonly size?: number; readonly delimiter?: string },
  ): AsyncGenerator<ListObjectsV2CommandOutput> {
    for (let token: string | undefined; ; ) {
      const page = await this.#page(prefix, { ...options, ...(token === undefined ? {} : { token }) });
      yield page;
      if (!page.IsTruncated) return;
      if (!page.NextContinuationToken || page.NextContinuationToken === token)
        throw this.#garbledList(prefix, 'it says that more follows, and not where');
      token = page.NextContinuationToken;
    }
  }

  /** One page, checked: what is no listing must never look like an empty one (I14). */
  async #page(
    prefix: string,
    {
      after = '',
      size = this.#pageKeys,
      delimiter,
      token,
    }: { readonly after?: string; readonly size?: number; readonly delimiter?: string; readonly token?: string },
  ): Promise<ListObjectsV2CommandOutput> {
    return this.#connection.request('ListObjectsV2', prefix, async ({ client, sdk, bucket, options }) => {
      const page = await client.send(
        new sdk.ListObjectsV2Command({
          ...bucket,
          Prefix: this.#objectKey(prefix),
          MaxKeys: size,
          ...(after === '' ? {} : { StartAfter: this.#objectKey(after) }),
          ...(delimiter === undefined ? {} : { Delimiter: delimiter }),
          ...(token === undefined ? {} : { ContinuationToken: token }),
        }),
        options,
      );
      const told = (page.Contents?.length ?? 0) + (page.CommonPrefixes?.length ?? 0);
      if (page.Name === undefined || page.IsTruncated === undefined)
        throw this.#garbledList(prefix, 'it is no listing of a bucket');
      if (page.KeyCount !== undefined && page.KeyCount !== told)
        throw this.#garbledList(prefix, `it holds ${told} of ${page.KeyCount} keys`);
      return page;
    });
  }

  #garbledList(prefix: string, why: string): Error {
    return garbled(`the listing of ${prefix === '' ? 'everything' : prefix} in ${this.url} is broken: ${why}`);
  }

  #objectKey(key: string): string {
    const { prefix } = this.#options.settings;
    return prefix === '' ? key : `${prefix}/${key}`;
  }

  #keyOf(objectKey: string | undefined): string {
    const { prefix } = this.#options.settings;
    const before = prefix === '' ? '' : `${prefix}/`;
    if (objectKey === undefined || !objectKey.startsWith(before))
      throw this.#garbledList('', `${JSON.stringify(objectKey)} does not begin with ${before}`);
    return objectKey.slice(before.length);
  }
}
