import type { Readable } from 'node:stream';
import type { ListObjectsV2CommandOutput, Tier } from '@aws-sdk/client-s3';
import { VaultRefused } from '#core/errors';
import type { Archive, Archived, ThawAsk } from '#core/ports';
import type { ThawSpeed } from '#core/thaw';
import { inTurns } from '#vault/in-turns';
import { checkKey, checkPrefix } from '#vault/keys';
import type { S3Connection } from '#vault/s3-client';
import { failureOf, garbled } from '#vault/s3-errors';

const AT_ONCE = 8;
const CLASSES: Readonly<Record<string, Archived['class']>> = { GLACIER: 'archive', DEEP_ARCHIVE: 'deep-archive' };
const TIERS: Readonly<Record<ThawSpeed, Tier>> = { standard: 'Standard', bulk: 'Bulk', expedited: 'Expedited' };

/** Somebody was quicker; or it has come back to a class that is read at once, which each next look tells. */
const NOTHING_TO_ASK = new Set(['RestoreAlreadyInProgress', 'ObjectAlreadyInActiveTierError', 'InvalidObjectState']);

/** What the archive classes of a bucket hold, and its thaws. */
export class S3Archive implements Archive {
  readonly #connection: S3Connection;
  readonly #objectKey: (key: string) => string;
  readonly #pages: (prefix: string) => AsyncIterable<ListObjectsV2CommandOutput>;

  constructor(
    connection: S3Connection,
    objectKey: (key: string) => string,
    pages: (prefix: string) => AsyncIterable<ListObjectsV2CommandOutput>,
  ) {
    this.#connection = connection;
    this.#objectKey = objectKey;
    this.#pages = pages;
  }

  /** A listing tells the classes; how far a thaw is, only a look at each object does. */
  async archived(prefix: string): Promise<readonly Archived[]> {
    checkPrefix(prefix);
    const cold: Pick<Archived, 'key' | 'bytes' | 'class'>[] = [];
    const root = this.#objectKey('');
    for await (const page of this.#pages(prefix))
      for (const { Key = '', Size = 0, StorageClass = '' } of page.Contents ?? []) {
        const archiveClass = CLASSES[StorageClass];
        if (archiveClass) cold.push({ key: Key.slice(root.length), bytes: Size, class: archiveClass });
      }
    const found: Archived[] = [];
    await inTurns(cold, AT_ONCE, async (one) => {
      const state = await this.#stateOf(one.key);
      if (state.state !== 'frozen' || !(await this.#isReadAtOnce(one.key))) found.push({ ...one, ...state });
    });
    return found.sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  async thaw(keys: readonly string[], { speed, days }: ThawAsk): Promise<void> {
    for (const key of keys) checkKey(key);
    await inTurns(keys, AT_ONCE, (key) => this.#thaw(key, speed, days));
  }

  async #stateOf(key: string): Promise<Pick<Archived, 'state' | 'until'>> {
    const Key = this.#objectKey(key);
    const { Restore } = await this.#connection.request('HeadObject', key, ({ client, sdk, bucket, options }) =>
      client.send(new sdk.HeadObjectCommand({ ...bucket, Key }), options),
    );
    if (Restore === undefined || Restore === '') return { state: 'frozen', until: null };
    const ongoing = /ongoing-request="(true|false)"/.exec(Restore)?.[1];
    if (ongoing === 'true') return { state: 'thawing', until: null };
    const until = new Date(/expiry-date="([^"]+)"/.exec(Restore)?.[1] ?? '');
    if (ongoing === undefined || Number.isNaN(until.getTime()))
      throw garbled(`${key} in ${this.#connection.place.url}: nobody can read its state of thaw, ${Restore}`);
    return { state: 'thawed', until };
  }

  /** Other stores may give a class the name of an archive, and its objects at once. AWS does not, and is not asked. */
  async #isReadAtOnce(key: string): Promise<boolean> {
    if (this.#connection.settings.endpoint === null) return false;
    const Key = this.#objectKey(key);
    return this.#connection.request('GetObject', key, async ({ client, sdk, bucket, options }) => {
      try {
        const { Body } = await client.send(new sdk.GetObjectCommand({ ...bucket, Key, Range: 'bytes=0-0' }), options);
        (Body as Readable | undefined)?.destroy();
        return true;
      } catch (error) {
        if (failureOf(error).name === 'InvalidObjectState') return false;
        throw error;
      }
    });
  }

  async #thaw(key: string, speed: ThawSpeed, days: number): Promise<void> {
    const Key = this.#objectKey(key);
    await this.#connection.request('RestoreObject', key, async ({ client, sdk, bucket, options }) => {
      const RestoreRequest = { Days: days, GlacierJobParameters: { Tier: TIERS[speed] } };
      try {
        await client.send(new sdk.RestoreObjectCommand({ ...bucket, Key, RestoreRequest }), options);
      } catch (error) {
        const { name } = failureOf(error);
        if (NOTHING_TO_ASK.has(name)) return;
        // No failing server, as its 503 would have it: tried again at once it says the same.
        if (name === 'GlacierExpeditedRetrievalNotAvailable')
          throw new VaultRefused(`${this.#connection.place.url} has no room for an expedited thaw at the moment`, {
            hint: 'take the standard one: --thaw standard',
          });
        throw error;
      }
    });
  }
}
