/** Names that the hosts write and the alarms read. Dimensions: `plan`, and `source` or `vault`. */
export const METRIC_NAMESPACE = 'Holdfast';

export const METRICS = {
  /** Seconds since the source last equalled a proven backup. Missing = the watcher is silent. */
  newestProvenAge: { name: 'NewestProvenAgeSeconds', unit: 'Seconds' },
  /** The same, as a part of the RPO: one threshold for all sources. */
  newestProvenAgeRatio: { name: 'NewestProvenAgeToRpo', unit: 'None' },
  /** Newest backup's size to the median of the last ten. */
  sizeRatio: { name: 'SizeToMedian', unit: 'None' },
  runSeconds: { name: 'RunSeconds', unit: 'Seconds' },
  runFailed: { name: 'RunFailed', unit: 'Count' },
  proofFailed: { name: 'ProofFailed', unit: 'Count' },
  restoreSeconds: { name: 'RestoreSeconds', unit: 'Seconds' },
  replicationLag: { name: 'CopyLagSeconds', unit: 'Seconds' },
  vaultUsed: { name: 'VaultUsedToCapacity', unit: 'None' },
  /** Anomalies of the newest proven backup that nobody acknowledged. */
  anomalies: { name: 'Anomalies', unit: 'Count' },
  runsPastDeadline: { name: 'RunsPastDeadline', unit: 'Count' },
  openAlerts: { name: 'OpenAlerts', unit: 'Count' },
  /** One each time the watcher could do all of its work. */
  watched: { name: 'Watched', unit: 'Count' },
} as const;

export type MetricName = keyof typeof METRICS;

export interface Metric {
  readonly metric: MetricName;
  readonly value: number;
  readonly dimensions: Readonly<Record<string, string>>;
}
