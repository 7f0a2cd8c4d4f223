import { EXIT } from '#core/errors';
import { functionHost } from '#host/function-host';
import { LambdaInvoker } from '#host/lambda-invoker';
import { replicateInTime } from '#jobs/replicate-in-time';

/** Before Lambda's own end: uploads are taken back, leases given back, a task is asked for. */
const FAREWELL_SECONDS = 30;

/**
 * Every fifteen minutes: makes the copies that should be there and are not, and leaves the large ones to tasks. What
 * stays behind is the watcher's to tell; only when nothing could be done at all does it ring by itself.
 */
export const handler = functionHost(
  'replicate',
  import.meta.dirname,
  async ({ plan, until, log, world }) => {
    const done = await replicateInTime({ until }, new LambdaInvoker(plan.plan.name), world);
    const { copies, differences, proofs, warnings, toTasks, exit, error } = done;
    for (const { source, id, from, to, status } of copies) log.info(`${source} ${id} ${from} → ${to}: ${status}`);
    for (const line of [...warnings, ...differences]) log.warn(line);
    if (error && exit === EXIT.failed) throw error;
    return { copies: copies.length, proofs, toTasks, exit, error: error?.message ?? null };
  },
  { farewellSeconds: FAREWELL_SECONDS },
);
