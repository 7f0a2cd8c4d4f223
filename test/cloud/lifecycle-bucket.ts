import {
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  type LifecycleRule,
  ListMultipartUploadsCommand,
  ListObjectVersionsCommand,
  type ListObjectVersionsCommandOutput,
  PutBucketLifecycleConfigurationCommand,
  PutBucketVersioningCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import type { Clock } from '#core/ports';
import type { S3Server } from '#test/servers/ceph';
import { PACE } from '#vault/s3-client';
import { S3Vault } from '#vault/s3-vault';

/** A version of an object, or what is left in its place. */
export interface Version {
  readonly key: string;
  readonly id: string;
  readonly etag: string;
  readonly storageClass: string;
}

/** All versions below a prefix at one moment, by key without the vault's own prefix. */
export interface Versions {
  readonly current: ReadonlyMap<string, Version>;
  readonly noncurrent: ReadonlyMap<string, readonly Version[]>;
  /** Keys that end in a delete marker. */
  readonly deleted: ReadonlySet<string>;
}

/** The bucket that a template describes, on the gateway, and what a person with all rights sees in it. */
export class LifecycleBucket {
  readonly #client: S3Client;
  readonly #server: S3Server;
  readonly #bucket: string;
  readonly #prefix: string;

  constructor(server: S3Server, bucket: string, prefix: string) {
    this.#server = server;
    this.#bucket = bucket;
    this.#prefix = prefix;
    this.#client = new S3Client({
      endpoint: server.endpoint,
      forcePathStyle: true,
      region: 'us-east-1',
      credentials: server,
    });
  }

  async make(rules: LifecycleRule[]): Promise<void> {
    const Bucket = this.#bucket;
    await this.#client.send(new CreateBucketCommand({ Bucket }));
    await this.#client.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: 'Enabled' } }));
    await this.#client.send(
      new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules: rules } }),
    );
  }

  /** The vault in it, whose clock is the test's: the gateway has the machine's. */
  vault(name: string, clock: Clock): S3Vault {
    const { endpoint } = this.#server;
    return new VaultOfTheYear(
      {
        name,
        settings: {
          bucket: this.#bucket,
          prefix: this.#prefix,
          region: null,
          endpoint,
          credentials: this.#server,
          sse: null,
        },
        pace: PACE,
      },
      clock,
    );
  }

  async versions(prefix: string): Promise<Versions> {
    const current = new Map<string, Version>();
    const noncurrent = new Map<string, Version[]>();
    const deleted = new Set<string>();
    const place = { Bucket: this.#bucket, Prefix: `${this.#prefix}/${prefix}` };
    for (let from: { KeyMarker?: string; VersionIdMarker?: string } | null = {}; from; ) {
      const page: ListObjectVersionsCommandOutput = await this.#client.send(
        new ListObjectVersionsCommand({ ...place, ...from }),
      );
      for (const { Key = '', VersionId = '', ETag = '', StorageClass = '', IsLatest } of page.Versions ?? []) {
        const version = { key: this.#within(Key), id: VersionId, etag: ETag, storageClass: StorageClass };
        if (IsLatest) current.set(version.key, version);
        else noncurrent.set(version.key, [...(noncurrent.get(version.key) ?? []), version]);
      }
      for (const { Key = '', IsLatest } of page.DeleteMarkers ?? []) if (IsLatest) deleted.add(this.#within(Key));
      const { IsTruncated, NextKeyMarker = '', NextVersionIdMarker = '' } = page;
      from = IsTruncated ? { KeyMarker: NextKeyMarker, VersionIdMarker: NextVersionIdMarker } : null;
    }
    return { current, noncurrent, deleted };
  }

  async read({ key, id }: Version): Promise<string> {
    const place = { Bucket: this.#bucket, Key: `${this.#prefix}/${key}`, VersionId: id };
    const { Body } = await this.#client.send(new GetObjectCommand(place));
    return (await Body?.transformToString()) ?? '';
  }

  /** What a killed run leaves. */
  async beginUpload(key: string): Promise<void> {
    await this.#client.send(new CreateMultipartUploadCommand({ Bucket: this.#bucket, Key: `${this.#prefix}/${key}` }));
  }

  async uploads(): Promise<readonly string[]> {
    const { Uploads = [] } = await this.#client.send(new ListMultipartUploadsCommand({ Bucket: this.#bucket }));
    return Uploads.map(({ Key = '' }) => this.#within(Key));
  }

  close(): void {
    this.#client.destroy();
  }

  #within(key: string): string {
    return key.slice(this.#prefix.length + 1);
  }
}

class VaultOfTheYear extends S3Vault {
  readonly #clock: Clock;

  constructor(options: ConstructorParameters<typeof S3Vault>[0], clock: Clock) {
    super(options);
    this.#clock = clock;
  }

  override async now(): Promise<Date> {
    return this.#clock.now();
  }
}
