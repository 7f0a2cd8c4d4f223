import type { PublishCommandInput, SNSClient } from '@aws-sdk/client-sns';
import type { Telling } from '#core/alert';
import { messageOf } from '#core/errors';
import { idempotencyKey, type Message, threadOf } from '#core/message';
import type { Plan } from '#core/plan';
import { redact } from '#core/secrets';
import { type Pace, type Send, type Surroundings, Undelivered, untilDelivered } from '#notify/delivery';

/** SNS refuses longer ones, and anything but printable ASCII. */
const SUBJECT = 100;
const SHOWN = 200;

export interface SnsTarget {
  readonly to: { readonly topic: string } | { readonly phone: string };
  /** Null = the usual chain: AWS_REGION, profile. */
  readonly region: string | null;
}

/** A topic by its ARN, or a phone number: e-mail lists, SMS and whatever subscribes to the topic. */
export function sns(target: SnsTarget, run: Surroundings, pace: Pace): Send {
  return async (telling, message) => {
    assertReachable(target);
    await withClient(target.region, pace, async ({ client, PublishCommand }) => {
      const input = publishInput(target.to, telling, message);
      await untilDelivered(run, pace, (signal) =>
        publish(() => client.send(new PublishCommand(input), { abortSignal: signal })),
      );
    });
  };
}

/** Whether there is a region and somebody to be there; nothing is sent. Throws `Undelivered`. */
export async function snsReady(target: SnsTarget, run: Surroundings, pace: Pace): Promise<void> {
  assertReachable(target);
  await withClient(target.region, pace, async ({ client }) => {
    await untilDelivered(run, pace, (signal) =>
      publish(async () => {
        const late = new Promise<never>((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        });
        await Promise.race([Promise.all([client.config.region(), client.config.credentials()]), late]);
      }),
    );
  });
}

/** The region stands in an ARN: `arn:aws:sns:eu-north-1:123456789012:backups`; for a number it is the plan's, if any. */
export function snsTarget(channel: { readonly sns: string } | { readonly sms: string }, plan: Plan): SnsTarget {
  if ('sns' in channel) return { to: { topic: channel.sns }, region: channel.sns.split(':')[3] || null };
  return { to: { phone: channel.sms }, region: plan.cloud?.region ?? null };
}

function assertReachable({ to }: SnsTarget): void {
  if ('phone' in to && !/^\+[1-9]\d{6,14}$/.test(to.phone))
    throw new Undelivered('the number cannot be called from everywhere, want one such as +46700000000');
}

type Sdk = typeof import('@aws-sdk/client-sns');

async function withClient<T>(
  region: string | null,
  pace: Pace,
  use: (sdk: Sdk & { readonly client: SNSClient }) => Promise<T>,
): Promise<T> {
  // Loaded when something is to be said: it costs 100 ms and 20 MB.
  const sdk = await import('@aws-sdk/client-sns');
  const client = new sdk.SNSClient({
    ...(region === null ? {} : { region }),
    // Retries are ours, with a clock of ours.
    maxAttempts: 1,
    requestHandler: { connectionTimeout: pace.attemptMs / 2, requestTimeout: pace.attemptMs },
  });
  try {
    return await use({ ...sdk, client });
  } finally {
    client.destroy();
  }
}

function publishInput(to: SnsTarget['to'], telling: Telling, message: Message): PublishCommandInput {
  const text = (value: string) => ({ DataType: 'String', StringValue: value });
  if ('phone' in to)
    return {
      PhoneNumber: to.phone,
      Message: message.brief,
      // Not the cheap kind that may come tomorrow.
      MessageAttributes: { 'AWS.SNS.SMS.SMSType': text('Transactional') },
    };
  return {
    TopicArn: to.topic,
    Subject: asciiSubject(message.subject),
    Message: message.text,
    // For subscriptions that filter.
    MessageAttributes: { plan: text(telling.plan), severity: text(telling.severity), what: text(telling.what) },
    ...(to.topic.endsWith('.fifo')
      ? { MessageGroupId: threadOf(telling), MessageDeduplicationId: idempotencyKey(telling) }
      : {}),
  };
}

function asciiSubject(subject: string): string {
  const ascii = subject.replaceAll('…', '...').replace(/[^\x20-\x7e]/g, '?');
  return ascii.length <= SUBJECT ? ascii : `${ascii.slice(0, SUBJECT - 3).trimEnd()}...`;
}

const THROTTLED = /Throttl|TooManyRequests/;

const HINTS: Readonly<Record<string, string>> = {
  AuthorizationErrorException: 'allow sns:Publish',
  AuthorizationError: 'allow sns:Publish',
  AccessDenied: 'allow sns:Publish',
  CredentialsProviderError: 'give this machine a role, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
  NotFoundException: 'is there such a topic in this region and account?',
  NotFound: 'is there such a topic in this region and account?',
};

async function publish(act: () => Promise<unknown>): Promise<void> {
  try {
    await act();
  } catch (cause) {
    throw undelivered(cause);
  }
}

function undelivered(thrown: unknown): Undelivered {
  const { name, $metadata, code } = thrown as {
    name?: string;
    code?: string;
    $metadata?: { httpStatusCode?: number };
  };
  const status = $metadata?.httpStatusCode;
  if (name === 'TimeoutError' || name === 'AbortError')
    return new Undelivered('SNS does not answer', { retryable: true, cause: thrown });
  if (/Region is missing/i.test(messageOf(thrown)))
    return new Undelivered('no AWS region is known: set AWS_REGION', { cause: thrown });
  const own = redact(messageOf(thrown), []).replace(/\s+/g, ' ').slice(0, SHOWN);
  const hint = HINTS[name ?? ''];
  return new Undelivered(`SNS: ${name ?? 'error'}: ${own}${hint === undefined ? '' : `; ${hint}`}`, {
    cause: thrown,
    retryable:
      status === undefined ? code !== undefined : status >= 500 || status === 429 || THROTTLED.test(name ?? ''),
  });
}
