import { AnyPrincipal, Effect, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { Bucket, IBucket } from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import { backupBucket } from '#cloud/kept-bucket';
import { NOT_CREATE_ONLY, WRITE_ONCE } from '#core/bucket-policy';
import type { Plan, VaultSettings } from '#core/plan';

export type S3VaultSettings = Extract<VaultSettings, { s3: string }>;

export interface VaultBucketProps {
  readonly plan: Plan;
  readonly vault: string;
  readonly settings: S3VaultSettings;
  readonly key: IKey;
  readonly logs: IBucket;
}

/** A bucket in which nothing is ever overwritten, and nobody deletes: lifecycle alone does, what retain has marked. */
export class VaultBucket extends Construct {
  readonly bucket: Bucket;

  constructor(scope: Construct, id: string, { plan, vault, settings, key, logs }: VaultBucketProps) {
    super(scope, id);
    this.bucket = backupBucket(this, {
      plan,
      vault,
      name: settings.s3,
      locked: settings.lock !== undefined,
      key,
      logs,
    });
    this.bucket.addToResourcePolicy(createOnly(this.bucket, settings.prefix));
  }
}

function createOnly(bucket: IBucket, prefix: string | undefined): PolicyStatement {
  const root = prefix ? `${prefix}/` : '';
  return new PolicyStatement({
    sid: 'CreateOnly',
    effect: Effect.DENY,
    principals: [new AnyPrincipal()],
    actions: ['s3:PutObject'],
    resources: WRITE_ONCE.map((folder) => bucket.arnForObjects(`${root}${folder}/*`)),
    conditions: NOT_CREATE_ONLY,
  });
}
