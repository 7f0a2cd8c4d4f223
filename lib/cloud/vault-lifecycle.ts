import { Duration, Size } from 'aws-cdk-lib';
import { type Bucket, type CfnBucket, type LifecycleRule, StorageClass } from 'aws-cdk-lib/aws-s3';
import type { Plan, Tier } from '#core/plan';
import { tiersOf } from '#core/tiers';

/**
 * Lifecycle of a vault's bucket (DESIGN section 4). Age alone ends nothing: a rule of a tier takes only what the retain
 * job has marked, and what it takes can be had back for `UNDELETE_DAYS`.
 */

const EXPIRED_TAG = { holdfast: 'expired' };
const DAY_SECONDS = 86_400;
/** How long a deleted version, or an overwritten page, can be brought back. */
const UNDELETE_DAYS = 30;
const DEFAULT_TRANSITION_DAYS = 30;
/** So that manifests stay readable without a thaw. */
const SMALLEST_MOVED = Size.kibibytes(128);
const COLD = { archive: StorageClass.GLACIER, 'deep-archive': StorageClass.DEEP_ARCHIVE } as const;

/** Of the bucket that `vault` names: a rule for each source and tier that may land there, and what every vault needs. */
export function lifecycleOf(plan: Plan, vault: string): LifecycleRule[] {
  const settings = plan.vaults[vault];
  const root = settings && 's3' in settings && settings.prefix ? `${settings.prefix}/` : '';
  const tiers = Object.entries(plan.sources).flatMap(([source, { schedule }]) =>
    [...new Set(schedule.filter(({ to }) => to.includes(vault)).flatMap(tiersOf))].map((tier) => ({ source, tier })),
  );
  return [
    ...tiers.flatMap(({ source, tier }) => {
      const known = plan.tiers[tier];
      return known ? rulesOf(`${root}backups/${source}/${tier}/`, `${source}-${tier}`, known) : [];
    }),
    { id: 'undelete', noncurrentVersionExpiration: Duration.days(UNDELETE_DAYS) },
    { id: 'leases', prefix: `${root}leases/`, noncurrentVersionExpiration: Duration.days(1) },
    { id: 'delete-markers', expiredObjectDeleteMarker: true },
    { id: 'half-uploads', abortIncompleteMultipartUploadAfter: Duration.days(7) },
  ];
}

function rulesOf(prefix: string, id: string, tier: Tier): LifecycleRule[] {
  const days = daysOf(tier);
  const cold = tier.class === 'archive' || tier.class === 'deep-archive' ? COLD[tier.class] : null;
  const after = tier.after ? Math.ceil(tier.after.seconds / DAY_SECONDS) : DEFAULT_TRANSITION_DAYS;
  return [
    ...(days === null ? [] : [{ id, prefix, tagFilters: EXPIRED_TAG, expiration: Duration.days(days) }]),
    ...(cold === null
      ? []
      : [
          {
            id: `${id}-cold`,
            prefix,
            objectSizeGreaterThan: SMALLEST_MOVED.toBytes(),
            transitions: [{ storageClass: cold, transitionAfter: Duration.days(after) }],
          },
        ]),
  ];
}

/** A mark counts from the object's birth: even a stolen retain role ends nothing younger. Null = never. */
function daysOf({ keep }: Tier): number | null {
  if ('versions' in keep) return 1;
  return Number.isFinite(keep.seconds) ? Math.max(1, Math.ceil(keep.seconds / DAY_SECONDS)) : null;
}

/** CloudFormation has the size as text, the L2 writes a number: its own validation warns of each. */
export function writeSizesAsText(bucket: Bucket, rules: readonly LifecycleRule[]): void {
  const resource = bucket.node.defaultChild as CfnBucket;
  for (const [index, { objectSizeGreaterThan }] of rules.entries())
    if (objectSizeGreaterThan !== undefined)
      resource.addPropertyOverride(
        `LifecycleConfiguration.Rules.${index}.ObjectSizeGreaterThan`,
        String(objectSizeGreaterThan),
      );
}
