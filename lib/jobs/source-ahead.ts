import { COMPARED_WITH } from '#core/anomaly';
import type { RecordInvalid } from '#core/errors';
import { timeOfId } from '#core/manifest';
import { isAhead, stampedAhead } from '#core/stamped-ahead';
import { stampOf } from '#jobs/catalog';
import { type AnsweringVaults, manifestsOf, type SeenBackup } from '#jobs/source-listing';

/** A clock that was ahead for weeks may have stamped thousands; those before the newest were made by it too. */
const MOST_READ = 200;

/** Backups of a source without those that a clock that was ahead has stamped, which count for nothing; oldest first. */
export interface WithoutAhead {
  readonly seen: readonly SeenBackup[];
  /** Ids of those left out. */
  readonly ahead: readonly string[];
}

/** Reads manifests only where something lies in the future. */
export async function withoutStampedAhead(
  seen: readonly SeenBackup[],
  vaults: AnsweringVaults,
  now: Date,
  onInvalid: (id: string, error: RecordInvalid) => void,
): Promise<WithoutAhead> {
  const late = seen.filter(({ place }) => isAhead(timeOfId(place.id), now));
  if (late.length === 0) return { seen, ahead: [] };
  const present = seen.filter((one) => !late.includes(one)).slice(-COMPARED_WITH - 1);
  const read = await manifestsOf([...present, ...late.slice(-MOST_READ)], vaults, onInvalid);
  const found = stampedAhead(
    read.map(({ manifest }) => stampOf(manifest)),
    now,
  );
  const last = [...found].sort().at(-1) ?? '';
  const ahead = late.map(({ place }) => place.id).filter((id) => id <= last);
  return { seen: seen.filter(({ place }) => !ahead.includes(place.id)), ahead };
}
