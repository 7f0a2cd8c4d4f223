import type { Manifest } from '#core/manifest';
import type { Plan } from '#core/plan';
import { archivedAfterSeconds } from '#core/plan-rules-vault';

/** Backups in a class from which nothing can be read before it was thawed, which takes hours (DESIGN section 4). */

export const ARCHIVE_CLASSES = ['archive', 'deep-archive'] as const;
export type ArchiveClass = (typeof ARCHIVE_CLASSES)[number];

export const THAW_SPEEDS = ['standard', 'bulk', 'expedited'] as const;
export type ThawSpeed = (typeof THAW_SPEEDS)[number];

/** So long the thawed copies can be read: a restore that goes wrong can be repeated, and the backup be proven. */
export const THAW_DAYS = 7;

/** As AWS calls them. */
export const AWS_CLASS = { archive: 'GLACIER', 'deep-archive': 'DEEP_ARCHIVE' } as const;

const HOUR = 3600;
/** Objects up to this size are never moved, so that manifests stay readable without a thaw. */
export const SMALLEST_MOVED_BYTES = 128 * 1024;

/** Seconds: the longest that AWS names for each. Null: there is no such thaw. */
const LONGEST: Readonly<Record<ArchiveClass, Readonly<Record<ThawSpeed, number | null>>>> = {
  archive: { standard: 5 * HOUR, bulk: 12 * HOUR, expedited: 300 },
  'deep-archive': { standard: 12 * HOUR, bulk: 48 * HOUR, expedited: null },
};

/** The longest that a thaw takes, in seconds; null: the class has none of that speed. */
export function thawSeconds(archiveClass: ArchiveClass, speed: ThawSpeed): number | null {
  return LONGEST[archiveClass][speed];
}

/** The one that takes longer to thaw. */
export function slowestClass(classes: Iterable<ArchiveClass>): ArchiveClass | null {
  const all = new Set(classes);
  return all.has('deep-archive') ? 'deep-archive' : all.has('archive') ? 'archive' : null;
}

export interface ArchivedByPlan {
  readonly class: ArchiveClass;
  /** From then on a restore needs a thaw. */
  readonly from: Date;
  /** What the thaw takes at most. */
  readonly seconds: number;
}

/** Small objects stay where they are, and can be read. */
export function isMoved({ bytes }: { readonly bytes: number }): boolean {
  return bytes > SMALLEST_MOVED_BYTES;
}

type Stored = Pick<Manifest, 'tier' | 'snapshotAt' | 'artifacts'>;

/**
 * When the plan has a backup's copy in this vault moved to an archive class; null = never. Said of buckets of AWS alone:
 * what classes another store has, and what they take, nobody knows.
 */
export function archivedByPlan(
  plan: Plan,
  vault: string,
  { tier, snapshotAt, artifacts }: Stored,
): ArchivedByPlan | null {
  const settings = Object.hasOwn(plan.vaults, vault) ? plan.vaults[vault] : undefined;
  const known = Object.hasOwn(plan.tiers, tier) ? plan.tiers[tier] : undefined;
  if (!settings || !('s3' in settings) || settings.endpoint !== undefined || !known) return null;
  const after = archivedAfterSeconds(known);
  if (after === null) return null;
  if (!artifacts.some(({ volumes }) => volumes.some(isMoved))) return null;
  const archiveClass = known.class as ArchiveClass;
  return {
    class: archiveClass,
    from: new Date(Date.parse(snapshotAt) + after * 1000),
    seconds: thawSeconds(archiveClass, 'standard') as number,
  };
}

/**
 * What a thaw adds to a restore at this moment, in seconds, by the plan.
 * @param vaults those that have a copy; one that needs no thaw is enough
 */
export function thawSecondsNow(plan: Plan, vaults: readonly string[], backup: Stored, now: Date): number {
  const waits = vaults.map((vault) => {
    const archived = archivedByPlan(plan, vault, backup);
    return archived && archived.from <= now ? archived.seconds : 0;
  });
  return waits.length === 0 ? 0 : Math.min(...waits);
}
