import { byTime, type StoredBackup } from '#core/retention-input';

/** What a backup cannot be restored without, and what cannot be restored without it. */

/**
 * Adds to `kept` all that its members need, however long the chain.
 * @returns by the id of what is needed: the kept ones that need it, newest first
 */
export function keepBases(
  backups: readonly StoredBackup[],
  kept: Set<string>,
): ReadonlyMap<string, readonly StoredBackup[]> {
  const byId = new Map(backups.map((backup) => [backup.id, backup]));
  const needed = new Map<string, StoredBackup[]>();
  const waiting = backups.filter(({ id }) => kept.has(id)).sort(byTime);
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const base = next.base === null ? undefined : byId.get(next.base);
    if (!base) continue;
    const needing = needed.get(base.id);
    if (needing) needing.push(next);
    else needed.set(base.id, [next]);
    if (kept.has(base.id)) continue;
    kept.add(base.id);
    waiting.push(base);
  }
  return needed;
}

/** `full of the differential 20261121T020000Z-7f3a and 3 more` */
export function neededText(needing: readonly StoredBackup[], holds: ReadonlyMap<string, unknown>): string {
  const [first, ...more] = needing as readonly [StoredBackup, ...StoredBackup[]];
  const others = more.length > 0 ? ` and ${more.length} more` : '';
  const held = needing.some(({ id }) => holds.has(id)) ? ', held' : '';
  return `${first.kind === 'log' ? 'base' : 'full'} of the ${first.kind} ${first.id}${others}${held}`;
}

/** The order in which backups may go: newest first, and nothing before all that needs it. */
export function removalOrder<T extends StoredBackup>(removed: readonly T[]): readonly T[] {
  const dependants = new Map<string, T[]>();
  for (const backup of removed)
    if (backup.base !== null) dependants.set(backup.base, [...(dependants.get(backup.base) ?? []), backup]);
  const order: T[] = [];
  const done = new Set<string>();
  const visit = (backup: T): void => {
    if (done.has(backup.id)) return;
    done.add(backup.id);
    for (const one of (dependants.get(backup.id) ?? []).toSorted(byTime).reverse()) visit(one);
    order.push(backup);
  };
  for (const backup of removed.toSorted(byTime).reverse()) visit(backup);
  return order;
}
