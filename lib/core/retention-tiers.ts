import type { Tier } from '#core/plan';
import { countsAsProven, dayText, type RetentionInput, type StoredBackup } from '#core/retention-input';
import { expiresAt } from '#core/tiers';

/** What a backup's tier promises for it at this moment. */
export interface TierWord {
  readonly kept: boolean;
  readonly reason: string;
}

/**
 * The later of two promises: the one in the manifest, and what the plan's tier says now. A longer keep counts at once, a
 * shorter one only for backups made from then on.
 * @param backups oldest first
 */
export function tierWords(backups: readonly StoredBackup[], input: RetentionInput): ReadonlyMap<string, TierWord> {
  const words = new Map<string, TierWord>();
  /** By tier: how many that count as proven are newer than the one looked at. */
  const newer = new Map<string, number>();
  for (const backup of backups.toReversed()) {
    const count = newer.get(backup.tier) ?? 0;
    const tier = Object.hasOwn(input.tiers, backup.tier) ? input.tiers[backup.tier] : undefined;
    words.set(backup.id, tier ? wordOf(backup, tier, count, input) : wordOfGone(backup, input.now));
    if (countsAsProven(backup, input.settings)) newer.set(backup.tier, count + 1);
  }
  return words;
}

/** The tier has left the plan: what was promised holds. */
function wordOfGone({ tier, expires }: StoredBackup, now: Date): TierWord {
  const gone = `${tier}, a tier that has left the plan`;
  if (expires === null) return { kept: true, reason: `${gone}: promised without an end` };
  return ending(`${gone}: promised until ${dayText(expires)}`, expires, now);
}

function wordOf(backup: StoredBackup, tier: Tier, newer: number, input: RetentionInput): TierWord {
  const { keep } = tier;
  if ('versions' in keep) return wordOfVersions(backup, keep.versions, newer, input);
  const end = expiresAt(tier, backup.snapshotAt);
  if (end === null) return { kept: true, reason: `${backup.tier}, kept forever` };
  const { expires } = backup;
  if (expires === null)
    return { kept: true, reason: `${backup.tier}, promised without an end (the plan now says ${keep.text})` };
  if (expires > end)
    return ending(
      `${backup.tier}, promised until ${dayText(expires)} (the plan now says ${keep.text})`,
      expires,
      input.now,
    );
  return ending(`${backup.tier}, kept ${keep.text} until ${dayText(end, keep.seconds)}`, end, input.now);
}

/** Only proven ones push others out: ten that cannot be restored are no ten versions. */
function wordOfVersions(backup: StoredBackup, versions: number, newer: number, input: RetentionInput): TierWord {
  const { tier, expires } = backup;
  if (newer < versions) {
    if (countsAsProven(backup, input.settings))
      return { kept: true, reason: `${tier}, version ${newer + 1} of the newest ${versions}` };
    return { kept: true, reason: `${tier}, ${newer} of the newest ${versions} proven versions are newer` };
  }
  const over = `${tier}, ${versions} newer proven versions are kept`;
  if (expires !== null && expires > input.now)
    return { kept: true, reason: `${over}, but promised until ${dayText(expires)}` };
  return { kept: false, reason: over };
}

function ending(reason: string, end: Date, now: Date): TierWord {
  return now < end ? { kept: true, reason } : { kept: false, reason: `${reason}: over` };
}
