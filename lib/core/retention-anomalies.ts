import { type Anomaly, anomaliesOf, COMPARED_WITH, type Measured } from '#core/anomaly';

/**
 * By id, why it is kept: of each anomaly that endangers and that nobody acknowledged the last proven backup before it, and
 * the one that shows it. An emptied or a wrong database restores perfectly: what was before must not be given up for it.
 */
export function keptByAnomalies(dangers: readonly Endangering[]): ReadonlyMap<string, readonly string[]> {
  const reasons = new Map<string, string[]>();
  const keep = (id: string, reason: string): void => {
    reasons.set(id, [...(reasons.get(id) ?? []), reason]);
  };
  for (const { id, before, message } of dangers) {
    keep(before, `the last one before ${id}, which nobody acknowledged: ${message}`);
    keep(id, `unlike those before it, and nobody acknowledged it: ${message}`);
  }
  return reasons;
}

/** Enough for a median that one odd backup does not move, then all that was looked at, then everything. */
const WITNESSES = [3, COMPARED_WITH, Number.POSITIVE_INFINITY];

/**
 * By id: backups without which an anomaly would not be seen any more, so that the next run would give up what this one
 * keeps: an anomaly is judged by what is still there.
 * @param dangers what `endangering` says of these
 * @param stays which of them are kept for other reasons
 */
export function witnesses(
  proven: readonly Measured[],
  acknowledged: readonly string[],
  dangers: readonly Endangering[],
  stays: (id: string) => boolean,
): ReadonlyMap<string, string> {
  const kept = new Map<string, string>();
  if (dangers.length === 0) return kept;
  const positions = new Map(proven.map(({ id }, position) => [id, position]));
  for (const count of WITNESSES) {
    const left = proven.filter(({ id }) => stays(id) || kept.has(id));
    const seen = new Set(endangering(left, acknowledged).map(({ before }) => before));
    const unseen = dangers.filter(({ before }) => !seen.has(before));
    if (unseen.length === 0) break;
    for (const { id, before } of unseen) {
      const position = positions.get(before) as number;
      for (const witness of proven.slice(Math.max(0, position - count), position))
        if (!kept.has(witness.id)) kept.set(witness.id, `${id} is unlike it, and nobody acknowledged that`);
    }
  }
  return kept;
}

export interface Endangering extends Anomaly {
  /** The proven backup before it. */
  readonly before: string;
}

/**
 * What endangers, and nobody said that they know of it.
 * The first backup of a new state is the anomaly. When that one is gone the next one is, and what is seen of it changes
 * with what is left to compare it with: whoever acknowledged the first has acknowledged the state. Ids sort by time.
 * @param proven oldest first
 * @param acknowledged ids of backups, also of such that are gone
 */
export function endangering(proven: readonly Measured[], acknowledged: readonly string[]): readonly Endangering[] {
  const dangers = anomaliesOf(proven).filter(({ endangers }) => endangers);
  if (dangers.length === 0) return [];
  const positions = new Map(proven.map(({ id }, position) => [id, position]));
  return dangers.flatMap((anomaly) => {
    const position = positions.get(anomaly.id) as number;
    const [before, shown] = [proven[position - 1], proven[position]] as const;
    if (!before || !shown || acknowledged.includes(shown.id)) return [];
    if (acknowledged.some((id) => id > before.id && id < shown.id)) return [];
    return acknowledged.includes(before.id) && isLike(before, shown) ? [] : [{ ...anomaly, before: before.id }];
  });
}

/** As if all that was before had been like this one. */
function isLike(before: Measured, shown: Measured): boolean {
  return !anomaliesOf([before, before, before, shown]).some(({ endangers }) => endangers);
}
