import { createServer, type IncomingMessage, type OutgoingHttpHeaders, request, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/** What happens to one request on its way to a real S3 server. Absent = it passes. */
export interface Fault {
  /** Answered here, without the server. */
  readonly answer?: { readonly status: number; readonly body?: string; readonly headers?: Record<string, string> };
  /** Never answered. */
  readonly hang?: true;
  /** The connection ends: before the server sees the request, or after it has carried it out. */
  readonly cut?: 'before' | 'after';
  /** The connection ends after so many bytes of the answer's body. */
  readonly cutBody?: number;
  /** Nothing more is sent after so many bytes of the answer's body. */
  readonly hangBody?: number;
  /** One byte of the request's body is changed. */
  readonly flipRequest?: true;
  /** The server's answer is changed. */
  readonly rewrite?: (answer: { headers: Record<string, string | string[] | undefined>; body: Buffer }) => Buffer;
}

export interface Seen {
  readonly method: string;
  /** Bucket and key. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

export interface FaultyS3 {
  readonly endpoint: string;
  /** All requests, in order. */
  readonly seen: Seen[];
  /** Decides about each request; set by the test. */
  onRequest(decide: (seen: Seen, number: number) => Fault | null): void;
  stop(): Promise<void>;
}

/** A proxy before a real S3 server that does to requests what networks and servers do on bad days. */
export async function startFaultyS3(target: string): Promise<FaultyS3> {
  const seen: Seen[] = [];
  const sockets = new Set<Socket>();
  let decide: (seen: Seen, number: number) => Fault | null = () => null;

  const server = createServer(async (incoming, outgoing) => {
    const url = new URL(incoming.url ?? '/', target);
    const one: Seen = {
      method: incoming.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      headers: incoming.headers,
    };
    seen.push(one);
    const fault = decide(one, seen.length) ?? {};
    const body = await collect(incoming);
    if (body === null) return;
    if (fault.hang) return;
    if (fault.cut === 'before') return void incoming.socket.destroy();
    if (fault.answer) {
      outgoing.writeHead(fault.answer.status, { 'content-type': 'application/xml', ...fault.answer.headers });
      outgoing.end(incoming.method === 'HEAD' ? '' : (fault.answer.body ?? ''));
      return;
    }
    if (fault.flipRequest && body.length > 0) body[body.length >> 1] = (body[body.length >> 1] as number) ^ 1;
    const answered = await forward(target, incoming, body);
    if (fault.cut === 'after') return void incoming.socket.destroy();
    const reply = fault.rewrite ? fault.rewrite(answered) : answered.body;
    send(outgoing, answered, reply, fault);
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // Clients of these tests hang up on purpose.
    socket.on('error', () => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    onRequest(decider) {
      seen.length = 0;
      decide = decider;
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export function errorXml(code: string, message: string = code): string {
  return `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`;
}

interface Answered {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: Buffer;
}

function send(outgoing: ServerResponse, { status, headers, body }: Answered, reply: Buffer, fault: Fault): void {
  const { 'transfer-encoding': _, ...kept } = headers;
  // The length that was announced stays, also where less is sent.
  const length = fault.rewrite ? undefined : headers['content-length'];
  outgoing.writeHead(status, { ...(kept as OutgoingHttpHeaders), 'content-length': String(length ?? reply.length) });
  const stopAt = fault.cutBody ?? fault.hangBody;
  if (stopAt === undefined || stopAt >= body.length) {
    outgoing.end(reply);
    return;
  }
  outgoing.flushHeaders();
  outgoing.write(reply.subarray(0, stopAt), () => {
    // A moment, so that the client has read what was sent before the connection ends.
    if (fault.cutBody !== undefined) setTimeout(() => outgoing.socket?.destroy(), 20);
  });
}

async function forward(target: string, incoming: IncomingMessage, body: Buffer): Promise<Answered> {
  const { expect: _, ...headers } = incoming.headers;
  return new Promise((resolve, reject) => {
    // The same Host header: the request is signed with it.
    const sending = request(target, { method: incoming.method, path: incoming.url, headers }, async (answer) => {
      const received = await collect(answer);
      if (received === null) reject(new Error('the server behind the proxy hung up'));
      else resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: received });
    });
    sending.once('error', reject);
    sending.end(body);
  });
}

/** Null when the other side hung up. */
async function collect(message: IncomingMessage): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  return new Promise((resolve) => {
    message.on('data', (chunk: Buffer) => chunks.push(chunk));
    message.once('end', () => resolve(Buffer.concat(chunks)));
    message.once('error', () => resolve(null));
  });
}
