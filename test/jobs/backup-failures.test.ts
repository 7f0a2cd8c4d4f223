import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Cancelled } from '#core/errors';
import type { RunContext, SourceRef, StreamingEngine } from '#core/ports';
import { backup } from '#jobs/backup';
import type { Trigger } from '#jobs/backup-run';
import type { JobEnvironment } from '#jobs/environment';
import { makeDatabase } from '#test/cli/small-plan';
import { FastTime } from '#test/jobs/fast-time';
import { Serving } from '#test/jobs/serving';

const START = new Date('2026-11-21T12:00:00Z');
const DUE: Trigger = { by: 'schedule', schedule: 'every 4h', scheduledAt: START };
const request = { source: 'app', tier: null, point: null, reason: null, trigger: DUE };

describe('what a run that goes wrong leaves in the ledger', () => {
  let here: Serving;

  beforeEach(async () => {
    here = new Serving(new FastTime(START, START));
    makeDatabase(here.path('app.db'), ['one']);
    here.write(
      'holdfast.yaml',
      `version: 1
name: small
encryption: none
vaults: { here: { disk: ./vault } }
tiers: { hourly: { keep: 7d } }
sources:
  app: { sqlite: { file: app.db }, schedule: [{ every: 4h, tier: hourly, to: [here] }] }
`,
    );
    await here.open();
  });
  afterEach(() => here.close());

  /** The same surroundings, with another way to take a snapshot. */
  function capturing(capture: (source: SourceRef, run: RunContext) => Promise<never>): JobEnvironment {
    const environment = here.environment();
    return {
      ...environment,
      engine: (source): StreamingEngine => ({ ...environment.engine(source), capture }),
    };
  }

  test('a defect in the middle leaves word of the run, with its schedule and time, before it goes on up', async () => {
    const environment = capturing(async () => {
      throw new TypeError('x is not a function');
    });
    await assert.rejects(backup(request, environment), TypeError);
    const [entry, ...more] = await here.ledger('app');
    assert.equal(more.length, 0);
    assert.equal(entry?.event, 'failed');
    assert.deepEqual(
      { ...entry?.details },
      {
        code: 'defect',
        message: 'x is not a function',
        left: null,
        trigger: 'schedule',
        schedule: 'every 4h',
        scheduledAt: '2026-11-21T12:00:00.000Z',
      },
    );
    assert.equal((await backup(request, here.environment())).status, 'ok', 'the lease was given back');
  });

  test('I12: a run whose lease was taken over stops at once, as failed, for that reason', async (context) => {
    // The lease beats by the machine's timers.
    context.mock.timers.enable({ apis: ['setTimeout'] });
    let begun = (): void => undefined;
    const capture = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const environment = capturing(
      (_source, run) =>
        new Promise((_resolve, reject) => {
          run.signal.addEventListener('abort', () => reject(new Cancelled('stopped')), { once: true });
          begun();
        }),
    );
    const running = backup(request, environment);
    await capture;
    await here.environment().vault('here').putOnce('leases/app/backup/0000000002.json', Buffer.from('{}'));
    context.mock.timers.tick(20_000);
    while ((await here.ledger('app')).length === 0) await turn();
    context.mock.timers.reset();
    const run = await running;
    assert.deepEqual([run.status, run.error?.code], ['failed', 'lease-lost']);
    const [entry] = await here.ledger('app');
    assert.deepEqual([entry?.event, entry?.details['code']], ['failed', 'lease-lost']);
    assert.match(String(entry?.details['message']), /was taken over: lease 2 exists/);
  });

  test('two processes that find one run due make it once: the second hears that it was made', async () => {
    const first = await backup(request, here.environment());
    assert.equal(first.status, 'ok');
    const second = await backup(request, here.environment());
    assert.deepEqual([second.status, second.error?.code], ['busy', 'busy']);
    assert.match(second.error?.message ?? '', /for 2026-11-21T12:00:00\.000Z \(every 4h\) was made by another process/);
    assert.equal((await here.ledger('app')).filter(({ event }) => event === 'backup').length, 1);
  });
});
