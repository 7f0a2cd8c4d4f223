import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, afterEach, before, describe, test } from 'node:test';
import { CloudWatchClient, PutMetricDataCommand } from '@aws-sdk/client-cloudwatch';
import { DescribeSecretCommand, GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { PublishCommand, SNSClient } from '@aws-sdk/client-sns';
import { mockClient } from 'aws-sdk-client-mock';
import type { Telling } from '#core/alert';
import { CloudFailed } from '#core/errors';
import type { Metric } from '#core/metrics';
import { loadPlan } from '#core/plan-load';
import { tellingOf } from '#core/topic-message';
import { topicMessenger } from '#host/alert-topics';
import { CloudWatchMetrics } from '#host/cloudwatch-metrics';
import { LambdaInvoker } from '#host/lambda-invoker';
import { PlanSecrets } from '#host/secrets-manager-names';
import { CLOUD_PLAN } from '#test/cloud/cloud-plan';
import { awsError } from '#test/host/aws-shapes';

const region = { region: 'eu-north-1' };

describe('secrets of the plan', () => {
  const client = mockClient(SecretsManagerClient);
  const secrets = new PlanSecrets('shop', new SecretsManagerClient(region));
  afterEach(() => client.reset());

  test('one that is absent and one that was never given a value are both without', async () => {
    client
      .on(DescribeSecretCommand, { SecretId: 'holdfast/shop/DATABASE_URL' })
      .resolves({ Name: 'holdfast/shop/DATABASE_URL', VersionIdsToStages: { '8f1c': ['AWSCURRENT'] } })
      .on(DescribeSecretCommand, { SecretId: 'holdfast/shop/REDIS_URL' })
      .resolves({ Name: 'holdfast/shop/REDIS_URL' })
      .on(DescribeSecretCommand, { SecretId: 'holdfast/shop/GONE' })
      .rejects(awsError('ResourceNotFoundException', 'Secrets Manager can’t find the specified secret.'));
    assert.deepEqual(await secrets.withoutValue(['DATABASE_URL', 'REDIS_URL', 'GONE']), ['REDIS_URL', 'GONE']);
  });

  test('I14: one that may not be looked at is an error, and not without a value', async () => {
    client.on(DescribeSecretCommand).rejects(awsError('AccessDeniedException', 'not authorized'));
    await assert.rejects(secrets.withoutValue(['DATABASE_URL']), CloudFailed);
  });

  test('values by variable, those without left out', async () => {
    client
      .on(GetSecretValueCommand, { SecretId: 'holdfast/shop/SLACK_WEBHOOK' })
      .resolves({ SecretString: 'https://hooks.slack.example/T0/B0/xyz' })
      .on(GetSecretValueCommand, { SecretId: 'holdfast/shop/EMPTY' })
      .rejects(
        awsError('ResourceNotFoundException', 'can’t find the specified secret value for staging label: AWSCURRENT'),
      );
    assert.deepEqual(
      [...(await secrets.values(['SLACK_WEBHOOK', 'EMPTY']))],
      [['SLACK_WEBHOOK', 'https://hooks.slack.example/T0/B0/xyz']],
    );
  });
});

describe('metrics', () => {
  const client = mockClient(CloudWatchClient);
  const metrics = new CloudWatchMetrics('shop', new CloudWatchClient(region));
  afterEach(() => client.reset());

  test('in batches, under the plan’s name', async () => {
    client.on(PutMetricDataCommand).resolves({});
    const many = Array.from(
      { length: 1001 },
      (): Metric => ({ metric: 'runFailed', value: 1, dimensions: { source: 'events' } }),
    );
    await metrics.write(many);
    const calls = client.commandCalls(PutMetricDataCommand).map(({ args }) => args[0].input);
    assert.deepEqual(
      calls.map(({ MetricData }) => MetricData?.length),
      [500, 500, 1],
    );
    assert.equal(calls[0]?.Namespace, 'Holdfast');
    assert.deepEqual(calls[0]?.MetricData?.[0], {
      MetricName: 'RunFailed',
      Unit: 'Count',
      Value: 1,
      Dimensions: [
        { Name: 'plan', Value: 'shop' },
        { Name: 'source', Value: 'events' },
      ],
    });
  });

  test('what CloudWatch does not take is an error, as a missing figure rings', async () => {
    client.on(PutMetricDataCommand).rejects(awsError('ThrottlingException', 'Rate exceeded'));
    await assert.rejects(metrics.write([{ metric: 'watched', value: 1, dimensions: {} }]), CloudFailed);
    await metrics.write([]);
  });
});

describe('invoking a function', () => {
  const seen: { method: string; url: string; headers: IncomingMessage['headers']; body: string }[] = [];
  let answers: number[] = [];
  let server: Server;
  let environment: Record<string, string>;

  before(async () => {
    server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const { method = '', url = '', headers } = request;
      seen.push({ method, url, headers, body: Buffer.concat(chunks).toString() });
      const status = answers.shift() ?? 202;
      if (status !== 202) response.setHeader('x-amzn-errortype', 'TooManyRequestsException');
      response.writeHead(status).end(status === 202 ? '' : '{"Reason":"ConcurrentInvocationLimitExceeded"}');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    environment = {
      AWS_REGION: 'eu-north-1',
      AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
      AWS_SECRET_ACCESS_KEY: 'secret',
      AWS_SESSION_TOKEN: 'token',
      AWS_ENDPOINT_URL_LAMBDA: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    };
  });
  after(() => new Promise((resolve) => server.close(resolve)));
  afterEach(() => {
    seen.length = 0;
    answers = [];
  });
  const invoker = (): LambdaInvoker => new LambdaInvoker('shop', environment, async () => undefined);

  test('asynchronously, signed, with the payload', async () => {
    await invoker().start({ action: 'backup', source: 'events' });
    const [call] = seen;
    assert.deepEqual([call?.method, call?.url], ['POST', '/2015-03-31/functions/shop-start-job/invocations']);
    assert.equal(call?.headers['x-amz-invocation-type'], 'Event');
    assert.match(
      String(call?.headers['authorization']),
      /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d{8}\/eu-north-1\/lambda\/aws4_request, SignedHeaders=.*host.*, Signature=[0-9a-f]{64}$/,
    );
    assert.equal(call?.headers['x-amz-security-token'], 'token');
    assert.deepEqual(JSON.parse(call?.body ?? ''), { action: 'backup', source: 'events' });
    await invoker().retain({ source: null, dryRun: true });
    assert.equal(seen[1]?.url, '/2015-03-31/functions/shop-retain/invocations');
  });

  test('throttled and broken answers are tried again, a refusal is not', async () => {
    answers = [429, 500];
    await invoker().start({ action: 'backup', source: 'events' });
    assert.equal(seen.length, 3);
    seen.length = 0;
    answers = [403];
    await assert.rejects(invoker().start({ action: 'backup', source: 'events' }), (error: unknown) => {
      assert.ok(error instanceof CloudFailed);
      assert.match(error.message, /could not invoke shop-start-job: 403/);
      assert.ok(!error.message.includes('secret'));
      return true;
    });
    assert.equal(seen.length, 1);
    seen.length = 0;
    answers = [500, 500, 500, 500];
    await assert.rejects(invoker().start({ action: 'backup', source: 'events' }), CloudFailed);
    assert.equal(seen.length, 4);
  });

  test('nobody there: an error that says so', async () => {
    const gone = createServer();
    await new Promise<void>((resolve) => gone.listen(0, '127.0.0.1', resolve));
    const { port } = gone.address() as AddressInfo;
    await new Promise((resolve) => gone.close(resolve));
    const there = { ...environment, AWS_ENDPOINT_URL_LAMBDA: `http://127.0.0.1:${port}` };
    const nobody = new LambdaInvoker('shop', there, async () => undefined);
    await assert.rejects(
      nobody.start({ action: 'backup', source: 'events' }),
      /could not invoke shop-start-job: .*ECONNREFUSED/,
    );
  });
});

describe('topics', () => {
  const client = mockClient(SNSClient);
  afterEach(() => client.reset());
  const arn = (severity: string): string => `arn:aws:sns:eu-north-1:111122223333:shop-${severity}`;
  const topics = { critical: arn('critical'), high: arn('high'), medium: arn('medium') };
  const { plan } = loadPlan(CLOUD_PLAN, 'holdfast.yaml');
  const telling: Telling = {
    what: 'opened',
    plan: 'shop',
    key: 'failed',
    kind: 'failed',
    severity: 'high',
    source: 'events',
    title: 'events: backup failed: the task was killed – 137',
    happened: 'The run ended without a backup.',
    since: new Date('2026-11-21T02:00:00Z'),
    at: new Date('2026-11-21T02:05:00Z'),
    safe: [],
    next: ['holdfast ledger events'],
    told: 1,
    ledgerHead: { vault: 'cloud', source: 'events', seq: 7, sha256: 'a'.repeat(64) },
    host: 'lambda:shop-watch',
  };
  const messenger = (redact = (text: string) => text) =>
    topicMessenger({ topics, plan, redact, heartbeat: async () => null, client: new SNSClient(region) });

  test('each protocol gets what it can read, and send-alert the telling itself', async () => {
    client.on(PublishCommand).resolves({ MessageId: 'm' });
    // The plan names channels for `critical` only: what is worth telling is told there.
    assert.deepEqual(await messenger().tell(telling), [{ channel: 'topic shop-critical', ok: true, error: null }]);
    const input = client.commandCalls(PublishCommand)[0]?.args[0].input;
    assert.equal(input?.TopicArn, topics.critical);
    assert.equal(input?.MessageStructure, 'json');
    assert.match(input?.Subject ?? '', /^\[holdfast shop\] HIGH events: backup failed: the task was killed \? 137$/);
    assert.ok((input?.Subject ?? '').length <= 100);
    const message = JSON.parse(input?.Message ?? '') as Record<string, string>;
    assert.match(message['email'] ?? '', /What happened/);
    assert.equal(message['default'], message['email']);
    assert.ok((message['sms'] ?? '').length <= 300);
    const there = { plan: 'shop', severity: 'critical' as const, at: new Date(), host: 'x' };
    assert.deepEqual(tellingOf(message['lambda'] ?? '', there), { ...telling, also: [] });
  });

  test('I7: what the run revealed does not leave', async () => {
    client.on(PublishCommand).resolves({ MessageId: 'm' });
    await messenger((text) => text.replaceAll('killed', '***')).tell(telling);
    const { Message = '' } = client.commandCalls(PublishCommand)[0]?.args[0].input ?? {};
    assert.ok(!Message.includes('killed'));
  });

  test('what SNS refuses is a delivery that failed, so that the watcher tries again', async () => {
    client.on(PublishCommand).rejects(awsError('KMSAccessDeniedException', 'The ciphertext refers to a key'));
    const [delivery] = await messenger().tell(telling);
    assert.equal(delivery?.ok, false);
    assert.match(delivery?.error ?? '', /ciphertext/);
  });

  test('an alarm of CloudWatch, and anything else that comes through a topic, is put into the same shape', () => {
    const topic = { plan: 'shop', severity: 'critical' as const, at: new Date('2026-11-21T02:20:00Z'), host: 'x' };
    const alarm = JSON.stringify({
      AlarmName: 'holdfast-shop-watcher-silent',
      AlarmDescription: 'the watcher has not done its work for fifteen minutes',
      AWSAccountId: '111122223333',
      NewStateValue: 'ALARM',
      NewStateReason: 'Threshold Crossed: no datapoints were received for 3 periods',
      StateChangeTime: '2026-11-21T02:15:00.000+0000',
      Region: 'EU (Stockholm)',
      OldStateValue: 'OK',
    });
    const told = tellingOf(alarm, topic);
    assert.deepEqual(
      [told.what, told.key, told.severity, told.since.toISOString()],
      ['opened', 'alarm/holdfast-shop-watcher-silent', 'critical', '2026-11-21T02:15:00.000Z'],
    );
    assert.match(told.happened, /fifteen minutes\nThreshold Crossed/);
    assert.equal(tellingOf(alarm.replace('"ALARM"', '"OK"'), topic).what, 'closed');
    assert.equal(tellingOf('hello', topic).happened, 'hello');
  });
});
