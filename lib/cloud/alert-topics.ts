import { ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { EmailSubscription, SmsSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import { Construct } from 'constructs';
import type { Severity } from '#core/alert';
import type { Plan } from '#core/plan';

const ORDER: readonly Severity[] = ['critical', 'high', 'medium'];

export interface AlertTopicsProps {
  readonly plan: Plan;
  readonly account: string;
  readonly key: IKey;
}

/** One topic a severity; people with an address or a telephone subscribe here, others through send-alert. */
export class AlertTopics extends Construct {
  readonly bySeverity: Readonly<Record<Severity, Topic>>;

  constructor(scope: Construct, id: string, { plan, account, key }: AlertTopicsProps) {
    super(scope, id);
    const made = ORDER.map((severity) => [severity, this.#topic(plan, severity, account, key)] as const);
    this.bySeverity = Object.fromEntries(made) as Record<Severity, Topic>;
  }

  #topic(plan: Plan, severity: Severity, account: string, key: IKey): Topic {
    const topic = new Topic(this, severity, {
      topicName: `${plan.name}-${severity}`,
      displayName: `holdfast ${plan.name} ${severity}`,
      masterKey: key,
      enforceSSL: true,
    });
    // Without it an alarm's message to an encrypted topic is dropped in silence: this grants the topic and the key.
    topic.grantPublish(
      new ServicePrincipal('cloudwatch.amazonaws.com', {
        conditions: { StringEquals: { 'aws:SourceAccount': account } },
      }),
    );
    const channels = plan.alerts?.[severity] ?? [];
    // Each once: a second subscription of one address is none to SNS, and an error to the CDK.
    for (const address of new Set(channels.flatMap((one) => ('email' in one ? [one.email] : []))))
      topic.addSubscription(new EmailSubscription(address));
    for (const number of new Set(channels.flatMap((one) => ('sms' in one ? [one.sms] : []))))
      topic.addSubscription(new SmsSubscription(number));
    return topic;
  }
}
