import { randomUUID } from 'node:crypto';
import { HoldfastError } from '#core/errors';
import { readStartPayload, type StartPayload } from '#core/job';
import { FargateLauncher } from '#host/fargate-launcher';
import { functionHost } from '#host/function-host';
import { LambdaInvoker } from '#host/lambda-invoker';
import { start } from '#jobs/launch';

/** What a schedule, another function or a person asks for: backup, prove, retain, pause, resume, replicate. Answers in words. */
export const handler = functionHost(
  'start-job',
  import.meta.dirname,
  async ({ event, settings, plan, secrets, requestId, log, world }) => {
    let payload: StartPayload;
    try {
      payload = readStartPayload(event);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      const { code, message, hint } = error;
      return { ok: false, error: { code, message, hint } };
    }
    const ports = {
      launcher: new FargateLauncher(settings),
      secrets,
      invoker: new LambdaInvoker(plan.plan.name),
      requestId,
      newVaultId: randomUUID,
    };
    const answer = await start(payload, ports, world);
    if (answer.ok) log.info(JSON.stringify(answer));
    else log.warn(JSON.stringify(answer));
    return answer;
  },
);
