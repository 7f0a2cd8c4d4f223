import { once } from 'node:events';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { errorXml } from '#test/servers/faulty-s3';

export interface AskedThaw {
  /** Bucket and key. */
  readonly path: string;
  readonly days: number;
  readonly tier: string;
}

/**
 * The archive classes of S3 before a real S3 server that has none: the bytes, listings and signatures are the server's
 * own; the class, the state of a thaw, and what is refused because of it, are as AWS answers (RestoreObject, HeadObject
 * and GetObject of its API reference).
 */
export interface Glacier {
  readonly endpoint: string;
  /** All thaws that were granted. */
  readonly asked: AskedThaw[];
  /** All that was requested: `GET /bucket/key`, `POST /bucket/key?restore`. */
  readonly seen: string[];
  /** From now on what `match` says of a path lies in that class; manifests stay where they are, as small objects do. */
  freeze(match: (path: string) => boolean, storageClass: 'GLACIER' | 'DEEP_ARCHIVE'): void;
  /** What was asked for is there, until its days are over. */
  thaw(): void;
  /** Thawed copies are gone. */
  end(): void;
  /** Nobody may ask for a thaw; or there is no capacity for a quick one. Null = all is well. */
  refuse(how: 'AccessDenied' | 'GlacierExpeditedRetrievalNotAvailable' | null): void;
  stop(): Promise<void>;
}

const STATUS = { AccessDenied: 403, GlacierExpeditedRetrievalNotAvailable: 503 } as const;

interface Restored {
  readonly days: number;
  /** Null: not there yet. */
  until: Date | null;
}

export async function startGlacier(target: string): Promise<Glacier> {
  const asked: AskedThaw[] = [];
  const seen: string[] = [];
  const rules: { readonly match: (path: string) => boolean; readonly storageClass: string }[] = [];
  const restored = new Map<string, Restored>();
  let refused: keyof typeof STATUS | null = null;
  const classOf = (path: string): string | null =>
    path.endsWith('/manifest.json') ? null : (rules.findLast(({ match }) => match(path))?.storageClass ?? null);

  /** Null: it is the server's to answer. */
  const answered = (method: string, url: URL, body: string): Answer | null => {
    const path = decodeURIComponent(url.pathname);
    const storageClass = classOf(path);
    const copy = restored.get(path);
    if (method === 'POST' && url.searchParams.has('restore')) {
      if (refused !== null) return failure(STATUS[refused], refused);
      if (storageClass === null) return failure(403, 'InvalidObjectState');
      if (copy && !copy.until) return failure(409, 'RestoreAlreadyInProgress');
      const days = Number(/<Days>(\d+)<\/Days>/.exec(body)?.[1]);
      const tier = /<Tier>(\w+)<\/Tier>/.exec(body)?.[1] ?? '';
      asked.push({ path, days, tier });
      restored.set(path, { days, until: null });
      return { status: 202, headers: {}, body: Buffer.alloc(0) };
    }
    if (method === 'GET' && storageClass !== null && !copy?.until) return failure(403, 'InvalidObjectState');
    return null;
  };
  const changed = (method: string, url: URL, answer: Answer): Answer => {
    const path = decodeURIComponent(url.pathname);
    if (method === 'GET' && url.searchParams.has('list-type'))
      return { ...answer, body: Buffer.from(withClasses(answer.body.toString('utf8'), path, classOf)) };
    const storageClass = method === 'HEAD' ? classOf(path) : null;
    if (storageClass === null) return answer;
    const copy = restored.get(path);
    const restore = copy?.until
      ? `ongoing-request="false", expiry-date="${copy.until.toUTCString()}"`
      : copy
        ? 'ongoing-request="true"'
        : null;
    return {
      ...answer,
      headers: {
        ...answer.headers,
        'x-amz-storage-class': storageClass,
        ...(restore ? { 'x-amz-restore': restore } : {}),
      },
    };
  };

  const server = createServer(async (incoming, outgoing) => {
    const method = incoming.method ?? '';
    const url = new URL(incoming.url ?? '/', target);
    seen.push(`${method} ${decodeURIComponent(url.pathname)}${url.searchParams.has('restore') ? '?restore' : ''}`);
    const body = await buffer(incoming);
    const reply =
      answered(method, url, body.toString('utf8')) ?? changed(method, url, await forward(target, incoming, body));
    const length = method === 'HEAD' ? reply.headers['content-length'] : String(reply.body.length);
    outgoing.writeHead(reply.status, {
      ...reply.headers,
      ...(length === undefined ? {} : { 'content-length': length }),
    });
    outgoing.end(method === 'HEAD' ? undefined : reply.body);
  });
  server.on('connection', (socket) => socket.on('error', () => socket.destroy()));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    seen,
    freeze: (match, storageClass) => void rules.push({ match, storageClass }),
    thaw() {
      for (const one of restored.values())
        one.until ??= new Date(Math.ceil(Date.now() / 1000) * 1000 + one.days * 86_400_000);
    },
    end: () => restored.clear(),
    refuse(how) {
      refused = how;
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

function failure(status: number, code: string): Answer {
  return { status, headers: { 'content-type': 'application/xml' }, body: Buffer.from(errorXml(code)) };
}

function withClasses(xml: string, bucket: string, classOf: (path: string) => string | null): string {
  return xml.replace(/<Contents>.*?<\/Contents>/gs, (contents) => {
    const key = /<Key>(.*?)<\/Key>/.exec(contents)?.[1] ?? '';
    const storageClass = classOf(`${bucket.replace(/\/$/, '')}/${key}`);
    return storageClass === null
      ? contents
      : contents.replace(/<StorageClass>\w*<\/StorageClass>/, `<StorageClass>${storageClass}</StorageClass>`);
  });
}

function forward(target: string, incoming: IncomingMessage, body: Buffer): Promise<Answer> {
  const { expect: _, ...headers } = incoming.headers;
  return new Promise((resolve, reject) => {
    // The same Host header: the request is signed with it.
    const sending = request(target, { method: incoming.method, path: incoming.url, headers }, (answer) => {
      buffer(answer).then((received) => {
        const { 'transfer-encoding': _chunked, connection: _connection, ...kept } = answer.headers;
        resolve({ status: answer.statusCode ?? 0, headers: kept as Record<string, string>, body: received });
      }, reject);
    });
    sending.once('error', reject);
    sending.end(body);
  });
}
