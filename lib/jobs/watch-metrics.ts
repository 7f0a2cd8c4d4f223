import type { Metric } from '#core/metrics';
import { useOf, type VaultFacts } from '#core/vault-conditions';
import type { SourceLook } from '#jobs/source-look';

/** What a look shows, as figures: alarms watch them when the watcher itself cannot speak. */
export function watchMetrics(
  looks: readonly SourceLook[],
  vaults: readonly VaultFacts[],
  now: Date,
): readonly Metric[] {
  return [...looks.flatMap((look) => ofSource(look, now)), ...vaults.flatMap((vault) => ofVault(vault, looks))];
}

function ofSource({ facts, bytes }: SourceLook, now: Date): Metric[] {
  const { source, rpoSeconds, anomalies } = facts;
  const dimensions = { source };
  const age = ageOf(facts, now);
  const ratio = bytes === null || bytes.median === null || bytes.median === 0 ? null : bytes.newest / bytes.median;
  return [
    { metric: 'newestProvenAge', value: age, dimensions },
    { metric: 'newestProvenAgeRatio', value: age / rpoSeconds, dimensions },
    { metric: 'anomalies', value: anomalies.length, dimensions },
    ...(ratio === null ? [] : [{ metric: 'sizeRatio' as const, value: ratio, dimensions }]),
  ];
}

/** Where nothing was ever proven it counts from the first run that was due: before that nothing rings (I10). */
function ageOf({ ageSeconds, firstDue }: SourceLook['facts'], now: Date): number {
  return Math.max(0, ageSeconds ?? (now.getTime() - firstDue.getTime()) / 1000);
}

function ofVault(vault: VaultFacts, looks: readonly SourceLook[]): Metric[] {
  const dimensions = { vault: vault.name };
  const use = useOf(vault);
  const lags = looks.flatMap(({ facts }) => facts.copies.filter(({ to }) => to === vault.name));
  const lag = Math.max(0, ...lags.map(({ missing, lagSeconds }) => (missing > 0 ? lagSeconds : 0)));
  return [
    { metric: 'replicationLag', value: lag, dimensions },
    ...(use === null ? [] : [{ metric: 'vaultUsed' as const, value: use, dimensions }]),
  ];
}
