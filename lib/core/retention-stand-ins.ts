import { countsAsProven, dayText, type RetentionInput, type StoredBackup } from '#core/retention-input';
import { Periods } from '#core/retention-periods';
import { expiresAt, tiersOf } from '#core/tiers';

interface Group {
  readonly label: string;
  /** Backups of the tier itself: how many, and whether one of them is not disproven. */
  own: number;
  fulfilled: boolean;
  /** The best proven one of a lower tier. */
  best: { readonly backup: StoredBackup; readonly rank: number } | null;
}

/**
 * Backups that stand in for one of a higher tier: where a period has of that tier only disproven ones, or none although
 * backups of lower tiers were made in it, the best proven of those is kept as long as the higher tier promises. The best
 * is a full, of the highest of the lower tiers, the first of the period: as the one that is missing would have been.
 * @param backups oldest first
 * @returns by id, for what it stands in
 */
export function standIns(backups: readonly StoredBackup[], input: RetentionInput): ReadonlyMap<string, string[]> {
  const reasons = new Map<string, string[]>();
  const periods = new Periods(input.zone);
  for (const [tier, lower] of lowerTiers(input)) {
    const settings = input.tiers[tier];
    if (!settings || 'versions' in settings.keep) continue;
    const groups = new Map<number, Group>();
    for (const backup of backups) {
      const rank = backup.tier === tier ? -1 : lower.indexOf(backup.tier);
      if (rank < 0 && backup.tier !== tier) continue;
      const period = periods.of(tier, settings.every, backup.scheduledAt ?? backup.snapshotAt);
      if (!period) break;
      const group = groups.get(period.key) ?? { label: period.label, own: 0, fulfilled: false, best: null };
      groups.set(period.key, group);
      if (backup.tier === tier) {
        group.own++;
        group.fulfilled ||= backup.proof !== 'disproven';
      } else if (countsAsProven(backup, input.settings) && isBetter(backup, rank, group.best))
        group.best = { backup, rank };
    }
    for (const { label, own, fulfilled, best } of groups.values()) {
      if (fulfilled || !best) continue;
      const { backup } = best;
      const end = expiresAt(settings, backup.snapshotAt);
      if (end !== null && input.now >= end) continue;
      const why = own > 0 ? 'which is disproven' : 'which was not made';
      const until = end === null ? 'forever' : `until ${dayText(end, settings.keep.seconds)}`;
      const known = reasons.get(backup.id) ?? [];
      reasons.set(backup.id, [...known, `stands in for ${tier} ${label}, ${why}: kept ${until}`]);
    }
  }
  return reasons;
}

/** Of the tiers that the source's schedules promote to: those that each may be made of, lowest first. */
function lowerTiers({ settings }: RetentionInput): ReadonlyMap<string, readonly string[]> {
  const lower = new Map<string, readonly string[]>();
  for (const schedule of settings?.schedule ?? []) {
    const names = tiersOf(schedule);
    for (const [index, name] of names.entries())
      if (index > 0) lower.set(name, [...new Set([...(lower.get(name) ?? []), ...names.slice(0, index)])]);
  }
  return lower;
}

function isBetter(backup: StoredBackup, rank: number, best: Group['best']): boolean {
  if (best === null) return true;
  const [full, bestFull] = [backup.kind === 'full', best.backup.kind === 'full'];
  return full !== bestFull ? full : rank > best.rank;
}
