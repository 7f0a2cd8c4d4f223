import type { DeployedAlarm, DeployedSchedule } from '#test/cloud/deployed-services';
import type { Deployment } from '#test/cloud/deployment';
import { ACCOUNT } from '#test/cloud/resolve';
import type { Rights } from '#test/cloud/rights';
import { AwsError } from '#test/servers/aws-stand-in';
import type { LambdaStandIn } from '#test/servers/lambda-stand-in';
import type { Letter, Queues } from '#test/servers/queues-stand-in';
import type { SnsStandIn } from '#test/servers/sns-stand-in';

/**
 * What AWS's own services carry to the functions of a deployment: each asks for the right to invoke, under the role it was
 * given or under its own name, and what it could not deliver goes to the dead letters, where it may put it there.
 */
export interface Carriers {
  /** EventBridge Scheduler, for one of its times. */
  fire(schedule: DeployedSchedule, at: string): Promise<void>;
  /** EventBridge, with an event of its bus. */
  carry(event: object, times?: number): Promise<void>;
  /** SNS hands on what its topics took since it last did. False: nothing. */
  passOn(): Promise<boolean>;
  /** CloudWatch, as an alarm changes. */
  ring(alarm: DeployedAlarm, state: 'ALARM' | 'OK', at: Date): Promise<void>;
  /** CloudFormation's custom resource, at the end of a deployment. */
  firstWatch(): Promise<void>;
}

export interface CarriersOptions {
  readonly deployment: Deployment;
  readonly rights: Rights;
  readonly lambda: LambdaStandIn;
  readonly sns: SnsStandIn;
  readonly queues: Queues;
}

export function carriersOf({ deployment, rights, lambda, sns, queues }: CarriersOptions): Carriers {
  const { authorise, assume } = rights;
  let passed = 0;
  const invoke = async (
    caller: string,
    arn: string,
    event: unknown,
    context?: Record<string, string>,
  ): Promise<void> => {
    await authorise(caller, 'lambda:InvokeFunction', arn, context);
    lambda.send(deployment.functionOf(arn.replace(/:\d+$/, '')).name, event);
  };
  /** What may not be put there either is lost, as it would be. */
  const orDeadLetter = async (
    act: () => Promise<void>,
    queue: string | null,
    letter: Omit<Letter, 'queue'>,
    context?: Record<string, string>,
  ): Promise<void> => {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof AwsError)) throw error;
      if (queue !== null) await unlessDenied(() => queues.send({ ...letter, queue }, context));
    }
  };
  return {
    async fire(schedule, at) {
      const role = schedule.role.split('/').at(-1) as string;
      const event = schedule.event(at);
      await orDeadLetter(
        async () => {
          await assume('scheduler.amazonaws.com', schedule.role, { 'aws:SourceArn': schedule.group });
          await invoke(role, schedule.function, event);
        },
        schedule.deadLetters,
        { sender: role, body: JSON.stringify(event) },
      );
    },
    async carry(event, times = 1) {
      for (const { rule, function: arn, deadLetters } of deployment.listeners(event)) {
        const sender = 'events.amazonaws.com';
        const context = { 'aws:SourceArn': rule, 'aws:SourceAccount': ACCOUNT };
        for (let time = 0; time < times; time++)
          await orDeadLetter(
            () => invoke(sender, arn, event, context),
            deadLetters,
            { sender, body: JSON.stringify(event) },
            context,
          );
      }
    },
    async passOn() {
      const before = passed;
      while (passed < sns.taken.length) {
        const { topic, subject, message, attributes } = sns.taken[passed++] as SnsStandIn['taken'][number];
        const Sns = { TopicArn: topic, Subject: subject, Message: message, MessageAttributes: attributes };
        const context = { 'aws:SourceArn': topic, 'aws:SourceAccount': ACCOUNT };
        for (const arn of deployment.subscribers(topic))
          await unlessDenied(() =>
            invoke('sns.amazonaws.com', arn, { Records: [{ EventSource: 'aws:sns', Sns }] }, context),
          );
      }
      return passed > before;
    },
    async ring({ name, description, arn, topics }, state, at) {
      const message = JSON.stringify({
        AlarmName: name,
        AlarmDescription: description,
        AWSAccountId: ACCOUNT,
        NewStateValue: state,
        NewStateReason: 'Threshold Crossed: no datapoints were received for 3 periods',
        StateChangeTime: at.toISOString().replace('Z', '+0000'),
        AlarmArn: arn,
      });
      const context = { 'aws:SourceArn': arn, 'aws:SourceAccount': ACCOUNT };
      for (const topic of topics)
        await unlessDenied(() =>
          sns.publish(
            { publisher: 'cloudwatch.amazonaws.com', topic, subject: `${state}: "${name}"`, message, attributes: {} },
            context,
          ),
        );
    },
    async firstWatch() {
      const { role, function: version } = deployment.firstWatch;
      await invoke(role, version, {});
    },
  };
}

/** In silence, as AWS's services do: whoever looks for it finds it in `Rights.denied` alone. */
export async function unlessDenied(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof AwsError) || error.code !== 'AccessDeniedException') throw error;
  }
}
