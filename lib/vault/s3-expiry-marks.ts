import type { LifecycleRule, Tag } from '@aws-sdk/client-s3';
import type { ExpiryMarks } from '#core/ports';
import { inTurns } from '#vault/in-turns';
import { checkKey, checkPrefix } from '#vault/keys';
import type { S3Connection } from '#vault/s3-client';
import { failureOf } from '#vault/s3-errors';

const MARK: Tag = { Key: 'holdfast', Value: 'expired' };
const MARKED_AT_ONCE = 8;

/** Answers by which a store says that it has no lifecycle at all. */
const NO_LIFECYCLE = new Set(['NotImplemented', 'MethodNotAllowed', 'XNotImplemented']);

/** The tag `holdfast=expired`, and the bucket's lifecycle rules that act on it. */
export class S3ExpiryMarks implements ExpiryMarks {
  readonly #connection: S3Connection;
  readonly #objectKey: (key: string) => string;

  constructor(connection: S3Connection, objectKey: (key: string) => string) {
    this.#connection = connection;
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
    await inTurns(keys, MARKED_AT_ONCE, (key) => this.#mark(key));
  }

  async #mark(key: string): Promise<void> {
    const Key = this.#objectKey(key);
    const { TagSet = [] } = await this.#connection.request(
      'GetObjectTagging',
      key,
      ({ client, sdk, bucket, options }) => client.send(new sdk.GetObjectTaggingCommand({ ...bucket, Key }), options),
    );
    if (TagSet.some((tag) => tag.Key === MARK.Key && tag.Value === MARK.Value)) return;
    const tags = [...TagSet.filter((tag) => tag.Key !== MARK.Key), MARK];
    await this.#connection.request('PutObjectTagging', key, ({ client, sdk, bucket, options }) =>
      client.send(new sdk.PutObjectTaggingCommand({ ...bucket, Key, Tagging: { TagSet: tags } }), options),
    );
  }

  async #rules(): Promise<readonly LifecycleRule[]> {
    return this.#connection.request('GetBucketLifecycleConfiguration', '', async ({ client, sdk, bucket, options }) => {
      try {
        const reply = await client.send(new sdk.GetBucketLifecycleConfigurationCommand(bucket), options);
        return reply.Rules ?? [];
      } catch (error) {
        const { name, status } = failureOf(error);
        if (name === 'NoSuchLifecycleConfiguration' || NO_LIFECYCLE.has(name) || status === 501) return [];
        throw error;
      }
    });
  }
}

/** Whether the rule ends everything below the prefix that bears the mark, whatever its size and its other tags. */
function endsMarked({ Status, Expiration, Filter }: LifecycleRule, below: string): boolean {
  if (Status !== 'Enabled' || Expiration?.Days === undefined || !Filter) return false;
  const { And: and } = Filter;
  // Ceph answers with empty parts beside the one that is meant.
  const tags = and?.Tags ?? (Filter.Tag ? [Filter.Tag] : []);
  const sized = [Filter, and].some(
    (part) => (part?.ObjectSizeGreaterThan ?? 0) > 0 || part?.ObjectSizeLessThan !== undefined,
  );
  const [tag, ...more] = tags;
  return (
    !sized &&
    more.length === 0 &&
    tag?.Key === MARK.Key &&
    tag?.Value === MARK.Value &&
    below.startsWith(and?.Prefix ?? Filter.Prefix ?? '')
  );
}
