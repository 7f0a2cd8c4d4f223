import { rootOf } from '#core/bucket-rules';
import type { Plan } from '#core/plan';

/**
 * What S3's own replication of a vault is called. Names are decided here and not by CloudFormation: two stacks in two
 * regions, and the owner of an adopted bucket, have to know them before they exist.
 */

/** The rule's id: the metrics of the replication are called by it. */
export const REPLICATION_RULE = 'vault';

export function replicaBucketName({ s3 }: { readonly s3: string }): string {
  return `${s3}-replica`;
}

export function replicaKeyAlias(plan: Plan, vault: string): string {
  return `alias/holdfast/${plan.name}-${vault}-replica`;
}

export function replicationRoleName(plan: Plan, vault: string): string {
  return `${plan.name}-${vault}-replication`;
}

/** Stands where the account's number belongs, if the plan does not say it. */
export const ACCOUNT_PLACE = 'ACCOUNT';

/** As `PutBucketReplication` takes it, for a bucket that the deployment does not touch; null = the plan wants none. */
export function replicationOf(plan: Plan, vault: string): object | null {
  const settings = plan.vaults[vault];
  if (!settings || !('s3' in settings) || settings.replica?.region === undefined) return null;
  const { region, account } = settings.replica;
  const here = plan.cloud?.account ?? ACCOUNT_PLACE;
  return {
    Role: `arn:aws:iam::${here}:role/${replicationRoleName(plan, vault)}`,
    Rules: [
      {
        ID: REPLICATION_RULE,
        Status: 'Enabled',
        Priority: 1,
        Filter: { Prefix: rootOf(plan, vault) },
        DeleteMarkerReplication: { Status: 'Disabled' },
        SourceSelectionCriteria: { SseKmsEncryptedObjects: { Status: 'Enabled' } },
        Destination: {
          Bucket: `arn:aws:s3:::${replicaBucketName(settings)}`,
          ...(account === undefined ? {} : { Account: account, AccessControlTranslation: { Owner: 'Destination' } }),
          EncryptionConfiguration: {
            ReplicaKmsKeyID: `arn:aws:kms:${region}:${account ?? here}:${replicaKeyAlias(plan, vault)}`,
          },
          Metrics: { Status: 'Enabled', EventThreshold: { Minutes: 15 } },
        },
      },
    ],
  };
}
