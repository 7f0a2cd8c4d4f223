import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { HoldfastError, messageOf, UsageError } from '#core/errors';
import { LISTEN_ALLOWED, listenAddress } from '#core/listen-address';

/**
 * `serve.listen`: `/healthz` for whoever restarts what hangs, `/status` for whoever looks. With a token `/status` wants
 * `Authorization: Bearer`; without one it answers this machine only.
 */
export interface ServeHttp {
  /** `http://127.0.0.1:8474` */
  readonly url: string;
  close(): Promise<void>;
}

export interface ServeHttpOptions {
  /** `127.0.0.1:8474`, `[::1]:8474`, `:8474` for every address. */
  readonly listen: string;
  readonly token: string | null;
  /** Seconds since the loop last turned, and what is under way. */
  liveness(): { readonly seconds: number; readonly task: string | null };
  /** The document of `holdfast status --json`. */
  status(): Promise<unknown>;
}

/** The loop turns at least each minute, also while a job is under way. */
const ALIVE_SECONDS = 300;
/** Each look reads from every vault: askers within so long get the same one. */
const STATUS_KEPT_MILLISECONDS = 10_000;

/** @throws UsageError the address cannot be listened on */
export async function listen(options: ServeHttpOptions): Promise<ServeHttp> {
  const address = listenAddress(options.listen);
  if (!address) throw new UsageError(`serve.listen: got "${options.listen}", want ${LISTEN_ALLOWED}`);
  const { host, port } = address;
  const look = sharedLook(options.status);
  const server = createServer((request, response) => {
    answer(request, response, options, look).catch((error: unknown) => {
      if (!response.headersSent) reply(response, 500, { error: messageOf(error) });
      else response.destroy();
    });
  });
  server.headersTimeout = 10_000;
  server.requestTimeout = 10_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new UsageError(`serve.listen: cannot listen on ${options.listen}: ${cause.message}`, {
          cause,
          hint: 'another address or port, as "127.0.0.1:8474"',
        }),
      ),
    );
    server.listen({ port, ...(host === '' ? {} : { host }) }, resolve);
  });
  const bound = server.address();
  const at = typeof bound === 'object' && bound ? bound : { address: host, port };
  return {
    url: `http://${isIP(at.address) === 6 ? `[${at.address}]` : at.address}:${at.port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: ServeHttpOptions,
  look: () => Promise<unknown>,
): Promise<void> {
  const path = (request.url ?? '/').split('?')[0];
  if (request.method !== 'GET' && request.method !== 'HEAD') return reply(response, 405, { error: 'want GET' });
  if (path === '/healthz') {
    const { seconds, task } = options.liveness();
    const ok = seconds < ALIVE_SECONDS;
    return reply(response, ok ? 200 : 503, { ok, task, secondsSinceTurn: Math.round(seconds) });
  }
  if (path !== '/status') return reply(response, 404, { error: 'want /healthz or /status' });
  const refused = options.token === null ? refusedAsForeign(request) : refusedByToken(request, options.token);
  if (refused !== null) {
    if (options.token !== null) response.setHeader('www-authenticate', 'Bearer');
    return reply(response, options.token === null ? 403 : 401, { error: refused });
  }
  try {
    return reply(response, 200, await look());
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return reply(response, 503, { error: error.message });
  }
}

function refusedByToken(request: IncomingMessage, token: string): string | null {
  const given = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? '';
  // Hashes: of one length, so that the comparison tells nothing of the token's.
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(token)) ? null : 'want Authorization: Bearer, with serve.token';
}

/** A web page that a browser of this machine shows must not reach it under another name either. */
function refusedAsForeign(request: IncomingMessage): string | null {
  const from = request.socket.remoteAddress ?? '';
  const host = (request.headers.host ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  const isLoopback = (address: string): boolean => /^(?:127\.[\d.]+|::1|::ffff:127\.[\d.]+)$/.test(address);
  if (isLoopback(from) && (host === '' || host === 'localhost' || isLoopback(host))) return null;
  return 'without serve.token, /status answers this machine only';
}

/** One look at a time, and its result for who asks soon after. */
function sharedLook(status: () => Promise<unknown>): () => Promise<unknown> {
  let last: { readonly at: number; readonly looked: Promise<unknown> } | null = null;
  return () => {
    if (last && performance.now() - last.at < STATUS_KEPT_MILLISECONDS) return last.looked;
    const looked = status();
    const mine = { at: performance.now(), looked };
    last = mine;
    // What failed is not kept.
    looked.catch(() => {
      if (last === mine) last = null;
    });
    return looked;
  };
}

function reply(response: ServerResponse, code: number, body: unknown): void {
  response.writeHead(code, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(`${JSON.stringify(body)}\n`);
}
