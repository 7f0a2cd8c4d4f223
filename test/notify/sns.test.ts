import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { messengerOf, telling } from '#test/notify/tellings';
import { type SnsServer, startSns } from '#test/servers/sns';

/** Of what must hold nobody up, on a machine that is slow. */
const LONGEST_MILLISECONDS = 20_000;

const TOPIC = 'arn:aws:sns:eu-north-1:123456789012:backups';
const NAMES = [
  'AWS_ENDPOINT_URL_SNS',
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_REGION',
  'AWS_EC2_METADATA_DISABLED',
  'AWS_CONFIG_FILE',
  'AWS_SHARED_CREDENTIALS_FILE',
];

describe('SNS', () => {
  let server: SnsServer;
  const saved = new Map(NAMES.map((name) => [name, process.env[name]]));
  before(async () => {
    server = await startSns();
  });
  beforeEach(() => {
    Object.assign(process.env, {
      AWS_ENDPOINT_URL_SNS: server.endpoint,
      AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
      AWS_SECRET_ACCESS_KEY: 'secret-of-the-test',
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_CONFIG_FILE: '/dev/null',
      AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
    });
    delete process.env['AWS_REGION'];
    server.onPublish(() => null);
  });
  afterEach(() => {
    for (const [name, value] of saved)
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
  });
  after(() => server.stop());

  const last = () => server.published.at(-1);

  test('a topic gets subject, text, and attributes that subscriptions can filter by', async () => {
    const title = `événements: ${'x'.repeat(200)}`;
    const deliveries = await messengerOf(`{ high: [{ sns: "${TOPIC}" }] }`).tell(telling({ title }));
    assert.deepEqual(deliveries, [{ channel: 'sns backups', ok: true, error: null }]);
    assert.equal(last()?.topic, TOPIC);
    assert.match(last()?.subject ?? '', /^\[holdfast archon72\] HIGH \?v\?nements: x+\.\.\.$/);
    assert.equal(last()?.subject?.length, 100);
    assert.match(last()?.message ?? '', /événements.*\n[\s\S]*ledger ssd\/events 42 c0ffee/);
    assert.deepEqual(last()?.attributes, { plan: 'archon72', severity: 'high', what: 'opened' });
    assert.equal(last()?.group, null);
    // The region is the topic's own.
    assert.match(String(server.received.at(-1)?.headers['authorization']), /\/eu-north-1\/sns\//);
  });

  test('a FIFO topic keeps a trouble’s messages in order, each once', async () => {
    await messengerOf(`{ high: [{ sns: "${TOPIC}.fifo" }] }`).tell(telling());
    assert.match(last()?.group ?? '', /^[0-9a-f]{32}$/);
    assert.match(last()?.deduplication ?? '', /^[0-9a-f]{32}$/);
  });

  test('a phone gets what fits into a text message, and its number is not printed', async () => {
    const messenger = messengerOf('{ high: [{ sms: "+46701234567" }] }', {}, 'cloud: { region: eu-west-1 }\n');
    assert.deepEqual(await messenger.tell(telling()), [{ channel: 'sms …567', ok: true, error: null }]);
    assert.equal(last()?.phone, '+46701234567');
    assert.match(last()?.message ?? '', /^holdfast archon72: HIGH events: backup failed/);
    assert.deepEqual(last()?.attributes, { 'AWS.SNS.SMS.SMSType': 'Transactional' });
    assert.match(String(server.received.at(-1)?.headers['authorization']), /\/eu-west-1\/sns\//);
  });

  test('a number without its country is not called', async () => {
    const [delivery] = await messengerOf('{ high: [{ sms: "0701234567" }] }').tell(telling());
    assert.match(delivery?.error ?? '', /^the number cannot be called from everywhere, want one such as/);
  });

  test('a phone without a region says which variable to set', async () => {
    const [delivery] = await messengerOf('{ high: [{ sms: "+46701234567" }] }').tell(telling());
    assert.equal(delivery?.error, 'no AWS region is known: set AWS_REGION');
  });

  test('what fails for a moment is tried again, what is refused is not', async () => {
    const refuse = (status: number, code: string, times: number): void => {
      let left = times;
      server.onPublish(() => (left-- > 0 ? { status, code, message: 'User: arn:aws:iam::1:user/x is not' } : null));
    };
    refuse(503, 'ServiceUnavailable', 2);
    const patient = messengerOf(`{ high: [{ sns: "${TOPIC}" }] }`);
    assert.equal((await patient.tell(telling()))[0]?.ok, true);
    assert.deepEqual(patient.slept, [1000, 2000]);
    refuse(400, 'Throttling', 1);
    assert.equal((await messengerOf(`{ high: [{ sns: "${TOPIC}" }] }`).tell(telling()))[0]?.ok, true);
    refuse(403, 'AuthorizationError', 9);
    const refused = messengerOf(`{ high: [{ sns: "${TOPIC}" }] }`);
    assert.match(
      (await refused.tell(telling()))[0]?.error ?? '',
      /^SNS: AuthorizationErrorException: User: arn:aws:iam::1:user\/x is not; allow sns:Publish$/,
    );
    assert.deepEqual(refused.slept, []);
    refuse(404, 'NotFound', 9);
    assert.match(
      (await messengerOf(`{ high: [{ sns: "${TOPIC}" }] }`).tell(telling()))[0]?.error ?? '',
      /; is there such a topic in this region and account\?$/,
    );
  });

  test('no credentials, a server that is away and one that hangs are said, and hold nobody up', async () => {
    const began = performance.now();
    delete process.env['AWS_ACCESS_KEY_ID'];
    const one = (pace = {}) => messengerOf(`{ high: [{ sns: "${TOPIC}" }] }`, { pace }).tell(telling());
    assert.match(
      (await one())[0]?.error ?? '',
      /CredentialsProviderError: .*; give this machine a role, or AWS_ACCESS/,
    );
    process.env['AWS_ACCESS_KEY_ID'] = 'AKIDEXAMPLE';
    process.env['AWS_ENDPOINT_URL_SNS'] = 'http://127.0.0.1:9';
    assert.match((await one({ attempts: 2 }))[0]?.error ?? '', /ECONNREFUSED.*\(tried 2 times/);
    const { startHttpSink } = await import('#test/servers/http-sink');
    const sink = await startHttpSink();
    sink.onRequest(() => ({ hang: true }));
    process.env['AWS_ENDPOINT_URL_SNS'] = sink.url;
    assert.match((await one({ attempts: 2, attemptMs: 300 }))[0]?.error ?? '', /^SNS does not answer \(tried 2 times/);
    await sink.stop();
    assert.ok(performance.now() - began < LONGEST_MILLISECONDS);
  });
});
