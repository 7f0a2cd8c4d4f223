import { randomUUID } from 'node:crypto';
import {
  type Authorise,
  AwsError,
  type AwsReply,
  type StandIn,
  startStandIn,
  TO_SEND,
  type UseKey,
} from '#test/servers/aws-stand-in';

/** What a topic took. */
export interface TopicMessage {
  readonly publisher: string;
  readonly topic: string;
  readonly subject: string | null;
  /** For subscribers of the protocol `lambda`. */
  readonly message: string;
  readonly attributes: Readonly<Record<string, string>>;
}

/** SNS's Publish: by the SDK over the wire, or by another service of AWS. */
export interface SnsStandIn extends StandIn {
  /** In order. */
  readonly taken: TopicMessage[];
  /** @param context what a service says of itself: `aws:SourceArn` */
  publish(message: TopicMessage, context?: Readonly<Record<string, string>>): Promise<void>;
}

const XMLNS = 'xmlns="http://sns.amazonaws.com/doc/2010-03-31/"';

/** @param topics the ARNs of those that were made */
export async function startSns(topics: ReadonlySet<string>, authorise: Authorise, useKey: UseKey): Promise<SnsStandIn> {
  const taken: TopicMessage[] = [];
  const publish: SnsStandIn['publish'] = async (message, context) => {
    const { publisher, topic } = message;
    if (!topics.has(topic)) throw new AwsError('NotFound', 'Topic does not exist', 404);
    await authorise(publisher, 'sns:Publish', topic, context);
    await useKey(publisher, topic, TO_SEND, context);
    taken.push(message);
  };
  const server = await startStandIn(
    'sns',
    async ({ caller, body }) => {
      await publish(readPublish(caller, new URLSearchParams(body.toString('utf8'))));
      return xml(
        200,
        `<PublishResponse ${XMLNS}><PublishResult><MessageId>${randomUUID()}</MessageId></PublishResult></PublishResponse>`,
      );
    },
    ({ code, status, message }) => {
      const named = code === 'AccessDeniedException' ? 'AuthorizationError' : code;
      return xml(
        named === 'AuthorizationError' ? 403 : status,
        `<ErrorResponse ${XMLNS}><Error><Type>Sender</Type><Code>${named}</Code><Message>${message}</Message></Error></ErrorResponse>`,
      );
    },
  );
  return { ...server, taken, publish };
}

function xml(status: number, body: string): AwsReply {
  return { status, headers: { 'content-type': 'text/xml' }, body };
}

function readPublish(publisher: string, form: URLSearchParams): TopicMessage {
  if (form.get('Action') !== 'Publish') throw new AwsError('InvalidAction', `want Publish, got ${form.get('Action')}`);
  const attributes: Record<string, string> = {};
  for (let entry = 1; form.has(`MessageAttributes.entry.${entry}.Name`); entry++)
    attributes[form.get(`MessageAttributes.entry.${entry}.Name`) ?? ''] =
      form.get(`MessageAttributes.entry.${entry}.Value.StringValue`) ?? '';
  const message = form.get('Message') ?? '';
  return {
    publisher,
    topic: form.get('TopicArn') ?? '',
    subject: form.get('Subject'),
    message: form.get('MessageStructure') === 'json' ? forLambda(message) : message,
    attributes,
  };
}

function forLambda(message: string): string {
  const { default: otherwise, lambda = otherwise } = JSON.parse(message) as Record<string, string>;
  if (otherwise === undefined || lambda === undefined)
    throw new AwsError(
      'InvalidParameter',
      'Invalid parameter: Message Structure - No default entry in JSON message body',
    );
  return lambda;
}
