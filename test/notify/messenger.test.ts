import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { redact } from '#core/secrets';
import { PACE } from '#notify/delivery';
import { openMessenger } from '#notify/messenger';
import { messengerOf, planWith, surroundings, telling } from '#test/notify/tellings';
import { type HttpSink, startHttpSink } from '#test/servers/http-sink';

describe('the messenger', () => {
  let sink: HttpSink;
  before(async () => {
    sink = await startHttpSink();
  });
  beforeEach(() => sink.onRequest(() => null));
  after(() => sink.stop());

  const hook = (name: string): string => `{ webhook: "${sink.url}/${name}" }`;
  const paths = (): string[] => sink.received.map(({ path }) => path).toSorted();

  test('each severity goes to its list, and what has none to the next higher', async () => {
    const alerts = `{ critical: [${hook('c')}], medium: [${hook('m1')}, ${hook('m2')}] }`;
    await messengerOf(alerts).tell(telling({ severity: 'medium' }));
    assert.deepEqual(paths(), ['/m1', '/m2']);
    sink.onRequest(() => null);
    await messengerOf(alerts).tell(telling({ severity: 'high' }));
    assert.deepEqual(paths(), ['/c']);
    assert.deepEqual(await messengerOf('{ storageAbove: 80% }').tell(telling()), []);
  });

  test('what one channel cannot deliver keeps no other from it', async () => {
    sink.onRequest(({ path }) => (path === '/b' ? { status: 403 } : path === '/c' ? { hang: true } : null));
    const alerts = `{ high: [{ email: "nobody" }, ${hook('a')}, ${hook('b')}, ${hook('c')}, { slack: "\${NOT_SET}" }, ${hook('d')}] }`;
    const deliveries = await messengerOf(alerts, { pace: { attemptMs: 3000, attempts: 1 } }).tell(telling());
    const host = sink.url.slice('http://'.length);
    assert.deepEqual(
      deliveries.map(({ channel, ok }) => [channel, ok]),
      [
        ['email nobody', false],
        [`webhook ${host}`, true],
        [`webhook ${host} (2)`, false],
        [`webhook ${host} (3)`, false],
        ['slack ${NOT_SET}', false],
        [`webhook ${host} (4)`, true],
      ],
    );
  });

  test('an address that is written twice is told once', async () => {
    const alerts = `{ high: [${hook('a')}, ${hook('b')}, ${hook('a')}] }`;
    assert.equal((await messengerOf(alerts).tell(telling())).length, 2);
    assert.deepEqual(paths(), ['/a', '/b']);
  });

  test('what was escalated goes to those who were told before too, and to each channel once', async () => {
    const alerts = `{ critical: [${hook('c')}, ${hook('both')}], high: [${hook('h')}, ${hook('both')}] }`;
    await messengerOf(alerts).tell(telling({ what: 'escalated', severity: 'critical', also: ['high'] }));
    assert.deepEqual(paths(), ['/both', '/c', '/h']);
  });

  test('I7: a secret that found its way into a reason does not leave with the message', async () => {
    const secret = 'hunter2-hunter2';
    const messenger = openMessenger(planWith(`{ high: [${hook('a')}] }`), surroundings(), {
      redact: (text) => redact(text, [secret]),
      pace: PACE,
    });
    const leaky = `server said: password ${secret} is wrong`;
    await messenger.tell(
      telling({ title: leaky, happened: leaky, safe: [leaky], next: [`psql postgres://u:${secret}@h/d`] }),
    );
    assert.equal(sink.received.length, 1);
    assert.ok(!sink.received[0]?.body.includes(secret));
  });
});
