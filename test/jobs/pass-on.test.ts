import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Plan } from '#core/plan';
import { loadPlan } from '#core/plan-load';
import { passOn } from '#jobs/pass-on';
import { CLOUD_PLAN } from '#test/cloud/cloud-plan';
import { openRun, type TestRun } from '#test/contracts/run-context';
import { telling } from '#test/notify/tellings';
import { type HttpSink, startHttpSink } from '#test/servers/http-sink';
import { startSns } from '#test/servers/sns';

describe('what came through a topic', () => {
  let sink: HttpSink;
  let run: TestRun;
  before(async () => {
    sink = await startHttpSink();
    run = await openRun({ SLACK_WEBHOOK: `${sink.url}/services/T0AbCdEfGh` });
  });
  beforeEach(() => sink.onRequest(() => null));
  after(async () => {
    await run.close();
    await sink.stop();
  });

  const planOf = (alerts: string): Plan =>
    loadPlan(CLOUD_PLAN.replace(/^alerts: .*$/m, `alerts: ${alerts}`), 'holdfast.yaml').plan;

  test('goes to Slack and webhooks of its severity, and not to those who listen there by themselves', async () => {
    const plan = planOf(
      `{ high: [{ email: ops@example.com }, { slack: "\${SLACK_WEBHOOK}" }, { webhook: "${sink.url}/hook" }], critical: [{ webhook: "${sink.url}/other" }] }`,
    );
    const deliveries = await passOn(telling(), 'high', plan, run.run, new Set());
    assert.deepEqual(
      deliveries.map(({ ok }) => ok),
      [true, true],
    );
    assert.deepEqual(sink.received.map(({ path }) => path).sort(), ['/hook', '/services/T0AbCdEfGh']);
    assert.ok(deliveries.every(({ channel }) => !channel.includes('T0AbCdEfGh')));
  });

  test('repeated by Lambda, only what failed is sent again', async () => {
    const plan = planOf(`{ high: [{ webhook: "${sink.url}/good" }, { webhook: "${sink.url}/bad" }] }`);
    const delivered = new Set<string>();
    sink.onRequest(({ path }) => (path === '/bad' ? { status: 404 } : null));
    const first = await passOn(telling(), 'high', plan, run.run, delivered);
    assert.deepEqual(
      first.map(({ ok }) => ok),
      [true, false],
    );
    sink.onRequest(() => null);
    const second = await passOn(telling(), 'high', plan, run.run, delivered);
    assert.deepEqual(
      second.map(({ ok }) => ok),
      [true, true],
    );
    assert.deepEqual(
      sink.received.map(({ path }) => path),
      ['/bad'],
    );
  });

  test('escalated, a channel of both severities hears of it once', async () => {
    const plan = planOf(
      `{ high: [{ webhook: "${sink.url}/both" }, { webhook: "${sink.url}/low" }], critical: [{ webhook: "${sink.url}/both" }] }`,
    );
    const escalated = telling({ severity: 'critical', also: ['high'] });
    for (const severity of ['critical', 'high'] as const) await passOn(escalated, severity, plan, run.run, new Set());
    assert.deepEqual(
      sink.received.map(({ path }) => path),
      ['/both', '/low'],
    );
  });

  test('goes to a topic of somebody else’s too, as it would from a machine', async () => {
    const server = await startSns();
    const saved = { ...process.env };
    Object.assign(process.env, {
      AWS_ENDPOINT_URL_SNS: server.endpoint,
      AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
      AWS_SECRET_ACCESS_KEY: 'secret-of-the-test',
      AWS_EC2_METADATA_DISABLED: 'true',
    });
    try {
      const plan = planOf(
        `{ high: [{ email: ops@example.com }, { sns: "arn:aws:sns:eu-west-1:444455556666:pager" }] }`,
      );
      const deliveries = await passOn(telling(), 'high', plan, run.run, new Set());
      assert.deepEqual(deliveries, [{ channel: 'sns pager', ok: true, error: null }]);
      assert.deepEqual(
        server.published.map(({ topic }) => topic),
        ['arn:aws:sns:eu-west-1:444455556666:pager'],
      );
    } finally {
      for (const name of Object.keys(process.env)) if (!(name in saved)) delete process.env[name];
      Object.assign(process.env, saved);
      await server.stop();
    }
  });
});
