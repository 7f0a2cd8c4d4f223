import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { App } from 'aws-cdk-lib';
import { writeAdoptedBuckets } from '#cloud/adopted-buckets';
import { buildStacks } from '#cloud/stacks';
import { HoldfastError, UsageError } from '#core/errors';
import { loadPlan } from '#core/plan-load';

/** The CDK app: reads the plan, makes the stacks. `npx cdk synth -c plan=FILE`, else $HOLDFAST_PLAN, else ./holdfast.yaml. `-c region=` for a plan without `cloud:`. */
try {
  const app = new App();
  const named: unknown = app.node.tryGetContext('plan') ?? process.env['HOLDFAST_PLAN'] ?? 'holdfast.yaml';
  const file = resolve(String(named));
  if (!existsSync(file))
    throw new UsageError(`no plan at ${file}`, {
      hint: 'copy one of examples/ to holdfast.yaml, or name yours: npx cdk synth -c plan=FILE',
    });
  const region: unknown = app.node.tryGetContext('region');
  const plan = loadPlan(readFileSync(file, 'utf8'), String(named));
  const { lines } = buildStacks(app, plan, file, typeof region === 'string' ? region : null);
  for (const line of lines) process.stderr.write(`${line}\n`);
  app.synth();
  for (const line of writeAdoptedBuckets(plan.plan, app.outdir)) process.stderr.write(`${line}\n`);
} catch (error) {
  if (!(error instanceof HoldfastError)) throw error;
  process.stderr.write(`error: ${error.message}\n${error.hint ? `hint: ${error.hint}\n` : ''}`);
  process.exitCode = error.exit;
}
