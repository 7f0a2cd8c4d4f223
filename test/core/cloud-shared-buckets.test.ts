import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deploymentProblems } from '#core/cloud-problems';
import { bucketPlan } from '#test/core/bucket-plan';

const DEPLOYED = 'cloud: { region: eu-north-1 }';

/** Of two vaults in one bucket: what is said of `cloud`, and the second one whole. */
function problemsOf(cloud: string, second: string): string[] {
  const plan = bucketPlan(
    `${cloud} }, second: { s3: shop-backups, prefix: second, region: eu-north-1${second}`,
    DEPLOYED,
  );
  return deploymentProblems(plan, 'eu-north-1').map(({ message, hint }) => `${message} (${hint})`);
}

test('one bucket that a deployment would have to make for two vaults is refused before CloudFormation does, half-way', () => {
  const rows: [cloud: string, second: string, where: RegExp][] = [
    ['', '', /^vaults\.cloud\.s3: got shop-backups, which vault second lies in too/],
    [', existing: true', '', /^vaults\.second\.s3: got shop-backups, which vault cloud lies in too/],
    ['', ', existing: true', /^vaults\.cloud\.s3: /],
  ];
  for (const [cloud, second, where] of rows) {
    const [problem, ...more] = problemsOf(cloud, second);
    assert.match(problem ?? '', where);
    assert.match(problem ?? '', /existing: true in each/);
    assert.deepEqual(more, []);
  }
  assert.deepEqual(problemsOf(', existing: true', ', existing: true'), []);
});

test('one bucket has one replica: the script that synthesis writes could only put the rule of one vault', () => {
  const replica = ', existing: true, replica: { region: eu-west-1 }';
  assert.deepEqual(problemsOf(replica, ', existing: true'), []);
  assert.deepEqual(problemsOf(', existing: true', replica), []);
  const [problem, ...more] = problemsOf(replica, replica);
  assert.match(
    problem ?? '',
    /^vaults\.second\.replica: the bucket shop-backups has the replica of vault cloud already/,
  );
  assert.deepEqual(more, []);
});
