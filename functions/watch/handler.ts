import { randomUUID } from 'node:crypto';
import { CloudWatchMetrics } from '#host/cloudwatch-metrics';
import { FargateTasks } from '#host/fargate-tasks';
import { functionHost } from '#host/function-host';
import { LambdaInvoker } from '#host/lambda-invoker';
import { reconcile } from '#jobs/reconcile';

/** Every five minutes: makes up for what was missed or lost, tells what has changed, and writes the alarms' figures. */
export const handler = functionHost('watch', import.meta.dirname, async ({ settings, plan, log, world }) => {
  const { name } = plan.plan;
  const ports = {
    tasks: new FargateTasks(settings.HOLDFAST_CLUSTER),
    invoker: new LambdaInvoker(name),
    metrics: new CloudWatchMetrics(name),
    newVaultId: randomUUID,
    // Of an end whose event was lost: the page waits for the next proof, and this bundle stays under its limit.
    runbook: async () => [],
  };
  const reconciled = await reconcile(ports, world);
  log.info(JSON.stringify(reconciled));
  return reconciled;
});
