import { Duration } from 'aws-cdk-lib';
import {
  Alarm,
  ComparisonOperator,
  type IMetric,
  MathExpression,
  Metric,
  TreatMissingData,
} from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { Trigger } from 'aws-cdk-lib/triggers';
import { Construct } from 'constructs';
import type { AlertTopics } from '#cloud/alert-topics';
import type { JobFunction } from '#cloud/job-function';
import { ALARMS, type AlarmRule } from '#core/alarms';
import { REPLICATION_RULE, replicaBucketName } from '#core/bucket-replication';
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

/** The alarms of `core/alarms`. The watcher runs once before they exist, so that a deployment rings nothing (I10). */
export class Alarms extends Construct {
  constructor(scope: Construct, id: string, props: AlarmsProps) {
    super(scope, id);
    const first = new Trigger(this, 'FirstWatch', {
      handler: props.watch.handler,
      executeOnHandlerChange: false,
      timeout: Duration.minutes(5),
    });
    for (const rule of ALARMS)
      for (const [name, metric] of metricsOf(rule, props)) {
        const alarm = alarmOf(this, rule, name, metric, props.plan.name);
        if (rule.speaks) {
          alarm.addAlarmAction(new SnsAction(props.topics.bySeverity[rule.severity]));
          alarm.addOkAction(new SnsAction(props.topics.bySeverity[rule.severity]));
        }
        first.executeBefore(alarm);
      }
  }
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

function ofAws(rule: AlarmRule, { functions, plan }: AlarmsProps): readonly (readonly [string, IMetric])[] {
  const period = Duration.minutes(PERIOD_MINUTES);
  if (rule.name === 'function-errors')
    return [[rule.name, sum(functions.map(({ handler }) => handler.metricErrors({ period })))]];
  if (rule.name === 'dead-letters')
    return [[rule.name, sum(functions.map(({ dead }) => dead.metricApproximateNumberOfMessagesVisible({ period })))]];
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

function sum(metrics: readonly IMetric[]): MathExpression {
  const named = Object.fromEntries(metrics.map((metric, index) => [`m${index}`, metric]));
  return new MathExpression({
    expression: Object.keys(named).join('+'),
    usingMetrics: named,
    period: Duration.minutes(PERIOD_MINUTES),
  });
}
