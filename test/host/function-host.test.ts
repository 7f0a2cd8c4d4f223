import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadPlan } from '#core/plan-load';
import { BUNDLED_PLAN } from '#core/settings';
import { functionHost } from '#host/function-host';
import { CLOUD_PLAN } from '#test/cloud/cloud-plan';

const SET = { HOLDFAST_PLAN_NAME: 'shop', HOLDFAST_START_JOB: 'shop-start-job' };

/** Of Lambda's, what is used; it counts down. */
function contextOf(milliseconds: number) {
  const end = performance.now() + milliseconds;
  return {
    awsRequestId: 'request',
    functionName: 'shop-replicate',
    functionVersion: '$LATEST',
    invokedFunctionArn: 'arn:aws:lambda:eu-north-1:111122223333:function:shop-replicate',
    memoryLimitInMB: '1024',
    getRemainingTimeInMillis: () => Math.floor(end - performance.now()),
  };
}

describe('a function’s own time', () => {
  let bundle: string;
  before(() => {
    bundle = mkdtempSync(join(tmpdir(), 'hf-fn-'));
    const { text, value } = loadPlan(CLOUD_PLAN, 'holdfast.yaml');
    writeFileSync(join(bundle, BUNDLED_PLAN), JSON.stringify({ text, value }));
    Object.assign(process.env, SET);
  });
  after(() => {
    rmSync(bundle, { recursive: true, force: true });
    for (const name of Object.keys(SET)) delete process.env[name];
  });

  test('it is told to stop so much before Lambda would end it as it needs to end well, and knows when that is', async () => {
    let before: boolean | null = null;
    const handler = functionHost(
      'replicate',
      bundle,
      async ({ until, world: { run } }) => {
        before = run.signal.aborted;
        await sleep(until.getTime() - Date.now() + 100);
        return { until: until.getTime(), stopped: run.signal.aborted };
      },
      { farewellSeconds: 30 },
    );
    const from = Date.now();
    const { until, stopped } = (await handler({}, contextOf(32_500))) as { until: number; stopped: boolean };
    assert.deepEqual([before, stopped], [false, true]);
    // What came before its work took a little of its time.
    assert.ok(until - from > 2400 && until - from < 2600, `${until - from} ms`);
  });
});
