import type { Measured } from '#core/anomaly';
import type { Manifest } from '#core/manifest';
import type { Source, Tier } from '#core/plan';
import type { ProofState } from '#core/proof';

/** A committed backup, as far as retention cares. */
export interface StoredBackup extends Measured {
  readonly tier: string;
  readonly kind: Manifest['kind'];
  /** Id of the backup that this one cannot be restored without. */
  readonly base: string | null;
  readonly scheduledAt: Date | null;
  /** The manifest's own promise; null = it names no end. */
  readonly expires: Date | null;
  readonly proof: ProofState;
  /** Number of the lease it was made under: it grows whatever clocks do. */
  readonly lease: number;
  /** The name somebody gave to this moment. It is kept as its tier says. */
  readonly point: string | null;
}

/** Segments of a log that are replayed onto a base. */
export interface LogRange {
  readonly from: Date;
  readonly to: Date;
  /** When the last of them is given up; null = never. */
  readonly until: Date | null;
}

export type SourceRules = Pick<Source, 'schedule' | 'objectives' | 'prove' | 'hold'>;

/** Everything that decides about one source's backups in one vault. */
export interface RetentionInput {
  /** All of them, in any order. One that is not told of is not protected, and protects nothing. */
  readonly backups: readonly StoredBackup[];
  /** Ids of backups whose manifests cannot be read: what they need is not known. */
  readonly unreadable: readonly string[];
  /** Backups that somebody holds, and why. */
  readonly holds: ReadonlyMap<string, string>;
  /** Backups that somebody has looked at, also such that are gone: their anomalies endanger nothing any more. */
  readonly acknowledged: readonly string[];
  /** By the id of the base they need. */
  readonly logs: ReadonlyMap<string, LogRange>;
  readonly tiers: Readonly<Record<string, Tier>>;
  /** Null: the source has left the plan; its backups are kept as they were promised. */
  readonly settings: SourceRules | null;
  /** The plan's timezone: periods are pieces of its calendar. */
  readonly zone: string;
  readonly now: Date;
  /** The last time a run found the source equal to a backup, instead of storing it again; by backup id. */
  readonly unchanged: ReadonlyMap<string, Date>;
  /** For a vault that no schedule writes any more: the newest proven backup in those that are written. */
  readonly provenElsewhere: Date | null;
  /** A reason of the caller's why nothing may be removed. */
  readonly stop: string | null;
  /** A look into the future: as if the newest proven one stayed the newest, proven, and young enough. */
  readonly assumeFresh: boolean;
}

/** Whether a backup is one that others may be given up for. With `prove: never` that is one that is not disproven. */
export function countsAsProven({ proof }: StoredBackup, settings: SourceRules | null): boolean {
  return proof === 'proven' || (settings?.prove === 'never' && proof !== 'disproven');
}

/** Oldest first; the id decides between two of the same moment. */
export function byTime(a: StoredBackup, b: StoredBackup): number {
  const difference = a.snapshotAt.getTime() - b.snapshotAt.getTime();
  return difference !== 0 ? difference : a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

/** `2026-12-21`; to the minute where less than a day was promised. UTC. */
export function dayText(moment: Date, promisedSeconds = Number.POSITIVE_INFINITY): string {
  const text = moment.toISOString();
  return promisedSeconds < 86_400 ? `${text.slice(0, 10)} ${text.slice(11, 16)}Z` : text.slice(0, 10);
}
