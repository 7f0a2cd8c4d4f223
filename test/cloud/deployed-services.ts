import type { LifecycleRule } from '@aws-sdk/client-s3';
import { lifecycleRules } from '#test/cloud/lifecycle-rules';
import { ACCOUNT, type Resolver } from '#test/cloud/resolve';
import { resourcesOf, type Template } from '#test/cloud/synthesised';

/** What a deployment tells the services around its functions and tasks: schedules, rules, alarms, buckets. */

/** A target of a rule of EventBridge. */
export interface DeployedTarget {
  readonly rule: string;
  /** ARN. */
  readonly function: string;
  readonly deadLetters: string | null;
}

export interface DeployedRule {
  readonly pattern: unknown;
  readonly targets: readonly DeployedTarget[];
}

export interface DeployedSchedule {
  /** Its logical id. */
  readonly id: string;
  /** `cron(0 2 * * ? *)` */
  readonly expression: string;
  readonly zone: string;
  /** It is delivered at some time within them. */
  readonly windowMinutes: number;
  /** ARNs. */
  readonly group: string;
  readonly function: string;
  readonly role: string;
  readonly deadLetters: string | null;
  /** What it sends at a time, in RFC 3339. */
  event(at: string): unknown;
}

/** An alarm that tells somebody. */
export interface DeployedAlarm {
  readonly name: string;
  readonly description: string;
  /** ARN. */
  readonly arn: string;
  /** ARNs of topics. */
  readonly topics: readonly string[];
}

/** A bucket, in the words of S3's own API. */
export interface DeployedBucket {
  readonly name: string;
  readonly rules: readonly LifecycleRule[];
  /** Where S3 writes down who asked for what: an object of it, as an ARN. */
  readonly accessLog: string | null;
}

/** Of each resource of a type, without intrinsics. */
export function valuesOf(template: Template, type: string, resolver: Resolver): readonly Record<string, unknown>[] {
  return resourcesOf(template, type).map(([, { Properties }]) => resolver.value(Properties) as Record<string, unknown>);
}

interface Target {
  readonly Arn: string;
  readonly DeadLetterConfig?: { readonly Arn: string };
}

export function ruleOf(id: string, template: Template, resolver: Resolver): DeployedRule {
  const { State, EventPattern, Targets } = propertiesOf(id, template, resolver) as {
    readonly State: string;
    readonly EventPattern: unknown;
    readonly Targets: readonly Target[];
  };
  if (State !== 'ENABLED') throw new Error(`the rule ${id} is ${State}`);
  return {
    pattern: EventPattern,
    targets: Targets.map(({ Arn, DeadLetterConfig }) => ({
      rule: resolver.text({ 'Fn::GetAtt': [id, 'Arn'] }),
      function: Arn,
      deadLetters: DeadLetterConfig?.Arn ?? null,
    })),
  };
}

interface ScheduleProperties {
  readonly State: string;
  readonly ScheduleExpression: string;
  readonly ScheduleExpressionTimezone: string;
  readonly FlexibleTimeWindow: { readonly Mode: string; readonly MaximumWindowInMinutes?: number };
  readonly GroupName: string;
  readonly Target: Target & { readonly RoleArn: string; readonly Input: string };
}

export function scheduleOf(id: string, template: Template, resolver: Resolver): DeployedSchedule {
  const { State, Target, FlexibleTimeWindow, ...schedule } = propertiesOf(id, template, resolver) as ScheduleProperties;
  if (State !== 'ENABLED') throw new Error(`the schedule ${id} is ${State}`);
  const groups = resourcesOf(template, 'AWS::Scheduler::ScheduleGroup').map(([group]) => group);
  const group = groups.find((one) => resolver.text({ Ref: one }) === schedule.GroupName);
  return {
    id,
    expression: schedule.ScheduleExpression,
    zone: schedule.ScheduleExpressionTimezone,
    windowMinutes: FlexibleTimeWindow.Mode === 'OFF' ? 0 : Number(FlexibleTimeWindow.MaximumWindowInMinutes),
    group: resolver.text({ 'Fn::GetAtt': [group, 'Arn'] }),
    function: Target.Arn,
    role: Target.RoleArn,
    deadLetters: Target.DeadLetterConfig?.Arn ?? null,
    event(at) {
      const told = Target.Input.replaceAll('<aws.scheduler.scheduled-time>', at);
      const [unknown] = /<aws\.[^>]*>/.exec(told) ?? [];
      if (unknown !== undefined) throw new Error(`${id} sends ${unknown}, which is not known here`);
      return JSON.parse(told) as unknown;
    },
  };
}

/** Null: it only shows the state. */
export function alarmOf(id: string, template: Template, resolver: Resolver): DeployedAlarm | null {
  const { ActionsEnabled, AlarmName, AlarmDescription, AlarmActions } = propertiesOf(id, template, resolver) as {
    readonly ActionsEnabled: boolean;
    readonly AlarmName: string;
    readonly AlarmDescription: string;
    readonly AlarmActions: readonly string[];
  };
  if (!ActionsEnabled) return null;
  const arn = resolver.text({ 'Fn::GetAtt': [id, 'Arn'] });
  return { name: AlarmName, description: AlarmDescription, arn, topics: AlarmActions };
}

interface BucketProperties {
  readonly LifecycleConfiguration?: object;
  readonly LoggingConfiguration?: { readonly DestinationBucketName: string; readonly LogFilePrefix?: string };
}

export function bucketOf(id: string, template: Template, resolver: Resolver): DeployedBucket {
  const { LifecycleConfiguration, LoggingConfiguration: log } = propertiesOf(
    id,
    template,
    resolver,
  ) as BucketProperties;
  return {
    name: resolver.text({ Ref: id }),
    rules: LifecycleConfiguration === undefined ? [] : lifecycleRules(LifecycleConfiguration),
    accessLog: log
      ? `arn:aws:s3:::${log.DestinationBucketName}/${log.LogFilePrefix ?? ''}${ACCOUNT}/eu-north-1/2026-11-21-02-00-00-0123456789ABCDEF`
      : null,
  };
}

function propertiesOf(id: string, template: Template, resolver: Resolver): object {
  return resolver.value(template.Resources[id]?.Properties) as object;
}
