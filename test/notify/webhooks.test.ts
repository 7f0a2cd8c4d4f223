import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { HASH, messengerOf, telling } from '#test/notify/tellings';
import { type HttpSink, type Received, startHttpSink } from '#test/servers/http-sink';

/** Of what must hold nobody up, on a machine that is slow. */
const LONGEST_MILLISECONDS = 20_000;

const TOKEN = 'T0AbCdEfGh/B0IjKlMnOp/qRsTuVwXyZ0123456789';

describe('webhooks', () => {
  let sink: HttpSink;
  before(async () => {
    sink = await startHttpSink();
  });
  beforeEach(() => sink.onRequest(() => null));
  after(() => sink.stop());

  const address = (): string => `${sink.url}/services/${TOKEN}?key=abc123`;
  const host = (): string => sink.url.slice('http://'.length);
  const one = (kind = 'webhook', parts = {}) =>
    messengerOf(`{ high: [{ ${kind}: "\${HOOK}" }] }`, { variables: { HOOK: address() }, ...parts });

  test('a webhook gets the telling as JSON, as docs/alerts.md describes it', async () => {
    const deliveries = await one().tell(telling());
    assert.deepEqual(deliveries, [{ channel: 'webhook ${HOOK}', ok: true, error: null }]);
    const request = sink.received[0] as Received;
    assert.equal(request.method, 'POST');
    assert.equal(request.path, `/services/${TOKEN}?key=abc123`);
    assert.equal(request.headers['content-type'], 'application/json');
    const { subject, text, ...body } = request.json() as { subject: string; text: string };
    assert.deepEqual(body, {
      format: 1,
      what: 'opened',
      plan: 'archon72',
      key: 'failed',
      kind: 'failed',
      severity: 'high',
      source: 'events',
      title: 'events: backup failed 3 times in a row',
      happened: telling().happened,
      since: '2026-11-21T02:00:07.412Z',
      at: '2026-11-21T07:12:30.000Z',
      told: 1,
      safe: telling().safe,
      next: telling().next,
      ledgerHead: { vault: 'ssd', source: 'events', seq: 42, sha256: HASH },
      host: 'db1',
    });
    assert.equal(subject, '[holdfast archon72] HIGH events: backup failed 3 times in a row');
    assert.match(text, /^HIGH events: backup failed/);
  });

  test('Slack gets blocks within its limits, and nothing in them wakes a channel', async () => {
    const long = telling({ title: 'table <!channel> & co', happened: 'x'.repeat(5000), safe: ['a ``` b', '<!here>'] });
    const [delivery] = await one('slack').tell(long);
    assert.equal(delivery?.ok, true);
    const body = sink.received[0]?.json() as { text: string; blocks: { type: string; text?: { text: string } }[] };
    assert.equal(body.text, '[holdfast archon72] HIGH table &lt;!channel&gt; &amp; co');
    assert.deepEqual(
      body.blocks.map(({ type }) => type),
      ['header', 'section', 'section', 'section', 'section', 'context'],
    );
    for (const { text } of body.blocks) assert.ok((text?.text.length ?? 0) <= 3000);
    assert.match(body.blocks[3]?.text?.text ?? '', /^\*What is still safe\*\n```a ''' b\n&lt;!here&gt;```$/);
    assert.doesNotMatch(JSON.stringify(body.blocks.slice(1)), /<!/);
  });

  test('a server that fails is asked again, later each time, with the same Idempotency-Key', async () => {
    sink.onRequest((_received, number) => (number < 4 ? { status: [500, 502, 503][number - 1] as number } : null));
    const messenger = one();
    const [delivery] = await messenger.tell(telling());
    assert.equal(delivery?.ok, true);
    assert.deepEqual(messenger.slept, [1000, 2000, 4000]);
    const keys = new Set(sink.received.map(({ headers }) => headers['idempotency-key']));
    assert.equal(keys.size, 1);
    assert.match(String([...keys][0]), /^[0-9a-f]{32}$/);
  });

  test('waits are spread by chance, so that many machines do not come back at once', async () => {
    sink.onRequest(() => ({ status: 500 }));
    const messenger = one('webhook', { pace: { random: () => 0 } });
    await messenger.tell(telling());
    assert.deepEqual(messenger.slept, [500, 1000, 2000, 4000]);
  });

  test('Retry-After is honoured, and one that is too long ends it at once', async () => {
    sink.onRequest((_received, number) => (number === 1 ? { status: 429, headers: { 'retry-after': '7' } } : null));
    const patient = one();
    assert.equal((await patient.tell(telling()))[0]?.ok, true);
    assert.deepEqual(patient.slept, [7000]);
    sink.onRequest(() => ({ status: 429, headers: { 'retry-after': '3600' } }));
    const given = one();
    assert.deepEqual(await given.tell(telling()), [
      { channel: 'webhook ${HOOK}', ok: false, error: `${host()} answered 429: ok` },
    ]);
    assert.deepEqual(given.slept, []);
    assert.equal(sink.received.length, 1);
    const date = new Date(Date.now() + 9000).toUTCString();
    sink.onRequest((_received, number) => (number === 1 ? { status: 503, headers: { 'retry-after': date } } : null));
    const dated = one();
    assert.equal((await dated.tell(telling()))[0]?.ok, true);
    assert.ok((dated.slept[0] ?? 0) > 5000 && (dated.slept[0] ?? 0) <= 9000, String(dated.slept));
  });

  test('a server that never recovers is given up within half a minute', async () => {
    sink.onRequest(() => ({ status: 503, body: '<html><h1>503</h1>Service\nUnavailable</html>' }));
    const messenger = one();
    const [delivery] = await messenger.tell(telling());
    assert.equal(delivery?.error, `${host()} answered 503: 503 Service Unavailable (tried 5 times in 15 s)`);
    assert.ok(messenger.slept.reduce((sum, one) => sum + one, 0) <= 30_000);
  });

  test('what is refused for good is not asked again', async () => {
    for (const status of [400, 401, 403, 404, 410]) {
      sink.onRequest(() => ({ status, body: 'no_service' }));
      const [delivery] = await one('slack').tell(telling());
      assert.deepEqual(delivery, {
        channel: 'slack ${HOOK}',
        ok: false,
        error: `${host()} answered ${status}: no_service`,
      });
      assert.equal(sink.received.length, 1);
    }
  });

  test('a hang, a reset and an answer without an end hold nobody up', async () => {
    const hurried = { attemptMs: 300, attempts: 2 };
    const pace = { attempts: 2 };
    sink.onRequest(() => ({ hang: true }));
    const began = performance.now();
    assert.equal(
      (await one('webhook', { pace: hurried }).tell(telling()))[0]?.error,
      `${host()} does not answer (tried 2 times in 1 s)`,
    );
    sink.onRequest(() => ({ reset: true }));
    assert.equal(
      (await one('webhook', { pace }).tell(telling()))[0]?.error,
      `${host()} broke the connection off (tried 2 times in 1 s)`,
    );
    sink.onRequest(() => ({ endless: true }));
    assert.equal((await one('webhook', { pace }).tell(telling()))[0]?.ok, true);
    sink.onRequest(() => ({ status: 400, endless: true }));
    assert.equal((await one('webhook', { pace }).tell(telling()))[0]?.error, `${host()} answered 400`);
    assert.ok(performance.now() - began < LONGEST_MILLISECONDS);
  });

  test('nobody listening, and a host without an address, are said in words', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    await new Promise((resolve) => server.close(resolve));
    const pace = { attempts: 1 };
    const closed = messengerOf(`{ high: [{ webhook: "http://127.0.0.1:${port}/x" }] }`, { pace });
    assert.deepEqual(await closed.tell(telling()), [
      { channel: `webhook 127.0.0.1:${port}`, ok: false, error: `127.0.0.1:${port} refuses the connection` },
    ]);
    // A label that is too long is refused by the resolver itself, also where there is no network.
    const name = `${'a'.repeat(64)}.invalid`;
    const nowhere = messengerOf(`{ high: [{ webhook: "https://${name}/x" }] }`, { pace });
    assert.equal((await nowhere.tell(telling()))[0]?.error, `${name} has no address: its name does not resolve`);
    const forbidden = messengerOf(`{ high: [{ webhook: "http://127.0.0.1:6000/${TOKEN}" }] }`);
    assert.equal((await forbidden.tell(telling()))[0]?.error, '127.0.0.1:6000 cannot be asked: bad port');
  });

  test('a redirect is not followed: the message and the secret stay with the host the plan names', async () => {
    sink.onRequest(({ path }) =>
      path === '/elsewhere' ? null : { status: 302, headers: { location: `/elsewhere?${TOKEN}` } },
    );
    const [delivery] = await one().tell(telling());
    assert.equal(
      delivery?.error,
      `${host()} answered 302: it has moved to ${sink.url}; redirects are not followed, put its new address into the plan`,
    );
    assert.equal(sink.received.length, 1);
  });

  test('I7: no part of a webhook’s address is told, though the server echoes it in every shape', async () => {
    const secrets = ['abc123', ...TOKEN.split('/')];
    const href = address();
    const echoes = [
      `no such hook: ${href}`,
      JSON.stringify({ url: href }).replaceAll('/', '\\/'),
      `path ${new URL(href).pathname}, query ${new URL(href).search}`,
      encodeURIComponent(href),
      `${'y '.repeat(100)}${href}`,
      `${'a'.repeat(2040)}${href}`,
      ...TOKEN.split('/').map((part) => `token ${part} is not known`),
    ];
    for (const body of echoes)
      for (const status of [400, 500]) {
        sink.onRequest(() => ({ status, body }));
        const deliveries = await messengerOf(
          `{ high: [{ webhook: "${href}" }, { slack: "${href}" }], heartbeat: "${href}" }`,
          {
            pace: { attempts: 1 },
          },
        ).tell(telling());
        assert.equal(deliveries.length, 2);
        for (const delivery of deliveries)
          for (const secret of secrets)
            assert.ok(!JSON.stringify(delivery).includes(secret), `${secret} in ${JSON.stringify(delivery)}`);
      }
  });

  test('I7: an address that is none is not printed', async () => {
    for (const HOOK of [`hooks.example.com/${TOKEN}`, `ftp://hooks.example.com/${TOKEN}`, `https:///${TOKEN}/ x`]) {
      const messenger = messengerOf('{ high: [{ slack: "${HOOK}" }] }', { variables: { HOOK }, pace: { attempts: 1 } });
      const [delivery] = await messenger.tell(telling());
      assert.equal(delivery?.ok, false);
      assert.ok(!JSON.stringify(delivery).includes('qRsTuV'), JSON.stringify(delivery));
    }
    const missing = await messengerOf('{ high: [{ slack: "${HOOK}" }] }').tell(telling());
    assert.deepEqual(missing, [
      { channel: 'slack ${HOOK}', ok: false, error: 'the plan needs ${HOOK}, and that is not set here' },
    ]);
  });

  test('I7: a user and a password in an address go as a header, and are not told', async () => {
    const href = `${sink.url.replace('http://', 'http://ann:p%40ssw0rd@')}/hook`;
    const messenger = messengerOf(`{ high: [{ webhook: "${href}" }] }`);
    assert.deepEqual(await messenger.tell(telling()), [{ channel: `webhook ${host()}`, ok: true, error: null }]);
    const basic = Buffer.from('ann:p@ssw0rd').toString('base64');
    assert.equal(sink.received[0]?.headers['authorization'], `Basic ${basic}`);
    sink.onRequest(({ headers }) => ({ status: 401, body: `${headers['authorization']} p@ssw0rd p%40ssw0rd` }));
    assert.equal((await messenger.tell(telling()))[0]?.error, `${host()} answered 401: Basic *** *** ***`);
  });

  test('the heartbeat is one GET, without a word about how things stand', async () => {
    const messenger = messengerOf('{ heartbeat: "${HOOK}" }', { variables: { HOOK: address() } });
    assert.deepEqual(await messenger.heartbeat(), { channel: 'heartbeat ${HOOK}', ok: true, error: null });
    assert.deepEqual(
      sink.received.map(({ method, body }) => [method, body]),
      [['GET', '']],
    );
    sink.onRequest(() => ({ status: 404, body: 'not found' }));
    assert.deepEqual(await messenger.heartbeat(), {
      channel: 'heartbeat ${HOOK}',
      ok: false,
      error: `${host()} answered 404: not found`,
    });
    assert.equal(await messengerOf('{ high: [] }').heartbeat(), null);
  });

  test('a run that is stopped sends nothing more, and says so', async () => {
    const messenger = one();
    sink.onRequest(() => {
      messenger.abort();
      return { hang: true };
    });
    const told = messenger.tell(telling());
    assert.equal((await told)[0]?.error, 'stopped while it was sent');
    assert.equal((await messenger.tell(telling()))[0]?.error, 'stopped before it was sent');
  });
});
