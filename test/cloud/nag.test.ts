import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { App, Stack } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import { buildStacks } from '#cloud/stacks';
import { loadPlan } from '#core/plan-load';
import { CLOUD_PLAN } from '#test/cloud/cloud-plan';

const { context } = JSON.parse(readFileSync(new URL('../../cdk.json', import.meta.url), 'utf8')) as {
  context: Record<string, unknown>;
};

/** What the AWS Solutions rules say and is meant so. A finding that none of these covers fails, and so does a reason without one. */
const REASONS: readonly { readonly finding: RegExp; readonly reason: string }[] = [
  {
    finding:
      /^IAM5\[Resource::arn:aws:s3:::shop-backups\/[a-z-]+\/(?:backups|logs|proofs|holds|ledger|leases|plans)\/.*\*/,
    reason: 'objects below one folder of a vault: their names are made at run time; what is allowed there is simulated',
  },
  {
    finding: /^IAM5\[Resource::arn:aws:s3:::shop-backups\/[a-z-]+\/\*\] .*\/(?:replicate|Restorer)\//,
    reason: 'whole vaults are copied and restored; both roles cannot open what is sealed, nor delete',
  },
  {
    finding: /^IAM5\[Resource::arn:aws:ecs:.*:task-definition\/[a-z-]+:\*\] .*\/start-job\//,
    reason: 'the newest revision of one family, on one cluster',
  },
  {
    finding: /^IAM5\[Resource::arn:aws:ecs:.*:task\/holdfast-[a-z-]+\/\*\] .*\/(?:watch|start-job)\//,
    reason: 'tasks have random names; one cluster’s, to look at, stop and tag',
  },
  {
    finding: /^IAM5\[Resource::\*\] .*\/(?:watch|finish-job)\//,
    reason: 'PutMetricData and ListTasks know no resources: bound by namespace and by cluster',
  },
  { finding: /^IAM5\[Resource::\*\] .*\/Execution\//, reason: 'ecr:GetAuthorizationToken knows no resources' },
  {
    finding: /^IAM5\[Resource::<\w+Function\w+\.Arn>:\*\] .*\/SchedulerRoleForTarget/,
    reason: 'Scheduler may start any version of the one function',
  },
  {
    finding: /^SMG4 /,
    reason: 'addresses and keys of systems outside of AWS: nobody here could rotate them',
  },
];

test('the AWS Solutions rules find nothing that is not acknowledged with a reason', () => {
  const folder = mkdtempSync(join(tmpdir(), 'hf-nag-'));
  try {
    const app = new App({ outdir: join(folder, 'out'), context: { ...context, 'aws:cdk:bundling-stacks': [] } });
    const file = join(folder, 'holdfast.yaml');
    writeFileSync(file, CLOUD_PLAN);
    buildStacks(app, loadPlan(CLOUD_PLAN, file), file);
    const findings = app.node.children
      .filter(Stack.isStack)
      .flatMap((stack) =>
        new AwsSolutionsChecks()
          .validateScope(stack)
          .violations.flatMap(({ ruleName, violatingResources }) =>
            violatingResources.map(
              (one) => `${ruleName.replace('AwsSolutions-', '')} ${(one as { constructPath?: string }).constructPath}`,
            ),
          ),
      );
    assert.ok(findings.length > 0, 'the rules did not run');
    assert.deepEqual(
      findings.filter((finding) => !REASONS.some((reason) => reason.finding.test(finding))),
      [],
    );
    assert.deepEqual(
      REASONS.filter((reason) => !findings.some((finding) => reason.finding.test(finding))).map(({ reason }) => reason),
      [],
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
