import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** What the stand-ins for services of AWS share: they are spoken to by the real SDK, over the wire, with its signatures. */

/** One call as it arrived. */
export interface AwsCall {
  /** The access key that signed it: the name of a role. */
  readonly caller: string;
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface AwsReply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface StandIn {
  readonly endpoint: string;
  stop(): Promise<void>;
}

/** Decides by the policies of a deployment. Throws `AwsError` with `AccessDeniedException` for what its role may not. */
export type Authorise = (
  caller: string,
  action: string,
  resource: string,
  context?: Readonly<Record<string, string | string[]>>,
) => Promise<void>;

/**
 * A service asks KMS, in its caller's name, for the key that protects a thing: a bucket, topic, queue, secret. Nothing is
 * asked for a thing without a key of the account's own. Throws as `Authorise` does.
 * @param thing its ARN
 */
export type UseKey = (
  caller: string,
  thing: string,
  actions: readonly string[],
  context?: Readonly<Record<string, string | string[]>>,
) => Promise<void>;

/** What whoever sends to an encrypted topic or queue is asked for. */
export const TO_SEND: readonly string[] = ['kms:GenerateDataKey', 'kms:Decrypt'];

/** An answer that the SDK turns into an exception of this name. */
export class AwsError extends Error {
  readonly code: string;
  readonly status: number;
  readonly more: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, status = 400, more: Readonly<Record<string, unknown>> = {}) {
    super(message);
    this.code = code;
    this.status = status;
    this.more = more;
  }
}

/**
 * @param scope the service's name in signatures: `ecs`, `monitoring`
 * @param refusal in the words of the service's protocol
 */
export async function startStandIn(
  scope: string,
  answer: (call: AwsCall) => Promise<AwsReply>,
  refusal: (error: AwsError) => AwsReply = refusalInJson,
): Promise<StandIn> {
  const server = createServer(async (incoming, outgoing) => {
    const reply = await replyTo(async () => {
      const body = await buffer(incoming);
      const { method = '', url: path = '', headers } = incoming;
      return answer({ caller: callerOf(headers, scope), method, path, headers, body });
    }, refusal);
    outgoing.writeHead(reply.status, reply.headers);
    outgoing.end(reply.body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A service of the JSON protocols: the operation stands in `x-amz-target`. One that is not given is an error. */
export async function startJsonStandIn(
  scope: string,
  operations: Readonly<Record<string, (input: Record<string, unknown>, caller: string) => Promise<object>>>,
): Promise<StandIn> {
  return startStandIn(scope, async ({ caller, headers, body }) => {
    const target = String(headers['x-amz-target']).split('.').at(-1) ?? '';
    const operation = Object.hasOwn(operations, target) ? operations[target] : undefined;
    if (!operation) throw new AwsError('UnknownOperationException', `the stand-in of ${scope} does not know ${target}`);
    const output = await operation(JSON.parse(body.toString('utf8')) as Record<string, unknown>, caller);
    const headersOut = { 'content-type': headers['content-type'] ?? 'application/x-amz-json-1.1' };
    return { status: 200, headers: headersOut, body: JSON.stringify(output) };
  });
}

/** @throws AwsError it is signed by nobody, or for another service */
export function callerOf(headers: IncomingHttpHeaders, scope: string): string {
  const signed = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/\d{8}\/[^/]+\/([^/]+)\/aws4_request/.exec(
    headers.authorization ?? '',
  );
  if (!signed || signed[2] !== scope)
    throw new AwsError('IncompleteSignatureException', `want a signature for ${scope}, got ${headers.authorization}`);
  return signed[1] as string;
}

async function replyTo(act: () => Promise<AwsReply>, refusal: (error: AwsError) => AwsReply): Promise<AwsReply> {
  try {
    return await act();
  } catch (error) {
    return refusal(
      error instanceof AwsError ? error : new AwsError('InternalFailure', String((error as Error).stack), 500),
    );
  }
}

function refusalInJson({ code, status, message, more }: AwsError): AwsReply {
  return {
    status,
    headers: { 'content-type': 'application/x-amz-json-1.1', 'x-amzn-errortype': code },
    body: JSON.stringify({ __type: code, message, ...more }),
  };
}
