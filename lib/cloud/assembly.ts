import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { App } from 'aws-cdk-lib';
import { writeAdoptedBuckets } from '#cloud/adopted-buckets';
import { buildStacks } from '#cloud/stacks';
import { UsageError } from '#core/errors';
import { loadPlan } from '#core/plan-load';

/**
 * What `cdk synth` writes for a plan: its stacks, and beside them what buckets of somebody's own have to be given. The
 * app's context names the plan (`plan`), and the region of one without `cloud:` (`region`).
 * @param say lines for people
 */
export function writeAssembly(app: App, say: (line: string) => void): void {
  const named: unknown = app.node.tryGetContext('plan') ?? process.env['HOLDFAST_PLAN'] ?? 'holdfast.yaml';
  const file = resolve(String(named));
  if (!existsSync(file))
    throw new UsageError(`no plan at ${file}`, {
      hint: 'copy one of examples/ to holdfast.yaml, or name yours: npx cdk synth -c plan=FILE',
    });
  const region: unknown = app.node.tryGetContext('region');
  const plan = loadPlan(readFileSync(file, 'utf8'), String(named));
  const { lines } = buildStacks(app, plan, file, typeof region === 'string' ? region : null);
  lines.forEach(say);
  app.synth();
  writeAdoptedBuckets(plan.plan, app.outdir).forEach(say);
}
