import type { Severity } from '#core/alert';
import type { MetricName } from '#core/metrics';

/**
 * Every alarm of a deployment. `docs/runbook.md` has a section of the same name for each. Those that `speaks` ring by
 * themselves, as nobody else could say it; of the others finish-job and watch tell, once for each change, and the alarm
 * only shows the state.
 */
export interface AlarmRule {
  readonly name: string;
  readonly severity: Severity;
  /** Null: of AWS's own metrics, see `lib/cloud/alarms`. */
  readonly metric: MetricName | null;
  /** One for each source, each vault, each function, or one for the plan. */
  readonly per: 'source' | 'vault' | 'function' | 'plan';
  readonly threshold: number;
  readonly when: 'above' | 'below';
  readonly statistic: 'Maximum' | 'Sum';
  /** Minutes in a row. A multiple of five. */
  readonly minutes: number;
  readonly missing: 'breaching' | 'notBreaching';
  readonly speaks: boolean;
  readonly meaning: string;
}

export const ALARMS: readonly AlarmRule[] = [
  {
    name: 'backup-failed',
    severity: 'high',
    metric: 'runFailed',
    per: 'source',
    threshold: 0,
    when: 'above',
    statistic: 'Sum',
    minutes: 5,
    missing: 'notBreaching',
    speaks: false,
    meaning: 'a run of the source ended without a backup',
  },
  {
    name: 'proof-failed',
    severity: 'critical',
    metric: 'proofFailed',
    per: 'source',
    threshold: 0,
    when: 'above',
    statistic: 'Sum',
    minutes: 5,
    missing: 'notBreaching',
    speaks: false,
    meaning: 'a backup was restored and is not equal to its source, or could not be restored',
  },
  {
    name: 'no-proven-backup',
    severity: 'high',
    metric: 'newestProvenAgeRatio',
    per: 'source',
    threshold: 1,
    when: 'above',
    statistic: 'Maximum',
    minutes: 15,
    missing: 'breaching',
    speaks: true,
    meaning: 'the newest proven backup is older than the source’s RPO, or nobody measured it',
  },
  {
    name: 'size-anomaly',
    severity: 'medium',
    metric: 'anomalies',
    per: 'source',
    threshold: 0,
    when: 'above',
    statistic: 'Maximum',
    minutes: 5,
    missing: 'notBreaching',
    speaks: false,
    meaning: 'the newest backup is much smaller or larger than the median of the last ten',
  },
  {
    name: 'copy-behind',
    severity: 'medium',
    metric: 'replicationLag',
    per: 'vault',
    threshold: 300,
    when: 'above',
    statistic: 'Maximum',
    minutes: 15,
    missing: 'notBreaching',
    speaks: false,
    meaning: 'a vault lacks copies that it should have had five minutes ago',
  },
  {
    name: 'replication-failed',
    severity: 'medium',
    metric: null,
    per: 'vault',
    threshold: 0,
    when: 'above',
    statistic: 'Sum',
    minutes: 5,
    missing: 'notBreaching',
    speaks: true,
    meaning: 'S3 could not replicate an object into the replica’s bucket',
  },
  {
    name: 'vault-nearly-full',
    severity: 'medium',
    metric: 'vaultUsed',
    per: 'vault',
    threshold: 0.8,
    when: 'above',
    statistic: 'Maximum',
    minutes: 15,
    missing: 'notBreaching',
    speaks: false,
    meaning: 'a vault holds more than its part of the capacity the plan gives it',
  },
  {
    name: 'run-past-deadline',
    severity: 'high',
    metric: 'runsPastDeadline',
    per: 'plan',
    threshold: 0,
    when: 'above',
    statistic: 'Maximum',
    minutes: 5,
    missing: 'notBreaching',
    speaks: false,
    meaning: 'a task runs longer than it may; the watcher stops it',
  },
  {
    name: 'watcher-silent',
    severity: 'critical',
    metric: 'watched',
    per: 'plan',
    threshold: 1,
    when: 'below',
    statistic: 'Sum',
    minutes: 15,
    missing: 'breaching',
    speaks: true,
    meaning: 'the watcher has not done its work for fifteen minutes: nothing else would be told',
  },
  {
    name: 'function-errors',
    severity: 'high',
    metric: null,
    per: 'function',
    threshold: 0,
    when: 'above',
    statistic: 'Sum',
    minutes: 5,
    missing: 'notBreaching',
    speaks: true,
    meaning: 'the function failed by an error of its own',
  },
  {
    name: 'dead-letters',
    severity: 'high',
    metric: null,
    per: 'function',
    threshold: 0,
    when: 'above',
    statistic: 'Maximum',
    minutes: 5,
    missing: 'notBreaching',
    speaks: true,
    meaning: 'something that should have started the function was given up after its retries',
  },
];
