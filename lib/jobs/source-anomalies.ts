import type { OpenAlert } from '#core/alert';
import { anomaliesOf, type Measured, unacknowledged } from '#core/anomaly';
import type { SourceHistory } from '#core/history';
import { type Manifest, timeOfId } from '#core/manifest';
import type { SourceFacts } from '#core/source-conditions';
import type { ReadBackup, SeenBackup } from '#jobs/source-listing';

/**
 * Anomalies nobody acknowledged: new ones among what was not judged before, and those told earlier, as long as their
 * backup is there. What thinning makes of older backups is no news.
 */
export function openAnomalies(
  proven: readonly ReadBackup[],
  seen: readonly SeenBackup[],
  { acknowledged }: SourceHistory,
  alerts: Readonly<Record<string, OpenAlert>>,
  judgedUntil: string | null,
): SourceFacts['anomalies'] {
  const times = new Map(proven.map((one) => [one.manifest.id, new Date(one.manifest.snapshotAt)]));
  const judged = anomaliesOf(proven.map(({ manifest }) => measuredOf(manifest)));
  const isOpen = (id: string): boolean => Object.hasOwn(alerts, `anomaly/${id}`);
  const now = judged.filter(({ id }) => judgedUntil === null || id > judgedUntil || isOpen(id));
  const there = new Set(seen.map(({ place }) => place.id));
  const oldest = seen[0]?.place.id ?? '';
  const earlier = Object.values(alerts).flatMap(({ key, title }) => {
    const id = key.startsWith('anomaly/') ? key.slice('anomaly/'.length) : null;
    // Older than what was listed: nobody looked whether it is there.
    if (id === null || times.has(id) || !(there.has(id) || id < oldest)) return [];
    return [{ id, kind: 'shrunk' as const, message: title.replace(/^[^:]*: /, ''), endangers: true }];
  });
  return unacknowledged([...earlier, ...now], acknowledged).map((one) => ({
    ...one,
    snapshotAt: times.get(one.id) ?? timeOfId(one.id),
  }));
}

function measuredOf({ id, snapshotAt, engine, identity, fingerprint }: Manifest): Measured {
  return { id, snapshotAt: new Date(snapshotAt), engine, identity, measures: fingerprint.measures };
}
