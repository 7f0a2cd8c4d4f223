import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deploymentProblems } from '#core/cloud-problems';
import { loadPlan } from '#core/plan-load';
import { CLOUD_PLAN, REGION } from '#test/cloud/cloud-plan';

/** What keeps a changed plan from being deployed, in the words of `cdk synth` and `check`. */
function refused(...changes: readonly (readonly [string, string])[]): string[] {
  const text = changes.reduce((plan, [from, to]) => {
    assert.ok(plan.includes(from), from);
    return plan.replace(from, to);
  }, CLOUD_PLAN);
  return deploymentProblems(loadPlan(text, 'holdfast.yaml').plan, REGION).map(({ message }) => message);
}

const BUCKET = '{ s3: shop-backups, region: eu-north-1, prefix: prod }';

describe('what AWS would refuse half-way through a deployment is refused before it', () => {
  test('nothing, of a plan that can be deployed', () => {
    assert.deepEqual(refused(), []);
    assert.deepEqual(refused(['name: shop', `name: ${'s'.repeat(53)}`]), []);
    assert.deepEqual(refused([BUCKET, `{ s3: ${'b'.repeat(63)}, region: ${REGION} }`]), []);
    assert.deepEqual(
      refused(['cloud: { region: eu-north-1 }', `cloud: { region: ${REGION}, network: { subnetIds: [subnet-0a] } }`]),
      [],
    );
  });

  test('a name of the plan that makes one too long for a function, or that no stack may begin with', () => {
    assert.deepEqual(refused(['name: shop', `name: ${'s'.repeat(54)}`]), ['name: got 54 characters, want at most 53']);
    assert.deepEqual(refused(['name: shop', 'name: 9shop']), [
      'name: got 9shop, want a name that begins with a letter',
    ]);
  });

  test('a bucket that S3 would not make, or not its replica; one that is there is asked for nothing', () => {
    const [odd] = refused([BUCKET, `{ s3: Shop_Backups, region: ${REGION} }`]);
    assert.equal(odd, 'vaults.cloud.s3: got Shop_Backups, want lower-case letters, digits, dashes and dots');
    assert.deepEqual(refused([BUCKET, `{ s3: Shop_Backups, region: ${REGION}, existing: true }`]), []);
    const long = 'b'.repeat(56);
    assert.deepEqual(refused([BUCKET, `{ s3: ${long}, region: ${REGION} }`]), []);
    assert.deepEqual(refused([BUCKET, `{ s3: ${long}, region: ${REGION}, replica: { region: eu-west-1 } }`]), [
      'vaults.cloud.s3: got 56 characters, want at most 55',
    ]);
  });

  test('a vault whose replication has a role with too long a name', () => {
    const plan = 's'.repeat(50);
    const [message = ''] = refused(
      ['name: shop', `name: ${plan}`],
      [BUCKET, `{ s3: shop, region: ${REGION}, replica: { region: eu-west-1 } }`],
    );
    assert.match(message, /^vaults\.cloud: .*a role of 68 characters, want at most 64/);
  });

  test('half a network, in whose place the deployment would make one of its own', () => {
    for (const network of ['{ vpcId: vpc-0a1b }', '{ subnetIds: [], securityGroupIds: [sg-0a] }'])
      assert.deepEqual(
        refused(['cloud: { region: eu-north-1 }', `cloud: { region: ${REGION}, network: ${network} }`]),
        ['cloud.network.subnetIds: got none, want the subnets that tasks are to run in'],
      );
  });

  test('a topic of the deployment’s own among those who are told: each message would come back for ever', () => {
    const to = (arn: string): string[] => refused(['{ slack: "${SLACK_WEBHOOK}" }', `{ sns: "${arn}" }`]);
    assert.deepEqual(to(`arn:aws:sns:${REGION}:111122223333:shop-critical`), [
      'alerts.critical[0].sns: got shop-critical, which the deployment makes and writes to by itself',
    ]);
    assert.deepEqual(to(`arn:aws:sns:${REGION}:111122223333:pager`), []);
    assert.deepEqual(to('arn:aws:sns:eu-west-1:111122223333:shop-critical'), []);
  });
});
