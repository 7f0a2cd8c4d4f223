import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { text } from 'node:stream/consumers';

/** A request as it arrived. */
export interface Received {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
  json(): unknown;
}

/** What one request gets; 200 and "ok" unless told. */
export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Never answered. */
  readonly hang?: true;
  /** The connection is reset before an answer. */
  readonly reset?: true;
  /** After the status, a body without an end. */
  readonly endless?: true;
}

/** A webhook's other end, a heartbeat's, or any other: on a free port of 127.0.0.1. */
export interface HttpSink {
  /** `http://127.0.0.1:40123` */
  readonly url: string;
  /** In order. */
  readonly received: Received[];
  /** Decides about each request, by its number from 1; null = 200. */
  onRequest(decide: (received: Received, number: number) => Answer | null): void;
  stop(): Promise<void>;
}

export async function startHttpSink(): Promise<HttpSink> {
  const received: Received[] = [];
  const sockets = new Set<Socket>();
  let decide: (received: Received, number: number) => Answer | null = () => null;

  const server = createServer(async (incoming, outgoing) => {
    const body = await text(incoming).catch(() => null);
    // The other side hung up.
    if (body === null) return;
    const { method = '', url: path = '', headers } = incoming;
    const one: Received = { method, path, headers, body, json: () => JSON.parse(body) };
    received.push(one);
    const answer = decide(one, received.length) ?? {};
    if (answer.hang) return;
    if (answer.reset) return void incoming.socket.resetAndDestroy();
    outgoing.writeHead(answer.status ?? 200, answer.headers);
    if (answer.endless) endless(outgoing);
    else outgoing.end(answer.body ?? 'ok');
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // Clients of these tests hang up on purpose.
    socket.on('error', () => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    onRequest(decider) {
      received.length = 0;
      decide = decider;
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function endless(outgoing: ServerResponse): void {
  const chunk = 'x'.repeat(64 * 1024);
  const more = (): void => {
    while (!outgoing.destroyed && outgoing.write(chunk));
  };
  outgoing.on('drain', more);
  more();
}
