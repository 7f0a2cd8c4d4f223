import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { App } from 'aws-cdk-lib';
import { buildStacks } from '#cloud/stacks';
import { HoldfastError, UsageError } from '#core/errors';
import { loadPlan } from '#core/plan-load';

/** The CDK app: reads the plan, makes the stacks. `npx cdk synth -c plan=FILE`, else $HOLDFAST_PLAN, else ./holdfast.yaml. */
try {
  const app = new App();
  const named: unknown = app.node.tryGetContext('plan') ?? process.env['HOLDFAST_PLAN'] ?? 'holdfast.yaml';
  const file = resolve(String(named));
  if (!existsSync(file))
    throw new UsageError(`no plan at ${file}`, {
      hint: 'copy one of examples/ to holdfast.yaml, or name yours: npx cdk synth -c plan=FILE',
    });
  const { lines } = buildStacks(app, loadPlan(readFileSync(file, 'utf8'), String(named)), file);
  for (const line of lines) process.stderr.write(`${line}\n`);
  app.synth();
} catch (error) {
  if (!(error instanceof HoldfastError)) throw error;
  process.stderr.write(`error: ${error.message}\n${error.hint ? `hint: ${error.hint}\n` : ''}`);
  process.exitCode = error.exit;
}
