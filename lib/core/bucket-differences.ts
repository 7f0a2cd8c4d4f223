import { endsAfterDays } from '#core/bucket-lifecycle';
import { lifecycleDifferences } from '#core/bucket-lifecycle-differences';
import { allowsPlainHttp, overwritable } from '#core/bucket-policy';
import { replicaBucketName } from '#core/bucket-replication';
import { rootOf } from '#core/bucket-rules';
import type { BucketDifference, BucketLock, BucketSettings, ReplicationRule, Seen } from '#core/bucket-settings';
import type { Plan, VaultSettings } from '#core/plan';

export type S3Settings = Extract<VaultSettings, { s3: string }>;

/**
 * Whether a deployment relies on the bucket being as the plan wants it: nobody may delete there. Whoever uses a bucket of
 * AWS without one may do so as they please: `retain` deletes by itself then, and a writer's rights are their business.
 */
export function isHeldToPlan({ cloud, vaults }: Plan, vault: string): boolean {
  const settings = vaults[vault];
  if (!settings || !('s3' in settings) || settings.endpoint !== undefined) return false;
  return cloud !== undefined || settings.existing === true;
}

/**
 * What a live bucket lacks, or does too much, by the plan alone. Parts that were not seen say nothing here: the caller
 * tells that they were not. A bucket of another provider is held to nothing but its lifecycle, as stores differ; without
 * a deployment only what ends backups, or hides them in an archive, is grave.
 */
export function* bucketDifferences(
  plan: Plan,
  vault: string,
  live: Partial<BucketSettings>,
): Generator<BucketDifference> {
  const isHeld = isHeldToPlan(plan, vault);
  for (const difference of allDifferences(plan, vault, live))
    yield isHeld || isHarm(difference) ? difference : { ...difference, grave: false };
}

function isHarm({ rule }: BucketDifference): boolean {
  return rule !== undefined && (endsAfterDays(rule) !== null || (rule.Transitions ?? []).length > 0);
}

function* allDifferences(plan: Plan, vault: string, live: Partial<BucketSettings>): Generator<BucketDifference> {
  const settings = plan.vaults[vault];
  if (!settings || !('s3' in settings)) return;
  const isAws = settings.endpoint === undefined;
  if (saw(live.lifecycle)) yield* lifecycleDifferences(plan, vault, live.lifecycle.value, isAws);
  if (!isAws) return;
  if (saw(live.versioning) && live.versioning.value !== 'Enabled')
    yield {
      grave: true,
      what: `versioning is ${live.versioning.value === null ? 'off' : 'suspended'}: what is deleted or overwritten is gone`,
      hint: `aws s3api put-bucket-versioning --bucket ${settings.s3} --versioning-configuration Status=Enabled`,
    };
  if (saw(live.policy)) {
    const folders = overwritable(live.policy.value, settings.s3, rootOf(plan, vault));
    if (folders.length > 0)
      yield {
        grave: true,
        what: `its policy lets a writer overwrite what is in ${folders.map((folder) => `${folder}/`).join(', ')}`,
        hint: 'want a statement that denies s3:PutObject without s3:if-none-match',
      };
    if (allowsPlainHttp(live.policy.value, settings.s3))
      yield {
        grave: true,
        what: 'its policy lets requests in without TLS',
        hint: 'want a statement that denies s3:* where aws:SecureTransport is false',
      };
  }
  if (saw(live.lock)) yield* lockDifferences(settings, live.lock.value);
  if (saw(live.encryption)) yield* encryptionDifferences(plan, settings, live.encryption.value);
  if (saw(live.publicWays) && live.publicWays.value.length > 0)
    yield {
      grave: true,
      what: `the public is not kept out: ${live.publicWays.value.join(', ')} not set`,
      hint: `aws s3api put-public-access-block --bucket ${settings.s3} --public-access-block-configuration BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true`,
    };
  if (saw(live.replication)) yield* replicationDifferences(plan, vault, settings, live.replication.value);
}

function* lockDifferences({ lock }: S3Settings, { enabled, byDefault }: BucketLock): Generator<BucketDifference> {
  // That there is none at all, the vault itself tells (`Keeping.lacking`).
  if (!lock || !enabled || !byDefault) return;
  yield {
    grave: false,
    what: 'it locks every object by default: leases, pages and what is given up too, which then stays and costs',
    hint: 'take the default away (aws s3api put-object-lock-configuration --object-lock-configuration ObjectLockEnabled=Enabled): each backup brings its own lock',
  };
}

/** The algorithm that objects are to have; null = any, as all is sealed before it is put. */
export function wantedEncryption(plan: Plan, { sse, existing }: S3Settings): 'aws:kms' | null {
  return sse === 'kms' || (plan.cloud !== undefined && !existing) ? 'aws:kms' : null;
}

function* encryptionDifferences(plan: Plan, settings: S3Settings, live: string | null): Generator<BucketDifference> {
  const wanted = wantedEncryption(plan, settings);
  if (live === null)
    yield {
      grave: true,
      what: 'nothing encrypts by default what is put',
      hint: `want ${wanted ?? 'AES256'}: aws s3api put-bucket-encryption`,
    };
  else if (wanted !== null && !live.startsWith(wanted))
    yield {
      grave: true,
      what: `it encrypts by ${live}, want ${wanted}`,
      hint: 'aws s3api put-bucket-encryption, with the key of your own',
    };
}

function* replicationDifferences(
  plan: Plan,
  vault: string,
  settings: S3Settings,
  live: readonly ReplicationRule[],
): Generator<BucketDifference> {
  const { replica } = settings;
  if (!replica || replica.vault !== undefined) return;
  const bucket = replicaBucketName(settings);
  const root = rootOf(plan, vault);
  const there = live.filter(({ enabled, destination }) => enabled && destination.endsWith(`:${bucket}`));
  const whole = there.find(({ prefix, tagged }) => root.startsWith(prefix) && !tagged);
  if (!whole)
    yield {
      grave: true,
      what: `no rule replicates ${root === '' ? 'all of it' : root} to ${bucket}: the plan's replica has nothing new`,
      hint: 'want a replication rule for all of it: docs/aws.md, A bucket of your own',
    };
  else if (wantedEncryption(plan, settings) === 'aws:kms' && !whole.kmsObjects)
    yield {
      grave: true,
      what: `the replication to ${bucket} leaves out what is encrypted by KMS, which is all of it`,
      hint: 'want SourceSelectionCriteria.SseKmsEncryptedObjects: Enabled',
    };
  if (there.some(({ deletions }) => deletions))
    yield {
      grave: true,
      what: `what is deleted is deleted in ${bucket} too: the replica would not survive a mistake`,
      hint: 'want DeleteMarkerReplication: Disabled',
    };
}

function saw<Value>(part: Seen<Value> | undefined): part is { readonly value: Value } {
  return part !== undefined && 'value' in part;
}
