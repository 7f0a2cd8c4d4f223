import { strict as assert } from 'node:assert';
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { after, before, beforeEach, describe, test } from 'node:test';
import { inspect } from 'node:util';
import { CreateMultipartUploadCommand, ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3';
import {
  Cancelled,
  type HoldfastError,
  KeyExists,
  StoredBytesDiffer,
  VaultMissing,
  VaultRefused,
  VaultUnreachable,
} from '#core/errors';
import { type ErrorClass, entries, inChunks, keysOf, never, rejects, sha256, toBuffer } from '#test/contracts/vault';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { errorXml, type FaultyS3, type Seen, startFaultyS3 } from '#test/servers/faulty-s3';
import { until } from '#test/until';
import { verifyCreateOnly } from '#vault/open';
import { PACE, type S3Pace } from '#vault/s3-client';
import { S3Vault, type S3VaultOptions } from '#vault/s3-vault';

const MIB = 1024 * 1024;
const LIMITS = { partBytes: 5 * MIB, partsPerVolume: 4 };
const ATTEMPTS = 4;

describe('an S3 vault whose network and server have a bad day', () => {
  let s3: S3ForTests;
  let faulty: FaultyS3;
  let vault: S3Vault;
  let waits: number[] = [];
  let count = 0;
  const told: HoldfastError[] = [];
  const pace: S3Pace = {
    ...PACE,
    attempts: ATTEMPTS,
    connectMs: 1000,
    idleMs: 1000,
    farewellMs: 3000,
    sleep: async (milliseconds) => {
      waits.push(milliseconds);
    },
    random: () => 0.5,
  };

  before(async () => {
    s3 = await s3ForTests();
    faulty = await startFaultyS3(s3.endpoint);
    vault = open();
  });
  after(async () => {
    await faulty?.stop();
    await s3?.close();
  });
  beforeEach(() => {
    faulty.onRequest(() => null);
    waits = [];
  });

  function open(settings: Partial<S3VaultOptions['settings']> = {}, options: Partial<S3VaultOptions> = {}): S3Vault {
    const { endpoint } = faulty;
    return new S3Vault({
      name: 'cloud',
      settings: { bucket: s3.bucket, prefix: '', region: null, endpoint, credentials: s3, sse: null, ...settings },
      limits: LIMITS,
      pace,
      ...options,
    });
  }

  const fresh = (): string => `backups/fault-${++count}`;
  const isPart = (seen: Seen): boolean => seen.query.has('partNumber');
  /** What the first store of a vault does, whichever test that is. */
  const isSweep = (seen: Seen): boolean => seen.method === 'GET' && seen.query.has('uploads');
  const isList = (seen: Seen): boolean => seen.query.get('list-type') === '2';

  async function fails<Failure extends HoldfastError>(promise: Promise<unknown>, kind: ErrorClass<Failure>) {
    const error = await rejects(promise, kind);
    told.push(error);
    assert.ok(error.hint, 'a hint says what to do');
    return error;
  }

  async function unfinished(): Promise<string[]> {
    const client = new S3Client({ endpoint: s3.endpoint, forcePathStyle: true, region: 'us-east-1', credentials: s3 });
    const { Uploads } = await client.send(new ListMultipartUploadsCommand({ Bucket: s3.bucket }));
    client.destroy();
    return (Uploads ?? []).map(({ Key }) => Key ?? '');
  }

  for (const [what, fault] of [
    ['500 InternalError', { answer: { status: 500, body: errorXml('InternalError') } }],
    ['503 SlowDown', { answer: { status: 503, body: errorXml('SlowDown') } }],
    ['429 without a body', { answer: { status: 429 } }],
    ['502 with a web page', { answer: { status: 502, body: '<html><body>Bad Gateway</body></html>' } }],
    ['a connection that ends', { cut: 'before' }],
    ['a server that hangs', { hang: true }],
  ] as const) {
    test(`${what} is tried again, and then the put, the listing and the artifact succeed`, async () => {
      const folder = fresh();
      const times = 'hang' in fault ? 1 : 2;
      faulty.onRequest((_, number) => (number <= times ? fault : null));
      await vault.putOnce(`${folder}/x`, Buffer.from('x'));
      assert.equal(faulty.seen.length, times + 1);
      faulty.onRequest((_, number) => (number <= times ? fault : null));
      assert.deepEqual(await keysOf(vault, `${folder}/`), [`${folder}/x`]);
      const bytes = randomBytes(11 * MIB);
      const failing = new Set<string>();
      faulty.onRequest((seen) => {
        const part = seen.query.get('partNumber');
        if (part === null || failing.has(part)) return null;
        failing.add(part);
        return fault;
      });
      const volumes = await vault.store(folder, 'big', inChunks(bytes), { signal: never() });
      assert.equal(volumes[0]?.sha256, sha256(bytes));
      assert.equal(faulty.seen.filter(isPart).length, 6);
      assert.ok((await toBuffer(await vault.open(`${folder}/big`))).equals(bytes));
    });

    test(`I14, peers 3I: ${what} for ever is a vault that cannot be reached, after ${ATTEMPTS} tries`, async () => {
      const folder = fresh();
      const hasty = open({}, { pace: { ...pace, idleMs: 100 } });
      faulty.onRequest(() => fault);
      for (const call of [
        () => hasty.putOnce(`${folder}/x`, Buffer.from('x')),
        () => keysOf(hasty, `${folder}/`),
        () => hasty.get(`${folder}/x`),
        () => hasty.lastNumber(`${folder}/`),
      ]) {
        faulty.seen.length = 0;
        const error = await fails(call(), VaultUnreachable);
        assert.equal(faulty.seen.length, ATTEMPTS);
        assert.match(error.message, new RegExp(folder));
        assert.equal(error.retryable, true);
      }
    });
  }

  test('waits double, are random below their limit, and end at a longest one', async () => {
    faulty.onRequest(() => ({ answer: { status: 503, body: errorXml('SlowDown') } }));
    await fails(
      open({}, { pace: { ...pace, attempts: 10, firstMs: 200, longestMs: 5000 } }).get('x'),
      VaultUnreachable,
    );
    assert.deepEqual(waits, [100, 200, 400, 800, 1600, 2500, 2500, 2500, 2500]);
  });

  test('403 is refused at once, and says what to allow where', async () => {
    faulty.onRequest(() => ({ answer: { status: 403, body: errorXml('AccessDenied', 'Access Denied') } }));
    const key = `${fresh()}/x`;
    for (const [call, allow] of [
      [() => vault.putOnce(key, Buffer.from('x')), /s3:PutObject/],
      [() => vault.get(key), /s3:GetObject/],
      [() => keysOf(vault, 'backups/'), /s3:ListBucket/],
      [() => vault.store('backups/y', 'y', inChunks(randomBytes(10)), { signal: never() }), /s3:ListBucket/],
    ] as const) {
      faulty.seen.length = 0;
      const error = await fails(call(), VaultRefused);
      assert.equal(faulty.seen.filter((seen) => !isSweep(seen)).length, 1);
      assert.match(error.hint ?? '', allow);
      assert.match(error.message, /403 AccessDenied/);
    }
  });

  test('keys that the store does not know are refused, and never printed', async () => {
    const wrongSecret = open({ credentials: { ...s3, secretAccessKey: 'not-the-secret-at-all' } });
    const wrongKey = open({
      credentials: { accessKeyId: 'AKIDNOSUCHKEYATALL', secretAccessKey: 'not-the-secret-at-all' },
    });
    for (const wrong of [wrongSecret, wrongKey]) {
      const error = await fails(keysOf(wrong, ''), VaultRefused);
      assert.match(error.hint ?? '', /accessKeyId/);
      assert.doesNotMatch(inspect(error, { depth: 9 }), /not-the-secret|AKIDNOSUCHKEYATALL/);
    }
  });

  test('a server that quotes the keys in its error does not get them printed', async () => {
    faulty.onRequest(() => ({
      answer: { status: 403, body: errorXml('AccessDenied', `${s3.accessKeyId} with ${s3.secretAccessKey} may not`) },
    }));
    const error = await fails(vault.get('x'), VaultRefused);
    assert.match(error.message, /\*\*\* with \*\*\* may not/);
  });

  test('clocks too far apart are said to be that', async () => {
    faulty.onRequest(() => ({
      answer: {
        status: 403,
        body: errorXml(
          'RequestTimeTooSkewed',
          'The difference between the request time and the current time is too large.',
        ),
      },
    }));
    const error = await fails(vault.get('x'), VaultRefused);
    assert.match(error.message, /clocks/);
    assert.match(error.hint ?? '', /timedatectl/);
  });

  test('a bucket of another region and a bucket that is not there are told apart', async () => {
    faulty.onRequest(() => ({ answer: { status: 301, body: errorXml('PermanentRedirect') } }));
    assert.match((await fails(vault.get('x'), VaultRefused)).hint ?? '', /region/);
    faulty.onRequest(() => null);
    await fails(open({ bucket: 'not-a-bucket-here' }).get('x'), VaultMissing);
  });

  test('a host name that does not exist is told as that, at once', async () => {
    const error = await fails(open({ endpoint: 'http://no-such-host.invalid' }).get('x'), VaultUnreachable);
    assert.match(error.message, /no-such-host|ENOTFOUND|EAI_AGAIN/);
    assert.match(error.hint ?? '', /endpoint|network/);
  });

  for (const [what, body] of [
    ['a web page', '<html><body>Please log in to the hotel network</body></html>'],
    ['nothing', ''],
    ['another document of S3', '<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>'],
    ['XML cut off', '<?xml version="1.0"?><ListBucketResult><Name>b</Name><IsTruncated>false</IsTr'],
    ['a plain word', 'OK'],
    [
      'fewer keys than it counts',
      `<ListBucketResult><Name>b</Name><KeyCount>3</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>`,
    ],
    [
      'more to come, and not where',
      `<ListBucketResult><Name>b</Name><KeyCount>0</KeyCount><IsTruncated>true</IsTruncated></ListBucketResult>`,
    ],
  ] as const) {
    test(`I14: a listing answered with ${what} is an error and never an empty vault`, async () => {
      faulty.onRequest(() => ({ answer: { status: 200, body } }));
      await fails(keysOf(vault, 'backups/'), VaultUnreachable);
      await fails(Array.fromAsync(vault.folders('backups/')), VaultUnreachable);
    });
  }

  test('a listing that is cut off half way is read again', async () => {
    const folder = fresh();
    for (let index = 0; index < 20; index++) await vault.putOnce(`${folder}/${index}`, Buffer.from('x'));
    faulty.onRequest((_, number) => (number === 1 ? { cutBody: 700 } : null));
    assert.equal((await entries(vault, `${folder}/`)).length, 20);
    assert.equal(faulty.seen.length, 2);
  });

  test('a download that drops is taken up where it broke, and is equal', async () => {
    const folder = fresh();
    const bytes = randomBytes(12 * MIB);
    await vault.store(folder, 'x', inChunks(bytes), { signal: never() });
    for (const fault of [{ cutBody: 4 * MIB }, { hangBody: 4 * MIB }]) {
      faulty.onRequest((_, number) => (number <= 2 ? fault : null));
      assert.ok((await toBuffer(await vault.open(`${folder}/x`))).equals(bytes));
      assert.deepEqual(
        faulty.seen.map(({ headers }) => headers['range']),
        [undefined, `bytes=${4 * MIB}-`, `bytes=${8 * MIB}-`],
      );
    }
  });

  test('I2: a download that never gets to its end is an error, and not a shorter artifact', async () => {
    const folder = fresh();
    await vault.store(folder, 'x', inChunks(randomBytes(6 * MIB)), { signal: never() });
    faulty.onRequest((seen) => (seen.headers['range'] === undefined ? { cutBody: 3 * MIB } : { cutBody: 0 }));
    await fails(toBuffer(await vault.open(`${folder}/x`)), VaultUnreachable);
    assert.equal(faulty.seen.length, ATTEMPTS);
  });

  test('an object that is exchanged while it is read is noticed', async () => {
    const folder = fresh();
    await vault.putAgain(`${folder}/x`, randomBytes(6 * MIB));
    faulty.onRequest((_, number) => (number === 1 ? { cutBody: MIB } : null));
    const stream = await vault.open(`${folder}/x`);
    await open({ endpoint: s3.endpoint }).putAgain(`${folder}/x`, randomBytes(6 * MIB));
    await fails(toBuffer(stream), StoredBytesDiffer);
  });

  test("a put whose answer is lost is not taken for somebody else's", async () => {
    const key = `${fresh()}/manifest.json`;
    faulty.onRequest((_, number) => (number === 1 ? { cut: 'after' } : null));
    await vault.putOnce(key, Buffer.from('mine'));
    assert.equal(Buffer.from(await vault.get(key)).toString(), 'mine');
  });

  test('I12: a put whose first try was lost still loses to somebody who was quicker', async () => {
    const key = `${fresh()}/0000000001.json`;
    await open({ endpoint: s3.endpoint }).putOnce(key, Buffer.from('theirs'));
    faulty.onRequest((_, number) => (number === 1 ? { cut: 'before' } : null));
    const error = await fails(vault.putOnce(key, Buffer.from('mine')), KeyExists);
    assert.match(error.message, /not written by this call/);
  });

  test('a completing call whose answer is lost has still completed', async () => {
    const folder = fresh();
    const bytes = randomBytes(6 * MIB);
    faulty.onRequest((seen) =>
      seen.query.has('uploadId') &&
      seen.method === 'POST' &&
      faulty.seen.filter((other) => other.method === 'POST').length === 2
        ? { cut: 'after' }
        : null,
    );
    const volumes = await vault.store(folder, 'x', inChunks(bytes), { signal: never() });
    assert.equal(volumes[0]?.sha256, sha256(bytes));
    assert.equal(faulty.seen.filter(({ method }) => method === 'POST').length, 3);
    assert.deepEqual(await unfinished(), []);
  });

  test("I2: bytes hurt on their way are refused by the server's own checksum, and sent again", async () => {
    const folder = fresh();
    const bytes = randomBytes(6 * MIB);
    let hurt = false;
    faulty.onRequest((seen) => {
      if (hurt || seen.query.get('partNumber') !== '1') return null;
      hurt = true;
      return { flipRequest: true };
    });
    await vault.store(folder, 'x', inChunks(bytes), { signal: never() });
    assert.ok(hurt);
    assert.equal(faulty.seen.filter(isPart).length, 3);
    assert.ok((await toBuffer(await vault.open(`${folder}/x`))).equals(bytes));
    faulty.onRequest((_, number) => (number === 1 ? { flipRequest: true } : null));
    await vault.putOnce(`${folder}/small`, Buffer.from('small'));
    assert.equal(Buffer.from(await vault.get(`${folder}/small`)).toString(), 'small');
  });

  test('I2: where the server tells no checksum, what it stored is read back and compared', async () => {
    const folder = fresh();
    const withoutEtag = {
      rewrite: ({ headers, body }: { headers: Record<string, unknown>; body: Buffer }) => {
        delete headers['etag'];
        return Buffer.from(body.toString('latin1').replace(/<ETag>.*?<\/ETag>/g, '<ETag>none</ETag>'), 'latin1');
      },
    };
    // Parts need theirs: the server asks for it when they are put together.
    const hidesChecksum = (seen: Seen): boolean => isList(seen) || (seen.method === 'PUT' && !isPart(seen));
    for (const size of [1000, 6 * MIB]) {
      const bytes = randomBytes(size);
      faulty.onRequest((seen) => (hidesChecksum(seen) ? withoutEtag : null));
      await vault.store(folder, `x${size}`, inChunks(bytes), { signal: never() });
      assert.equal(faulty.seen.filter((seen) => seen.method === 'GET' && !isList(seen) && !isSweep(seen)).length, 1);
      const wrongByte = {
        rewrite: ({ body }: { body: Buffer }) => {
          body[10] = (body[10] as number) ^ 1;
          return body;
        },
      };
      faulty.onRequest((seen) => (hidesChecksum(seen) ? withoutEtag : seen.method === 'GET' ? wrongByte : null));
      await fails(vault.store(folder, `y${size}`, inChunks(bytes), { signal: never() }), StoredBytesDiffer);
    }
  });

  test('I2: a store that lost a part of what it was sent is caught by size', async () => {
    const folder = fresh();
    const bytes = randomBytes(6 * MIB);
    faulty.onRequest((seen) =>
      isList(seen)
        ? {
            rewrite: ({ body }) =>
              Buffer.from(body.toString().replace(`<Size>${bytes.length}</Size>`, '<Size>5242880</Size>')),
          }
        : null,
    );
    const error = await fails(vault.store(folder, 'x', inChunks(bytes), { signal: never() }), StoredBytesDiffer);
    assert.match(error.message, /5242880 bytes, sent were 6291456/);
  });

  test('an upload that fails is aborted: nothing is left, also no parts, and the source is let go', async () => {
    const folder = fresh();
    faulty.onRequest((seen) =>
      seen.query.get('partNumber') === '2' ? { answer: { status: 500, body: errorXml('InternalError') } } : null,
    );
    const source = Readable.from(endless(), { objectMode: false });
    await fails(vault.store(folder, 'x', source, { signal: never() }), VaultUnreachable);
    assert.ok(source.destroyed);
    assert.deepEqual(await unfinished(), []);
    assert.deepEqual(await keysOf(vault, folder), []);
  });

  test('an upload begun twice because an answer was lost leaves nothing, whether it ends well or not', async () => {
    const folder = fresh();
    const begins = (seen: Seen): boolean => seen.method === 'POST' && seen.query.has('uploads');
    const bytes = randomBytes(6 * MIB);
    let lost = 0;
    faulty.onRequest((seen) => (begins(seen) && ++lost === 1 ? { cut: 'after' } : null));
    await vault.store(folder, 'x', inChunks(bytes), { signal: never() });
    assert.deepEqual(await unfinished(), []);
    faulty.onRequest((seen) => (begins(seen) ? { cut: 'after' } : null));
    await fails(vault.store(folder, 'y', inChunks(bytes), { signal: never() }), VaultUnreachable);
    assert.equal(faulty.seen.filter(begins).length, ATTEMPTS);
    assert.deepEqual(await unfinished(), []);
  });

  test('an upload begun twice, by a writer who may not list uploads as in AWS, is stored all the same', async () => {
    const folder = fresh();
    const bytes = randomBytes(6 * MIB);
    let lost = 0;
    faulty.onRequest((seen) => {
      if (!seen.query.has('uploads')) return null;
      if (seen.method === 'GET') return { answer: { status: 403, body: errorXml('AccessDenied') } };
      return ++lost === 1 ? { cut: 'after' } : null;
    });
    // A bucket of its own: the twin stays, for its lifecycle to end.
    const apart = open({ bucket: await s3.another() });
    const [volume] = await apart.store(folder, 'x', inChunks(bytes), { signal: never() });
    assert.equal(lost, 2);
    assert.equal(volume?.bytes, bytes.length);
  });

  test('I1: what a killed upload left is ended by a later run, and what is being uploaded is not', async () => {
    const client = new S3Client({ endpoint: s3.endpoint, forcePathStyle: true, region: 'us-east-1', credentials: s3 });
    const [bucket, key] = [await s3.another(), 'backups/a/daily/x/dump'];
    await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key: key }));
    const left = async (): Promise<number> =>
      (await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }))).Uploads?.length ?? 0;
    await new Promise((resolve) => setTimeout(resolve, 2100));
    const store = (options: Partial<S3VaultOptions>, name: string) =>
      open({ bucket }, options).store('backups/b', name, inChunks(randomBytes(10)), { signal: never() });
    await store({}, 'one');
    assert.equal(await left(), 1);
    // Where uploads may not be listed, the backup is made all the same.
    faulty.onRequest((seen) =>
      seen.query.has('uploads') ? { answer: { status: 403, body: errorXml('AccessDenied') } } : null,
    );
    await store({ uploadLeftAfterMs: 1000 }, 'two');
    assert.equal(await left(), 1);
    faulty.onRequest(() => null);
    await store({ uploadLeftAfterMs: 1000 }, 'three');
    assert.equal(await left(), 0);
    client.destroy();
  });

  test('a bucket of AWS without a region says what to set', async () => {
    const { AWS_REGION: region, AWS_DEFAULT_REGION: standard } = process.env;
    assert.ok(region === undefined && standard === undefined, 'the suite runs without AWS settings');
    const error = await fails(open({ endpoint: null }).get('x'), VaultRefused);
    assert.match(error.message, /needs a region/);
    assert.match(error.hint ?? '', /AWS_REGION/);
  });

  test('an upload whose abort fails too says that parts were left', async () => {
    faulty.onRequest((seen) =>
      seen.query.has('uploadId') ? { answer: { status: 403, body: errorXml('AccessDenied') } } : null,
    );
    const error = await fails(
      vault.store(fresh(), 'x', inChunks(randomBytes(6 * MIB)), { signal: never() }),
      VaultRefused,
    );
    assert.match(error.message, /could not be aborted/);
  });

  test('a run that is told to stop does not wait for a server that hangs', async () => {
    const stop = new AbortController();
    faulty.onRequest((seen) => {
      if (!seen.query.has('uploadId')) return null;
      stop.abort();
      return { hang: true };
    });
    const slow = open({}, { pace: { ...pace, idleMs: 60_000 } });
    const storing = slow.store(fresh(), 'x', inChunks(randomBytes(16 * MIB)), { signal: stop.signal });
    const started = performance.now();
    const error = await rejects(storing, Cancelled);
    assert.match(error.message, /could not be aborted/);
    assert.ok(performance.now() - started < 30_000);
  });

  test('Ctrl-C ends the waiting of records and listings too, and leaves last words one attempt each', async () => {
    const stop = new AbortController();
    const stopped = open(
      {},
      { stop: stop.signal, pace: { ...pace, sleep: PACE.sleep, firstMs: 60_000, longestMs: 60_000 } },
    );
    let asked = 0;
    faulty.onRequest(() => {
      asked++;
      return { answer: { status: 503, body: errorXml('SlowDown') } };
    });
    const began = performance.now();
    const reading = rejects(stopped.get('ledger/x/1.json'), Cancelled);
    const listing = rejects(keysOf(stopped, 'backups/'), Cancelled);
    await until(() => asked >= 2, 'both to have been refused once');
    stop.abort(new Error('got SIGINT'));
    await Promise.all([reading, listing]);
    asked = 0;
    await fails(stopped.putOnce(`${fresh()}/x`, Buffer.from('x')), VaultUnreachable);
    assert.equal(asked, 1);
    faulty.onRequest(() => null);
    await stopped.putOnce(`${fresh()}/x`, Buffer.from('x'));
    assert.ok(performance.now() - began < 30_000);
  });

  test('a store that overwrites is found out by check', async () => {
    faulty.onRequest((seen) => (seen.method === 'PUT' ? { answer: { status: 200, headers: { etag: '"x"' } } } : null));
    const error = await fails(verifyCreateOnly(vault), VaultRefused);
    assert.match(error.message, /If-None-Match/);
    assert.equal(faulty.seen.length, 2);
    assert.equal(faulty.seen[0]?.headers['if-none-match'], '*');
  });

  test('server-side encryption is asked for at every way in', async () => {
    for (const [sse, header] of [
      ['AES256', 'AES256'],
      ['kms', 'aws:kms'],
    ] as const) {
      const asked = (): unknown =>
        faulty.seen.find(({ method }) => method === 'PUT' || method === 'POST')?.headers[
          'x-amz-server-side-encryption'
        ];
      const sealed = open({ sse });
      // The gateway knows no keys: it refuses, which is told and not passed over.
      faulty.onRequest(() => null);
      await fails(sealed.putOnce(`${fresh()}/x`, Buffer.from('x')), VaultRefused);
      assert.equal(asked(), header);
      faulty.onRequest(() => null);
      await fails(sealed.store(fresh(), 'x', inChunks(randomBytes(6 * MIB)), { signal: never() }), VaultRefused);
      assert.equal(asked(), header);
    }
  });

  test('the last number of a long row is found in few requests, whatever the row', async () => {
    const rows = [
      { last: 10, has: () => true },
      { last: 999, has: () => true },
      { last: 1000, has: () => true },
      { last: 1001, has: () => true },
      { last: 1_000_000, has: () => true },
      { last: 123_456_789, has: (number: number) => number % 3 !== 0 || number === 123_456_789 },
      { last: 9_000_000, has: (number: number) => number < 1500 || number === 9_000_000 },
      { last: 9_999_999_999, has: (number: number) => number < 5000 || number === 9_999_999_999 },
    ];
    for (const { last, has } of rows) {
      faulty.onRequest(({ query }) => {
        const from = /^ledger\/x\/(\d{10})/.exec(query.get('start-after') ?? '');
        const size = Number(query.get('max-keys'));
        const found: number[] = [];
        // Gaps are jumped over: only what lies before 10,000 from here, or the last one.
        for (let number = from ? Number(from[1]) + 1 : 1; number <= last && found.length <= size; number++) {
          if (has(number)) found.push(number);
          else if (number % 10_000 === 9999 && !has(number + 1) && !has(number + 2)) number = last - 1;
        }
        const shown = found.slice(0, size).map((number) => `ledger/x/${String(number).padStart(10, '0')}.json`);
        const contents = shown.map((key) => `<Contents><Key>${key}</Key><Size>1</Size><ETag>x</ETag></Contents>`);
        return {
          answer: {
            status: 200,
            body: `<ListBucketResult><Name>b</Name><KeyCount>${shown.length}</KeyCount><IsTruncated>${found.length > size}</IsTruncated><NextContinuationToken>t</NextContinuationToken>${contents.join('')}</ListBucketResult>`,
          },
        };
      });
      assert.equal(await vault.lastNumber('ledger/x/'), last);
      assert.ok(faulty.seen.length <= 40, `${faulty.seen.length} requests for ${last}`);
    }
  });

  test('I7: in all that went wrong above, no key was printed', () => {
    assert.ok(told.length > 40);
    for (const error of told) {
      const text = inspect(error, { depth: 9, showHidden: true });
      assert.ok(!text.includes(s3.secretAccessKey) && !text.includes(s3.accessKeyId), error.message);
    }
  });
});

async function* endless(): AsyncGenerator<Buffer> {
  for (;;) {
    yield Buffer.alloc(256 * 1024);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
