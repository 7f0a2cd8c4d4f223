import { createHash, createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { type Authorise, AwsError, callerOf, type StandIn, type UseKey } from '#test/servers/aws-stand-in';
import type { S3Server } from '#test/servers/ceph';
import { errorXml } from '#test/servers/faulty-s3';

/** One request to S3, in IAM's words. */
export interface S3Call {
  readonly caller: string;
  readonly action: string;
  readonly method: string;
  /** Within the bucket; empty for the bucket itself. */
  readonly key: string;
}

/**
 * Stands before a real S3 server as IAM and KMS do: who signed is known by the access key, each request is allowed or
 * denied by the policies and the bucket's key, and what may pass is signed anew with the server's own key. Its clock can
 * be set.
 */
export interface S3Gate extends StandIn {
  /** What passed. */
  readonly calls: S3Call[];
  /** The bucket of the deployment is that bucket of the server from now on. */
  lead(bucket: string, to: string): void;
  /** Called when the server has carried a request out, and before the caller hears of it. */
  onDone(act: (call: S3Call) => void): void;
}

export async function startS3Gate(
  server: S3Server,
  authorise: Authorise,
  useKey: UseKey,
  shift: () => number,
): Promise<S3Gate> {
  const calls: S3Call[] = [];
  const buckets = new Map<string, string>();
  /** By path on the server: how far the clock was off when an object was written. */
  const written = new Map<string, number>();
  let onDone: (call: S3Call) => void = () => undefined;

  const pass = async (incoming: IncomingMessage, call: S3Call, url: URL, body: Buffer): Promise<Answer> => {
    const answer = await forward(server, incoming, url, body);
    if (incoming.method === 'PUT' || incoming.method === 'POST') written.set(decodeURIComponent(url.pathname), shift());
    onDone(call);
    const date = new Date(Date.now() + shift()).toUTCString();
    return {
      ...answer,
      headers: { ...answer.headers, date },
      body: call.action === 'ListBucket' ? withTimes(answer.body, url, written) : answer.body,
    };
  };

  const gate = createServer(async (incoming, outgoing) => {
    const body = await buffer(incoming).catch(() => null);
    // The caller hung up: a worker that was killed.
    if (body === null) return;
    const reply = await (async (): Promise<Answer> => {
      const asked = new URL(incoming.url ?? '/', server.endpoint);
      const [, bucket = '', key = ''] = /^\/([^/]+)\/?(.*)$/.exec(decodeURIComponent(asked.pathname)) ?? [];
      const real = buckets.get(bucket);
      const { action, context } = judged(incoming.method ?? '', key, asked.searchParams, incoming.headers, body);
      try {
        const caller = callerOf(incoming.headers, 's3');
        const resource = `arn:aws:s3:::${bucket}${action === 'ListBucket' || key === '' ? '' : `/${key}`}`;
        await authorise(caller, `s3:${action}`, resource, context);
        const ofKey = askedOfKey(action, incoming.method ?? '', asked.searchParams, incoming.headers);
        await useKey(caller, `arn:aws:s3:::${bucket}`, ofKey);
        if (real === undefined) throw new AwsError('NoSuchBucket', `no bucket ${bucket}`, 404);
        const call = { caller, action, method: incoming.method ?? '', key };
        calls.push(call);
        const url = new URL(asked);
        url.pathname = url.pathname.replace(`/${bucket}`, `/${real}`);
        const answer = await pass(incoming, call, url, body);
        // Whoever may not list a name is not told that it does not exist.
        if (answer.status === 404 && action === 'GetObject')
          await authorise(caller, 's3:ListBucket', `arn:aws:s3:::${bucket}`, { 's3:prefix': key });
        return answer;
      } catch (error) {
        if (!(error instanceof AwsError)) throw error;
        const code = error.code === 'AccessDeniedException' ? 'AccessDenied' : error.code;
        const status = code === 'AccessDenied' ? 403 : error.status;
        const body = Buffer.from(incoming.method === 'HEAD' ? '' : errorXml(code, error.message));
        return { status, headers: { 'content-type': 'application/xml' }, body };
      }
    })();
    outgoing.writeHead(reply.status, reply.headers);
    outgoing.end(reply.body);
  });
  // A worker that is killed hangs up.
  gate.on('connection', (socket) => socket.on('error', () => socket.destroy()));
  gate.listen(0, '127.0.0.1');
  await once(gate, 'listening');
  return {
    endpoint: `http://127.0.0.1:${(gate.address() as AddressInfo).port}`,
    calls,
    lead: (bucket, to) => void buckets.set(bucket, to),
    onDone(act) {
      onDone = act;
    },
    async stop() {
      gate.closeAllConnections();
      await new Promise((resolve) => gate.close(resolve));
    },
  };
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

type Context = Record<string, string | string[]>;

/** Which action of IAM a request is. Throws for one that Holdfast has no business with. */
function judged(
  method: string,
  key: string,
  query: URLSearchParams,
  headers: IncomingHttpHeaders,
  body: Buffer,
): { readonly action: string; readonly context: Context } {
  if (key === '') {
    if (method === 'GET' && query.has('lifecycle')) return { action: 'GetLifecycleConfiguration', context: {} };
    if (method === 'GET' && query.has('uploads'))
      return { action: 'ListBucketMultipartUploads', context: prefixOf(query) };
    if (method === 'GET' || method === 'HEAD') return { action: 'ListBucket', context: prefixOf(query) };
    throw new Error(`what is ${method} of a bucket with ${query}?`);
  }
  if (query.has('tagging'))
    return method === 'GET'
      ? { action: 'GetObjectTagging', context: {} }
      : { action: 'PutObjectTagging', context: tagsIn(body.toString('utf8')) };
  if (query.has('retention'))
    return { action: method === 'GET' ? 'GetObjectRetention' : 'PutObjectRetention', context: {} };
  if (method === 'GET' || method === 'HEAD') return { action: 'GetObject', context: {} };
  if (method === 'DELETE')
    return { action: query.has('uploadId') ? 'AbortMultipartUpload' : 'DeleteObject', context: {} };
  // The calls that begin and feed an upload create nothing; the one that completes it does.
  const creates = !query.has('uploads') && !query.has('partNumber');
  const condition = headers['if-none-match'];
  return {
    action: 'PutObject',
    context: {
      's3:ObjectCreationOperation': String(creates),
      ...(condition === undefined ? {} : { 's3:if-none-match': condition }),
    },
  };
}

/** What a request would set. */
function tagsIn(xml: string): Context {
  const tags = [...xml.matchAll(/<Tag><Key>(.*?)<\/Key><Value>(.*?)<\/Value><\/Tag>/gs)];
  if (tags.length === 0) throw new Error(`no tags in ${xml}`);
  return {
    ...Object.fromEntries(tags.map(([, name, value = '']) => [`s3:RequestObjectTag/${name}`, value])),
    's3:RequestObjectTagKeys': tags.map(([, name = '']) => name),
  };
}

/** Parts are encrypted as they come and read again when they are put together; a hash of the whole is stored encrypted. */
function askedOfKey(
  action: string,
  method: string,
  query: URLSearchParams,
  headers: IncomingHttpHeaders,
): readonly string[] {
  if (action === 'PutObject')
    return query.has('uploads') || query.has('uploadId')
      ? ['kms:GenerateDataKey', 'kms:Decrypt']
      : ['kms:GenerateDataKey'];
  if (action !== 'GetObject') return [];
  return method === 'GET' || headers['x-amz-checksum-mode'] !== undefined ? ['kms:Decrypt'] : [];
}

function prefixOf(query: URLSearchParams): Context {
  const prefix = query.get('prefix');
  return prefix === null ? {} : { 's3:prefix': prefix };
}

/** In a listing, the time at which each object was written by the clock that was set then. */
function withTimes(body: Buffer, { pathname }: URL, written: ReadonlyMap<string, number>): Buffer {
  const bucket = pathname.replace(/\/$/, '');
  return Buffer.from(
    body.toString('utf8').replace(/<Contents>.*?<\/Contents>/gs, (contents) => {
      const key = /<Key>(.*?)<\/Key>/.exec(contents)?.[1] ?? '';
      const shift = written.get(`${bucket}/${key}`) ?? 0;
      return contents.replace(
        /<LastModified>(.*?)<\/LastModified>/,
        (_whole, time: string) => `<LastModified>${new Date(Date.parse(time) + shift).toISOString()}</LastModified>`,
      );
    }),
  );
}

async function forward(server: S3Server, incoming: IncomingMessage, url: URL, body: Buffer): Promise<Answer> {
  const headers = signed(server, incoming.method ?? '', url, incoming.headers);
  return new Promise((resolve, reject) => {
    const sending = request(url, { method: incoming.method, headers }, (answer) => {
      buffer(answer).then((received) => {
        const { 'transfer-encoding': _chunked, connection: _connection, ...kept } = answer.headers;
        const texts = Object.entries(kept).map(([name, value]) => [name, String(value)]);
        const length = incoming.method === 'HEAD' ? {} : { 'content-length': String(received.length) };
        resolve({
          status: answer.statusCode ?? 0,
          headers: { ...Object.fromEntries(texts), ...length },
          body: received,
        });
      }, reject);
    });
    sending.once('error', reject);
    sending.end(body);
  });
}

const NOT_SENT_ON = new Set(['authorization', 'host', 'expect', 'connection', 'x-amz-date', 'x-amz-security-token']);
const REGION = 'us-east-1';

/** Signature version 4. The hash of the body is the one that the caller sent. */
function signed(
  { accessKeyId, secretAccessKey }: S3Server,
  method: string,
  url: URL,
  incoming: IncomingHttpHeaders,
): Record<string, string> {
  const time = new Date().toISOString().replace(/[-:]|\.\d{3}/g, '');
  const headers: Record<string, string> = { host: url.host, 'x-amz-date': time };
  for (const [name, value] of Object.entries(incoming)) if (!NOT_SENT_ON.has(name)) headers[name] = String(value);
  const names = Object.keys(headers)
    .filter((name) => name === 'host' || name === 'content-type' || name.startsWith('x-amz-'))
    .sort();
  const query = [...url.searchParams]
    .map(([name, value]) => `${escaped(name)}=${escaped(value)}`)
    .sort()
    .join('&');
  const canonical = [
    method,
    url.pathname,
    query,
    ...names.map((name) => `${name}:${headers[name]?.trim()}`),
    '',
    names.join(';'),
    headers['x-amz-content-sha256'] ?? 'UNSIGNED-PAYLOAD',
  ].join('\n');
  const scope = `${time.slice(0, 8)}/${REGION}/s3/aws4_request`;
  const key = scope.split('/').reduce((secret: string | Buffer, part) => hmac(secret, part), `AWS4${secretAccessKey}`);
  const hash = createHash('sha256').update(canonical).digest('hex');
  const signature = hmac(key, ['AWS4-HMAC-SHA256', time, scope, hash].join('\n')).toString('hex');
  headers['authorization'] =
    `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  return headers;
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function escaped(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
