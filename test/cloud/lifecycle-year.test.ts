import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { LifecycleRule } from '@aws-sdk/client-s3';
import { verifyLedger } from '#jobs/ledger-verify';
import { LifecycleBucket } from '#test/cloud/lifecycle-bucket';
import { lifecycleRules, withoutSizes } from '#test/cloud/lifecycle-rules';
import {
  GATEWAY_DAY_MILLISECONDS,
  LENGTHS,
  PREFIX,
  planText,
  START,
  scenarioOf,
  VAULT,
} from '#test/cloud/lifecycle-scenario';
import { LifecycleWalk } from '#test/cloud/lifecycle-walk';
import { resolverOf } from '#test/cloud/resolve';
import { resourcesOf, synthesise } from '#test/cloud/synthesised';
import { simulatedWorld } from '#test/examples/simulated-world';
import { type Ceph, startCeph } from '#test/servers/ceph';

const REGION = 'eu-north-1';
const LENGTH = process.env['HOLDFAST_TEST_YEAR'] === 'whole' ? 'whole' : 'short';
const length = LENGTHS[LENGTH];

describe(`the lifecycle of a synthesised vault in a year of ${length.days} days`, () => {
  let folder: string;
  let ceph: Ceph;
  let bucketName: string;
  let rules: LifecycleRule[];
  let configuration: unknown;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'hf-year-'));
    writeFileSync(join(folder, 'holdfast.yaml'), planText(length));
    const made = synthesise(join(folder, 'holdfast.yaml'), { region: REGION });
    try {
      const template = made.templates.get('year-vault');
      assert.ok(template);
      const resolver = resolverOf(made.templates, 'year-vault', REGION);
      const [bucket, ...more] = resourcesOf(template, 'AWS::S3::Bucket')
        .map(([, { Properties }]) => resolver.value(Properties) as Record<string, unknown>)
        .filter(({ BucketName }) => BucketName === 'year-backups');
      assert.ok(bucket && more.length === 0);
      assert.deepEqual(bucket['VersioningConfiguration'], { Status: 'Enabled' });
      bucketName = bucket['BucketName'] as string;
      configuration = bucket['LifecycleConfiguration'];
      rules = lifecycleRules(configuration);
    } finally {
      made.close();
    }
    const daySeconds = GATEWAY_DAY_MILLISECONDS / 1000;
    const storageClasses = ['GLACIER', 'DEEP_ARCHIVE'];
    ceph = await startCeph(join(folder, 'ceph'), { daySeconds, storageClasses });
  });
  after(async () => {
    await ceph?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test('I5: what is left equals what core/retention says, through proofs that stop half-way', async (t) => {
    const { rules: put, left } = withoutSizes(rules);
    assert.deepEqual(left, [
      'events-monthly-cold: {"ObjectSizeGreaterThan":131072}',
      'events-yearly-cold: {"ObjectSizeGreaterThan":131072}',
      'stolen-yearly-cold: {"ObjectSizeGreaterThan":131072}',
    ]);
    const scenario = scenarioOf(length);
    const bucket = new LifecycleBucket(ceph, bucketName, PREFIX);
    await bucket.make(put);
    const world = await simulatedWorld('lifecycle', planText(length), START, (name, clock) =>
      bucket.vault(name, clock),
    );
    try {
      const walk = new LifecycleWalk(scenario, world, bucket, () => ceph.lifecycle(bucketName));
      const walked = await walk.walk();
      t.diagnostic(JSON.stringify({ ...walked, cameBack: walk.cameBack }));
      // A listing of the short walk is one page.
      assert.ok(walk.cameBack <= (LENGTH === 'whole' ? 5 : 0), `${walk.cameBack} came back`);
      for (const [what, count] of Object.entries(walked))
        assert.ok(count > 0, `nothing was tried: ${what} is ${count}`);
      for (const source of ['events', 'config'])
        assert.deepEqual((await verifyLedger(world.vault(VAULT), source)).findings, []);
    } finally {
      await world.close();
      bucket.close();
    }
  });
});
