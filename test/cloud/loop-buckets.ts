import {
  GetObjectTaggingCommand,
  type LifecycleRule,
  PutBucketLifecycleConfigurationCommand,
  paginateListObjectsV2,
  S3Client,
} from '@aws-sdk/client-s3';
import { EXPIRED_MARK } from '#core/bucket-lifecycle';
import { bucketRules } from '#core/bucket-rules';
import type { Plan } from '#core/plan';
import type { Deployment } from '#test/cloud/deployment';
import type { S3ForTests } from '#test/servers/ceph';
import type { S3Gate } from '#test/servers/s3-gate';
import { S3Vault } from '#vault/s3-vault';

interface Place {
  readonly bucket: string;
  readonly prefix: string;
  readonly rules: readonly LifecycleRule[];
}

/** A day of the gateway is five seconds: what retention marks must be there when the test looks. */
const DAYS_FACTOR = 1000;

/** The buckets of a deployment's vaults on the gateway, and what a person with all rights sees in them. */
export class LoopBuckets {
  readonly #server: S3ForTests;
  readonly #gate: S3Gate;
  readonly #client: S3Client;
  readonly #places: ReadonlyMap<string, Place>;
  /** The server's own bucket, by the one of the deployment that it stands for. */
  readonly #real = new Map<string, string>();

  constructor(server: S3ForTests, gate: S3Gate, plan: Plan, deployment: Deployment) {
    this.#server = server;
    this.#gate = gate;
    const { endpoint } = server;
    this.#client = new S3Client({ endpoint, forcePathStyle: true, region: 'us-east-1', credentials: server });
    this.#places = new Map(
      Object.entries(plan.vaults).map(([name, vault]) => {
        if (!('s3' in vault)) throw new Error(`${name} is no bucket`);
        // Of an adopted one, as its owner put them who was shown what is wanted.
        const rules = vault.existing ? bucketRules(plan, name) : (deployment.buckets.get(vault.s3)?.rules ?? []);
        return [name, { bucket: vault.s3, prefix: vault.prefix ?? '', rules: rules as LifecycleRule[] }];
      }),
    );
  }

  /** Empty ones, with their rules. */
  async renew(): Promise<void> {
    for (const { bucket, rules } of this.#places.values()) {
      const fresh = await this.#server.another();
      this.#real.set(bucket, fresh);
      this.#gate.lead(bucket, fresh);
      // The gateway has no other classes to move objects to, and nothing here waits for what else the rules do.
      const ending = rules.flatMap((rule) => {
        const days = rule.Expiration?.Days;
        return days === undefined ? [] : [{ ...rule, Expiration: { Days: days * DAYS_FACTOR } }];
      });
      const configuration = { Bucket: fresh, LifecycleConfiguration: { Rules: ending } };
      if (ending.length > 0) await this.#client.send(new PutBucketLifecycleConfigurationCommand(configuration));
    }
  }

  /** The first one unless told. */
  vault(name = [...this.#places.keys()][0] as string): S3Vault {
    const { bucket, prefix } = this.#places.get(name) as Place;
    const { endpoint } = this.#server;
    const settings = { bucket: this.#real.get(bucket) as string, prefix, region: 'us-east-1', endpoint };
    return new S3Vault({ name, settings: { ...settings, credentials: this.#server, sse: null } });
  }

  /** Keys of a vault that bear the mark, and those that do not. */
  async marks(name: string): Promise<{ readonly marked: readonly string[]; readonly others: readonly string[] }> {
    const { bucket, prefix } = this.#places.get(name) as Place;
    const place = { Bucket: this.#real.get(bucket) as string };
    const [marked, others]: [string[], string[]] = [[], []];
    for await (const { Contents = [] } of paginateListObjectsV2({ client: this.#client }, place))
      for (const { Key = '' } of Contents) {
        const { TagSet = [] } = await this.#client.send(new GetObjectTaggingCommand({ ...place, Key }));
        const isMarked = TagSet.some((tag) => tag.Key === EXPIRED_MARK.Key && tag.Value === EXPIRED_MARK.Value);
        (isMarked ? marked : others).push(Key.slice(prefix.length + 1));
      }
    return { marked, others };
  }

  close(): void {
    this.#client.destroy();
  }
}
