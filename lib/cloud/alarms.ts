import { Duration } from 'aws-cdk-lib';
import { Alarm, ComparisonOperator, type IMetric, Metric, TreatMissingData } from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { Trigger } from 'aws-cdk-lib/triggers';
import { Construct } from 'constructs';
import type { AlertTopics } from '#cloud/alert-topics';
import type { JobFunction } from '#cloud/job-function';
import { ALARMS, type AlarmRule } from '#core/alarms';
import { audienceOf } from '#core/audience';
import { REPLICATION_RULE, replicaBucketName } from '#core/bucket-replication';
import { sha256Hex } from '#core/manifest';
import { METRIC_NAMESPACE, METRICS } from '#core/metrics';
import type { Plan } from '#core/plan';
import { seenFromAws } from '#core/where';

const PERIOD_MINUTES = 5;

export interface AlarmsProps {
  readonly plan: Plan;
  readonly topics: AlertTopics;
  readonly functions: readonly JobFunction[];
  readonly watch: JobFunction;
}

/**
 * The alarms of `core/alarms`. The watcher runs once before there are any, and again when a deployment brings some more,
 * so that none rings for figures that nobody has written yet (I10).
 */
export class Alarms extends Construct {
  constructor(scope: Construct, id: string, props: AlarmsProps) {
    super(scope, id);
    const wanted = ALARMS.flatMap((rule) => metricsOf(rule, props).map(([name, metric]) => ({ rule, name, metric })));
    const first = new Trigger(this, firstWatchOf(wanted), {
      handler: props.watch.handler,
      executeOnHandlerChange: false,
      timeout: Duration.minutes(5),
    });
    for (const { rule, name, metric } of wanted) {
      const alarm = alarmOf(this, rule, name, metric, props.plan.name);
      if (rule.speaks) {
        // Of a severity that the plan has no list for, whoever hears of it from us.
        const { list } = audienceOf(props.plan.alerts, rule.severity);
        const told = new SnsAction(props.topics.bySeverity[list ?? rule.severity]);
        alarm.addAlarmAction(told);
        alarm.addOkAction(told);
      }
      first.executeBefore(alarm);
    }
  }
}

/**
 * Another name for another set of alarms makes it another resource. One that is updated would run again when a failed
 * deployment is rolled back, and could hinder that.
 */
function firstWatchOf(wanted: readonly { readonly rule: AlarmRule; readonly name: string }[]): string {
  const ringing = wanted.flatMap(({ rule, name }) => (rule.missing === 'breaching' ? [name] : []));
  return `FirstWatch-${sha256Hex(ringing.sort().join()).slice(0, 8)}`;
}

function alarmOf(scope: Construct, rule: AlarmRule, name: string, metric: IMetric, plan: string): Alarm {
  return new Alarm(scope, name, {
    alarmName: `holdfast-${plan}-${name}`,
    alarmDescription: `${rule.meaning}. What to do: docs/runbook.md, "${rule.name}"`,
    metric,
    threshold: rule.threshold,
    comparisonOperator:
      rule.when === 'above' ? ComparisonOperator.GREATER_THAN_THRESHOLD : ComparisonOperator.LESS_THAN_THRESHOLD,
    evaluationPeriods: rule.minutes / PERIOD_MINUTES,
    treatMissingData: rule.missing === 'breaching' ? TreatMissingData.BREACHING : TreatMissingData.NOT_BREACHING,
    actionsEnabled: rule.speaks,
  });
}

/** Alarm name → what it looks at. */
function metricsOf(rule: AlarmRule, props: AlarmsProps): readonly (readonly [string, IMetric])[] {
  const { plan } = props;
  if (rule.metric === null) return ofAws(rule, props);
  const { name } = METRICS[rule.metric];
  const of = (dimensions: Record<string, string>): Metric =>
    new Metric({
      namespace: METRIC_NAMESPACE,
      metricName: name,
      dimensionsMap: { plan: plan.name, ...dimensions },
      statistic: rule.statistic,
      period: Duration.minutes(PERIOD_MINUTES),
    });
  if (rule.per === 'plan') return [[rule.name, of({})]];
  if (rule.per === 'vault') {
    const wanted = Object.entries(seenFromAws(plan).vaults).filter(
      ([, vault]) => rule.metric !== 'vaultUsed' || vault.capacity,
    );
    return wanted.map(([vault]) => [`${rule.name}-${vault}`, of({ vault })]);
  }
  // Those of `here` too: when the machine dies, its own watcher dies with it. What lies on its disks alone nobody sees.
  return Object.keys(seenFromAws(plan).sources).map((source) => [`${rule.name}-${source}`, of({ source })]);
}

/** One for each function, never a sum: a function that nobody called has no figure, and a sum with a gap is a gap. */
function ofAws(rule: AlarmRule, { functions, plan }: AlarmsProps): readonly (readonly [string, IMetric])[] {
  const period = Duration.minutes(PERIOD_MINUTES);
  if (rule.name === 'function-errors')
    return functions.map(({ host, handler }) => [`${rule.name}-${host}`, handler.metricErrors({ period })]);
  if (rule.name === 'dead-letters')
    return functions.map(({ host, dead }) => [
      `${rule.name}-${host}`,
      dead.metricApproximateNumberOfMessagesVisible({ period }),
    ]);
  return Object.entries(plan.vaults).flatMap(([vault, settings]) =>
    's3' in settings && settings.replica?.region
      ? [
          [
            `${rule.name}-${vault}`,
            new Metric({
              namespace: 'AWS/S3',
              metricName: 'OperationsFailedReplication',
              dimensionsMap: {
                SourceBucket: settings.s3,
                DestinationBucket: replicaBucketName(settings),
                RuleId: REPLICATION_RULE,
              },
              statistic: 'Sum',
              period,
            }),
          ] as const,
        ]
      : [],
  );
}
