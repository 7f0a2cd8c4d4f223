import * as z from 'zod';
import { UsageError } from '#core/errors';
import { taskStateChange } from '#core/task-end';
import { CloudWatchMetrics } from '#host/cloudwatch-metrics';
import { functionHost } from '#host/function-host';
import { LambdaInvoker } from '#host/lambda-invoker';
import { finishTask } from '#jobs/finish';
import { writeRunbooks } from '#jobs/runbook';

/** An "ECS Task State Change": looks up what the task left, starts its proof, and tells what has changed. */
export const handler = functionHost('finish-job', import.meta.dirname, async ({ event, plan, log, world }) => {
  const parsed = taskStateChange.safeParse(event);
  if (!parsed.success)
    throw new UsageError(`not an ECS Task State Change: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`);
  const ports = {
    invoker: new LambdaInvoker(plan.plan.name),
    metrics: new CloudWatchMetrics(plan.plan.name),
    telling: 'here' as const,
    runbook: writeRunbooks,
  };
  const finished = await finishTask(parsed.data.detail, ports, world);
  log.info(JSON.stringify(finished));
  return finished;
});
