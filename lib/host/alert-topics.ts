import { PublishCommand, SNSClient } from '@aws-sdk/client-sns';
import type { Severity, Telling } from '#core/alert';
import { audienceOf } from '#core/audience';
import { messageOf } from '#core/errors';
import { inWords } from '#core/message';
import type { Plan } from '#core/plan';
import type { Delivery, Messenger } from '#core/ports';

/** SNS refuses a longer subject, and anything but printable ASCII in it. */
const SUBJECT_LIMIT = 100;

export interface TopicsOptions {
  /** ARNs. */
  readonly topics: Readonly<Record<Severity, string>>;
  readonly plan: Plan;
  redact(text: string): string;
  heartbeat(): Promise<Delivery | null>;
  readonly client?: SNSClient;
}

/**
 * Tells the deployment's topics: people with an address or a telephone have subscribed there, and `send-alert` takes it
 * on to Slack and webhooks. Each gets what it can read; the SDK tries three times.
 */
export function topicMessenger({ topics, plan, redact, heartbeat, client }: TopicsOptions): Messenger {
  const sns = client ?? new SNSClient({});
  const publish = async (severity: Severity, telling: Telling): Promise<Delivery> => {
    const channel = `topic ${topics[severity].split(':').at(-1)}`;
    const { subject, text, brief } = inWords(telling);
    try {
      await sns.send(
        new PublishCommand({
          TopicArn: topics[severity],
          Subject: ascii(subject),
          MessageStructure: 'json',
          Message: JSON.stringify({ default: text, email: text, sms: brief, lambda: JSON.stringify(telling) }),
          MessageAttributes: Object.fromEntries(
            Object.entries({ plan: telling.plan, severity: telling.severity, what: telling.what }).map(
              ([name, StringValue]) => [name, { DataType: 'String', StringValue }],
            ),
          ),
        }),
      );
      return { channel, ok: true, error: null };
    } catch (error) {
      return { channel, ok: false, error: redact(`SNS: ${messageOf(error)}`) };
    }
  };
  return {
    async tell(telling) {
      const clean = cleaned(telling, redact);
      const lists = [telling.severity, ...(telling.also ?? [])].map(
        (severity) => audienceOf(plan.alerts, severity).list ?? severity,
      );
      return Promise.all([...new Set(lists)].map((severity) => publish(severity, clean)));
    },
    heartbeat,
  };
}

function cleaned(telling: Telling, redact: (text: string) => string): Telling {
  return {
    ...telling,
    title: redact(telling.title),
    happened: redact(telling.happened),
    safe: telling.safe.map(redact),
    next: telling.next.map(redact),
  };
}

function ascii(subject: string): string {
  const printable = subject.replaceAll('…', '...').replace(/[^\x20-\x7e]/g, '?');
  return printable.length <= SUBJECT_LIMIT ? printable : `${printable.slice(0, SUBJECT_LIMIT - 3).trimEnd()}...`;
}
