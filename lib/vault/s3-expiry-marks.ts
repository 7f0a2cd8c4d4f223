import { EXPIRED_MARK, endsMarked, type LifecycleRule } from '#core/bucket-lifecycle';
import { KeyMissing, VaultRefused } from '#core/errors';
import type { BucketReader, ExpiryMarks } from '#core/ports';
import { inTurns } from '#vault/in-turns';
import { checkKey, checkPrefix } from '#vault/keys';
import type { S3Connection } from '#vault/s3-client';

const MARKED_AT_ONCE = 8;

/** The tag `holdfast=expired`, and the bucket's lifecycle rules that act on it. */
export class S3ExpiryMarks implements ExpiryMarks {
  readonly #connection: S3Connection;
  readonly #bucket: BucketReader;
  readonly #objectKey: (key: string) => string;

  constructor(connection: S3Connection, bucket: BucketReader, objectKey: (key: string) => string) {
    this.#connection = connection;
    this.#bucket = bucket;
    this.#objectKey = objectKey;
  }

  /** Asked each time: a rule that somebody switched off must not be counted on. */
  async covers(prefix: string): Promise<boolean> {
    checkPrefix(prefix);
    const below = this.#objectKey(prefix);
    return (await this.#rules()).some((rule) => endsMarked(rule, below));
  }

  async mark(keys: readonly string[]): Promise<void> {
    for (const key of keys) checkKey(key);
    await inTurns(keys, MARKED_AT_ONCE, async (key) => {
      try {
        await this.#mark(key);
      } catch (error) {
        // What was marked before may go at any moment, since it was listed too: its mark has done its work.
        if (!(error instanceof KeyMissing)) throw error;
      }
    });
  }

  async #mark(key: string): Promise<void> {
    const Key = this.#objectKey(key);
    const { TagSet = [] } = await this.#connection.request(
      'GetObjectTagging',
      key,
      ({ client, sdk, bucket, options }) => client.send(new sdk.GetObjectTaggingCommand({ ...bucket, Key }), options),
    );
    if (TagSet.some((tag) => tag.Key === EXPIRED_MARK.Key && tag.Value === EXPIRED_MARK.Value)) return;
    const tags = [...TagSet.filter((tag) => tag.Key !== EXPIRED_MARK.Key), EXPIRED_MARK];
    await this.#connection.request('PutObjectTagging', key, ({ client, sdk, bucket, options }) =>
      client.send(new sdk.PutObjectTaggingCommand({ ...bucket, Key, Tagging: { TagSet: tags } }), options),
    );
  }

  async #rules(): Promise<readonly LifecycleRule[]> {
    const seen = await this.#bucket.lifecycle();
    if ('value' in seen) return seen.value.rules;
    const { right, message } = seen.unseen;
    // A store that does not know the call has no lifecycle at all.
    if (right === null) return [];
    throw new VaultRefused(message, { hint: `allow ${right} on ${this.#connection.place.url} for these credentials` });
  }
}
