import { Undelivered } from '#notify/delivery';
import type { SecretUrl } from '#notify/secret-url';

/** Of an answer that refuses; what is longer is not read. */
const REPLY_READ = 2048;
const REPLY_SHOWN = 160;

const RETRYABLE = new Set([408, 425, 429]);

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'refuses the connection',
  ECONNRESET: 'broke the connection off',
  UND_ERR_SOCKET: 'broke the connection off',
  EPIPE: 'broke the connection off',
  ENOTFOUND: 'has no address: its name does not resolve',
  EAI_AGAIN: 'has no address: its name does not resolve at this moment',
  ENETUNREACH: 'cannot be reached from this network',
  EHOSTUNREACH: 'cannot be reached from this network',
  ETIMEDOUT: 'does not answer',
  UND_ERR_CONNECT_TIMEOUT: 'does not answer',
};

export interface HttpRequest {
  readonly method: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/**
 * One request; any 2xx is success. Redirects are not followed: they would carry the message, and the secret of its
 * address, to somebody the plan does not name.
 * @throws Undelivered
 */
export async function request(
  url: SecretUrl,
  { method, headers, body }: HttpRequest,
  signal: AbortSignal,
): Promise<void> {
  let response: Response;
  try {
    response = await fetch(url.href, {
      method,
      redirect: 'manual',
      signal,
      headers: {
        'user-agent': 'holdfast',
        ...(url.authorization === null ? {} : { authorization: url.authorization }),
        ...headers,
      },
      ...(body === undefined ? {} : { body }),
    });
  } catch (cause) {
    throw notAnswered(url, cause, signal);
  }
  if (response.ok) {
    // Its length may be anything; the status said all there is to say.
    await response.body?.cancel();
    return;
  }
  const { status } = response;
  if (status >= 300 && status < 400) {
    await response.body?.cancel();
    const to = URL.parse(response.headers.get('location') ?? '', url.href)?.origin;
    throw new Undelivered(
      `${url.host} answered ${status}: it has moved${to === undefined ? '' : ` to ${to}`}; redirects are not followed, put its new address into the plan`,
    );
  }
  const reply = await replyOf(response, url);
  throw new Undelivered(`${url.host} answered ${status}${reply === '' ? '' : `: ${reply}`}`, {
    retryable: status >= 500 || RETRYABLE.has(status),
    afterMs: retryAfter(response.headers.get('retry-after')),
  });
}

function notAnswered(url: SecretUrl, thrown: unknown, signal: AbortSignal): Undelivered {
  if (signal.aborted) return new Undelivered(`${url.host} does not answer`, { retryable: true });
  const code = codeOf(thrown);
  const reason = code === null ? undefined : REASONS[code];
  if (reason !== undefined) return new Undelivered(`${url.host} ${reason}`, { retryable: true });
  const trust = code !== null && /CERT|SELF_SIGNED|ALTNAME|ISSUER|SIGNATURE/.test(code);
  if (trust) return new Undelivered(`${url.host} shows a certificate that is not trusted here (${code})`);
  // Without a code it never came to a connection: a port that is forbidden, a header that cannot be.
  if (code === null) return new Undelivered(`${url.host} cannot be asked: ${url.clean(innermost(thrown).message)}`);
  return new Undelivered(`no connection to ${url.host} (${code})`, { retryable: true });
}

function codeOf(thrown: unknown): string | null {
  const { code } = innermost(thrown) as { code?: unknown };
  return typeof code === 'string' ? code : null;
}

/** `fetch` wraps what happened: once, or for several addresses of a host once more. */
function innermost(thrown: unknown): Error {
  if (thrown instanceof AggregateError && thrown.errors.length > 0) return innermost(thrown.errors[0]);
  if (thrown instanceof Error) return thrown.cause === undefined ? thrown : innermost(thrown.cause);
  return new Error(String(thrown));
}

/** One line of what it said, without the address it was asked by, or nothing. */
async function replyOf(response: Response, url: SecretUrl): Promise<string> {
  // The status is known; how the rest of the answer came to grief changes nothing.
  const { text, whole } = await beginningOf(response).catch(() => ({ text: '', whole: true }));
  // Half an address would not be recognised as one.
  const known = whole ? text : text.slice(0, Math.max(0, text.search(/\s\S*$/)));
  const line = url
    .clean(known)
    .replace(/<[^>]*>/g, ' ')
    .replace(/[\s\p{C}]+/gu, ' ')
    .trim();
  return line.length <= REPLY_SHOWN ? line : `${line.slice(0, REPLY_SHOWN)}…`;
}

async function beginningOf({ body }: Response): Promise<{ readonly text: string; readonly whole: boolean }> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > REPLY_READ) return { text: text.slice(0, REPLY_READ), whole: false };
  }
  return { text, whole: true };
}

/** Seconds, or a date. */
function retryAfter(header: string | null): number | null {
  if (header === null) return null;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, date - Date.now());
}
