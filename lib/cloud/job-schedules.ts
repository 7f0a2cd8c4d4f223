import { Duration, RemovalPolicy, TimeZone } from 'aws-cdk-lib';
import {
  ContextAttribute,
  Schedule,
  ScheduleExpression,
  ScheduleGroup,
  ScheduleTargetInput,
  TimeWindow,
} from 'aws-cdk-lib/aws-scheduler';
import { LambdaInvoke } from 'aws-cdk-lib/aws-scheduler-targets';
import { Construct } from 'constructs';
import type { JobFunction } from '#cloud/job-function';
import { scheduleKeys } from '#core/due';
import { toEventBridge } from '#core/event-bridge';
import type { Plan } from '#core/plan';
import { scheduleGroupName } from '#core/settings';
import { placesOfSources } from '#core/where';

/** A stale 02:00 run must not start at noon: what could not be delivered by then, the watcher catches up. */
const RETRIES = { retryAttempts: 3, maxEventAge: Duration.hours(2) } as const;
const SPREAD = TimeWindow.flexible(Duration.minutes(5));

export interface JobSchedulesProps {
  readonly plan: Plan;
  readonly start: JobFunction;
  readonly watch: JobFunction;
  readonly retain: JobFunction;
  readonly replicate: JobFunction;
}

/** When things run: the plan's own times in its own zone, by EventBridge Scheduler. */
export class JobSchedules extends Construct {
  readonly group: ScheduleGroup;

  constructor(scope: Construct, id: string, { plan, start, watch, retain, replicate }: JobSchedulesProps) {
    super(scope, id);
    this.group = new ScheduleGroup(this, 'Group', {
      scheduleGroupName: scheduleGroupName(plan.name),
      // Its name is fixed: one that stayed would stand in the way of the next deployment.
      removalPolicy: RemovalPolicy.DESTROY,
    });
    for (const { source } of placesOfSources(plan).filter(({ where }) => where === 'cloud')) {
      const settings = plan.sources[source];
      if (!settings) continue;
      const keys = scheduleKeys(settings);
      for (const [index, timing] of settings.schedule.entries()) {
        if (timing.kind === 'differential') continue;
        const payload = {
          action: 'backup',
          source,
          schedule: keys[index],
          scheduledAt: ContextAttribute.scheduledTime,
        };
        this.#add(`${source}-${index}`, timing, plan, start, payload, SPREAD);
      }
    }
    const own = plan.retain ?? { cron: '0 0 * * *' };
    this.#add('retain', own, plan, retain, {}, SPREAD);
    this.#add('watch', { every: { text: '5m', seconds: 300 } }, plan, watch, {}, TimeWindow.off());
    this.#add('replicate', { every: { text: '15m', seconds: 900 } }, plan, replicate, {}, SPREAD);
  }

  #add(
    name: string,
    timing: Parameters<typeof toEventBridge>[0],
    plan: Plan,
    target: JobFunction,
    payload: Record<string, unknown>,
    timeWindow: TimeWindow,
  ): void {
    const expressions = toEventBridge(timing);
    if (typeof expressions === 'string')
      throw new Error(`${name}: a schedule that passed the plan check wants ${expressions}`);
    for (const [index, expression] of expressions.entries())
      new Schedule(this, expressions.length === 1 ? name : `${name}-${index}`, {
        scheduleGroup: this.group,
        description: `holdfast ${plan.name} ${name}`,
        schedule: ScheduleExpression.expression(expression, TimeZone.of(plan.timezone)),
        timeWindow,
        target: new LambdaInvoke(target.handler, {
          deadLetterQueue: target.dead,
          ...RETRIES,
          input: ScheduleTargetInput.fromObject(payload),
        }),
      });
  }
}
