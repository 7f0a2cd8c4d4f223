import { createHash, createHmac } from 'node:crypto';
import { SignatureV4 } from '@smithy/signature-v4';
import { CloudFailed, messageOf } from '#core/errors';
import type { StartPayload } from '#core/job';
import type { Invoker } from '#core/ports';
import { functionName } from '#core/settings';

type Environment = Readonly<Record<string, string | undefined>>;

const ATTEMPTS = 4;
const FIRST_WAIT_MILLISECONDS = 200;
const ATTEMPT_MILLISECONDS = 5000;
const SHOWN = 300;

/**
 * Invokes functions of the same deployment asynchronously: Lambda tries twice more, and then keeps it as a dead letter.
 * One signed request, and not the SDK's client: that is 70 KiB of every bundle for this single call. For functions
 * alone, whose credentials stand in their environment.
 */
export class LambdaInvoker implements Invoker {
  readonly #plan: string;
  readonly #environment: Environment;
  readonly #wait: (milliseconds: number) => Promise<void>;

  constructor(
    plan: string,
    environment: Environment = process.env,
    wait = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds)),
  ) {
    this.#plan = plan;
    this.#environment = environment;
    this.#wait = wait;
  }

  async start(payload: StartPayload): Promise<void> {
    await this.#invoke(functionName(this.#plan, 'start-job'), payload);
  }

  async retain(request: { readonly source: string | null; readonly dryRun: boolean }): Promise<void> {
    await this.#invoke(functionName(this.#plan, 'retain'), request);
  }

  async #invoke(name: string, payload: unknown): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const { why, again } = await this.#attempt(name, JSON.stringify(payload));
      if (why === null) return;
      if (!again || attempt === ATTEMPTS)
        throw new CloudFailed(`could not invoke ${name}: ${why}`, {
          hint: /AccessDenied|403/.test(why) ? 'its role lacks the right: deploy the stack again' : null,
        });
      await this.#wait(FIRST_WAIT_MILLISECONDS * 2 ** (attempt - 1) * (0.5 + Math.random() / 2));
    }
  }

  /** Sent twice it may be carried out twice: what is invoked knows a repetition by its payload. */
  async #attempt(name: string, body: string): Promise<{ readonly why: string | null; readonly again: boolean }> {
    const signed = await this.#signed(name, body);
    try {
      const answer = await fetch(signed.url, {
        method: 'POST',
        headers: signed.headers,
        body,
        signal: AbortSignal.timeout(ATTEMPT_MILLISECONDS),
      });
      const said = await answer.text();
      if (answer.status === 202) return { why: null, again: false };
      const kind = answer.headers.get('x-amzn-errortype') ?? '';
      const why = `${answer.status} ${kind} ${said.replace(/\s+/g, ' ').slice(0, SHOWN)}`.replace(/\s+/g, ' ').trim();
      return { why, again: answer.status === 429 || answer.status >= 500 };
    } catch (error) {
      const { cause } = error as { cause?: unknown };
      return { why: messageOf(cause ?? error), again: true };
    }
  }

  async #signed(name: string, body: string): Promise<{ readonly url: URL; readonly headers: Record<string, string> }> {
    const region = this.#needed('AWS_REGION');
    const suffix = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com';
    const base =
      this.#environment['AWS_ENDPOINT_URL_LAMBDA'] ??
      this.#environment['AWS_ENDPOINT_URL'] ??
      `https://lambda.${region}.${suffix}`;
    const url = new URL(`/2015-03-31/functions/${encodeURIComponent(name)}/invocations`, base);
    const sessionToken = this.#environment['AWS_SESSION_TOKEN'];
    const signer = new SignatureV4({
      service: 'lambda',
      region,
      credentials: {
        accessKeyId: this.#needed('AWS_ACCESS_KEY_ID'),
        secretAccessKey: this.#needed('AWS_SECRET_ACCESS_KEY'),
        ...(sessionToken === undefined ? {} : { sessionToken }),
      },
      sha256: NodeSha256,
    });
    const { headers } = await signer.sign({
      method: 'POST',
      protocol: url.protocol,
      hostname: url.hostname,
      ...(url.port === '' ? {} : { port: Number(url.port) }),
      path: url.pathname,
      query: {},
      headers: { host: url.host, 'content-type': 'application/json', 'x-amz-invocation-type': 'Event' },
      body,
    });
    return { url, headers };
  }

  #needed(name: string): string {
    const value = this.#environment[name];
    if (value) return value;
    throw new CloudFailed(`${name} is not set: this is no function's environment`);
  }
}

/** The hash as the signer wants it. */
class NodeSha256 {
  readonly #hash;

  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    this.#hash = secret === undefined ? createHash('sha256') : createHmac('sha256', bytesOf(secret));
  }

  update(data: Uint8Array): void {
    this.#hash.update(data);
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }
}

function bytesOf(secret: string | ArrayBuffer | ArrayBufferView): string | Buffer {
  if (typeof secret === 'string') return secret;
  return ArrayBuffer.isView(secret)
    ? Buffer.from(secret.buffer, secret.byteOffset, secret.byteLength)
    : Buffer.from(secret);
}
