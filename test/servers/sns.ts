import { type Answer, type HttpSink, type Received, startHttpSink } from '#test/servers/http-sink';

/** One call of Publish. */
export interface Published {
  readonly topic: string | null;
  readonly phone: string | null;
  readonly subject: string | null;
  readonly message: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly group: string | null;
  readonly deduplication: string | null;
}

/** What stands in for Amazon's SNS: the wire protocol of Publish. `AWS_ENDPOINT_URL_SNS` names it to the SDK. */
export interface SnsServer {
  readonly endpoint: string;
  readonly published: readonly Published[];
  /** All requests, those that were refused included. */
  readonly received: HttpSink['received'];
  /** Refuses with this code, as `NotFound`; null = takes it. */
  onPublish(
    decide: (number: number) => { readonly status: number; readonly code: string; readonly message: string } | null,
  ): void;
  stop(): Promise<void>;
}

const XMLNS = 'xmlns="http://sns.amazonaws.com/doc/2010-03-31/"';

export async function startSns(): Promise<SnsServer> {
  const sink = await startHttpSink();
  const published: Published[] = [];
  let decide: Parameters<SnsServer['onPublish']>[0] = () => null;
  sink.onRequest((received, number): Answer => {
    const refused = decide(number);
    const headers = { 'content-type': 'text/xml' };
    if (refused) {
      const { status, code, message } = refused;
      const body = `<ErrorResponse ${XMLNS}><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error><RequestId>r</RequestId></ErrorResponse>`;
      return { status, headers, body };
    }
    published.push(readPublish(received));
    const body = `<PublishResponse ${XMLNS}><PublishResult><MessageId>m-${number}</MessageId></PublishResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></PublishResponse>`;
    return { headers, body };
  });
  return {
    endpoint: sink.url,
    published,
    received: sink.received,
    onPublish(decider) {
      decide = decider;
    },
    stop: () => sink.stop(),
  };
}

function readPublish({ body }: Received): Published {
  const form = new URLSearchParams(body);
  if (form.get('Action') !== 'Publish') throw new Error(`want Publish, got ${body.slice(0, 200)}`);
  const attributes: Record<string, string> = {};
  for (let entry = 1; form.has(`MessageAttributes.entry.${entry}.Name`); entry++)
    attributes[form.get(`MessageAttributes.entry.${entry}.Name`) ?? ''] =
      form.get(`MessageAttributes.entry.${entry}.Value.StringValue`) ?? '';
  return {
    topic: form.get('TopicArn'),
    phone: form.get('PhoneNumber'),
    subject: form.get('Subject'),
    message: form.get('Message') ?? '',
    attributes,
    group: form.get('MessageGroupId'),
    deduplication: form.get('MessageDeduplicationId'),
  };
}
