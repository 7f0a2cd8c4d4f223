import type { Plan } from '#core/plan';
import type { Deployment } from '#test/cloud/deployment';
import { LoopBuckets } from '#test/cloud/loop-buckets';
import type { Rights } from '#test/cloud/rights';
import type { StandIn } from '#test/servers/aws-stand-in';
import { s3ForTests } from '#test/servers/ceph';
import { type CloudWatchStandIn, startCloudWatch } from '#test/servers/cloudwatch-stand-in';
import { startCredentials } from '#test/servers/credentials-stand-in';
import { type Queues, queuesOf } from '#test/servers/queues-stand-in';
import { type S3Gate, startS3Gate } from '#test/servers/s3-gate';
import { type SecretsStandIn, startSecrets } from '#test/servers/secrets-stand-in';
import { type SnsStandIn, startSns } from '#test/servers/sns-stand-in';

/** The services of AWS that hold something, each asking the rights of a deployment. */
export interface LoopServices {
  readonly sns: SnsStandIn;
  readonly queues: Queues;
  readonly s3: S3Gate;
  readonly buckets: LoopBuckets;
  readonly secrets: SecretsStandIn;
  readonly cloudWatch: CloudWatchStandIn;
  readonly credentials: StandIn;
  /** For the environment of whoever calls them. */
  readonly endpoints: Readonly<Record<string, string>>;
}

export interface LoopServicesOptions {
  readonly plan: Plan;
  readonly deployment: Deployment;
  readonly rights: Rights;
  readonly region: string;
  /** Of the clock, in milliseconds. */
  shift(): number;
}

/** @param opened ends them */
export async function startServices(
  { plan, deployment, rights, region, shift }: LoopServicesOptions,
  opened: AsyncDisposableStack,
): Promise<LoopServices> {
  const own = <T extends { stop(): Promise<void> }>(server: T): T => opened.adopt(server, (one) => one.stop());
  const { authorise, useKey } = rights;
  const ceph = opened.adopt(await s3ForTests(), (one) => one.close());
  const s3 = own(await startS3Gate(ceph, authorise, useKey, shift));
  const sns = own(await startSns(deployment.topics, authorise, useKey));
  const secrets = own(await startSecrets(deployment.secrets, authorise, useKey));
  const cloudWatch = own(await startCloudWatch(authorise));
  return {
    sns,
    queues: queuesOf(authorise, useKey),
    s3,
    buckets: opened.adopt(new LoopBuckets(ceph, s3, plan, deployment), (one) => one.close()),
    secrets,
    cloudWatch,
    credentials: own(await startCredentials()),
    endpoints: {
      AWS_ENDPOINT_URL_S3: s3.endpoint,
      AWS_ENDPOINT_URL_SECRETS_MANAGER: secrets.endpoint,
      AWS_ENDPOINT_URL_CLOUDWATCH: cloudWatch.endpoint,
      AWS_ENDPOINT_URL_SNS: sns.endpoint,
      // A call to anything else must fail, and not leave this machine.
      AWS_ENDPOINT_URL: 'http://127.0.0.1:9',
      AWS_REGION: region,
      AWS_DEFAULT_REGION: region,
      AWS_EC2_METADATA_DISABLED: 'true',
    },
  };
}
