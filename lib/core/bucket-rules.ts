import { EXPIRED_MARK, type LifecycleRule } from '#core/bucket-lifecycle';
import { withReplicas } from '#core/copy-rules';
import type { Plan, Tier, VaultSettings } from '#core/plan';
import { archivedAfterSeconds } from '#core/plan-rules-vault';
import { type ArchiveClass, AWS_CLASS, SMALLEST_MOVED_BYTES } from '#core/thaw';
import { tiersOf } from '#core/tiers';

/**
 * The lifecycle of a vault's bucket (DESIGN section 4), by the plan alone. Age ends nothing by itself: the rule of a tier
 * takes only what the retain job has marked, and what it takes can be had back for `UNDELETE_DAYS`.
 */

const DAY_SECONDS = 86_400;
/** How long a deleted version, or an overwritten page, can be brought back. */
export const UNDELETE_DAYS = 30;
/** An upload that has not ended by then never will. */
export const HALF_UPLOAD_DAYS = 7;

/** Backups of one source and tier in one vault. */
export interface Landing {
  readonly source: string;
  readonly tier: string;
  /** Within the bucket. */
  readonly prefix: string;
  /** A mark counts from the object's birth: even a stolen retain role ends nothing younger. Null = never. */
  readonly days: number | null;
  readonly cold: { readonly storageClass: 'GLACIER' | 'DEEP_ARCHIVE'; readonly days: number } | null;
}

/** Where in its bucket a vault lies: `prod/`, or nothing. */
export function rootOf(plan: Plan, vault: string): string {
  const settings = plan.vaults[vault];
  return settings && 's3' in settings && settings.prefix ? `${settings.prefix}/` : '';
}

/** What may land in a vault: of schedules that name it, and of vaults that are copied to it. */
export function landingsOf(plan: Plan, vault: string): Landing[] {
  const root = rootOf(plan, vault);
  return Object.entries(plan.sources).flatMap(([source, { schedule }]) => {
    const schedules = schedule.filter(({ to }) => withReplicas(plan, to).has(vault));
    return [...new Set(schedules.flatMap(tiersOf))].flatMap((name) => {
      const tier = plan.tiers[name];
      if (!tier) return [];
      const prefix = `${root}backups/${source}/${name}/`;
      return [{ source, tier: name, prefix, days: daysOf(tier), cold: coldOf(tier) }];
    });
  });
}

/** A rule for each source and tier, and what every vault needs. */
export function bucketRules(plan: Plan, vault: string): LifecycleRule[] {
  const root = rootOf(plan, vault);
  const isShared = isOthersToo(plan, vault);
  // Others may keep things in a bucket that was adopted, and others' rules have names too.
  const everything = isShared ? root : '';
  const name = (id: string): string => (isShared ? `holdfast-${vault}-${id}` : id);
  return [
    ...landingsOf(plan, vault).flatMap((landing) => tierRules(landing, name)),
    rule(name('undelete'), { Prefix: everything }, { NoncurrentVersionExpiration: { NoncurrentDays: UNDELETE_DAYS } }),
    rule(name('leases'), { Prefix: `${root}leases/` }, { NoncurrentVersionExpiration: { NoncurrentDays: 1 } }),
    rule(name('delete-markers'), { Prefix: everything }, { Expiration: { ExpiredObjectDeleteMarker: true } }),
    rule(
      name('half-uploads'),
      { Prefix: everything },
      { AbortIncompleteMultipartUpload: { DaysAfterInitiation: HALF_UPLOAD_DAYS } },
    ),
  ];
}

/** The bucket is not this vault's alone: it was adopted, or another vault of the plan lies in it. */
function isOthersToo({ vaults }: Plan, vault: string): boolean {
  const settings = vaults[vault];
  if (!settings || !('s3' in settings)) return false;
  const { s3, endpoint, existing } = settings;
  const isSame = ([name, other]: [string, VaultSettings]): boolean =>
    name !== vault && 's3' in other && other.s3 === s3 && other.endpoint === endpoint;
  return existing === true || Object.entries(vaults).some(isSame);
}

function tierRules({ source, tier, prefix, days, cold }: Landing, name: (id: string) => string): LifecycleRule[] {
  const id = name(`${source}-${tier}`);
  return [
    ...(days === null
      ? []
      : [rule(id, { And: { Prefix: prefix, Tags: [EXPIRED_MARK] } }, { Expiration: { Days: days } })]),
    ...(cold === null
      ? []
      : [
          rule(
            `${id}-cold`,
            { And: { Prefix: prefix, ObjectSizeGreaterThan: SMALLEST_MOVED_BYTES } },
            { Transitions: [{ Days: cold.days, StorageClass: cold.storageClass }] },
          ),
        ]),
  ];
}

function rule(ID: string, Filter: NonNullable<LifecycleRule['Filter']>, does: LifecycleRule): LifecycleRule {
  return { ID, Status: 'Enabled', Filter, ...does };
}

function coldOf(tier: Tier): Landing['cold'] {
  const after = archivedAfterSeconds(tier);
  if (after === null) return null;
  return { storageClass: AWS_CLASS[tier.class as ArchiveClass], days: Math.ceil(after / DAY_SECONDS) };
}

function daysOf({ keep }: Tier): number | null {
  if ('versions' in keep) return 1;
  return Number.isFinite(keep.seconds) ? Math.max(1, Math.ceil(keep.seconds / DAY_SECONDS)) : null;
}
