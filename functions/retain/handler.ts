import * as z from 'zod';
import { Busy, UsageError } from '#core/errors';
import { functionHost } from '#host/function-host';
import { retain, retainTrouble } from '#jobs/retain';

/** From the schedule, whose payload is empty, or from start-job. */
const payload = z.looseObject({ source: z.string().nullish(), dryRun: z.boolean().optional() });

/** Decides about every backup, and marks what is given up; the vaults' own rules remove it. */
export const handler = functionHost('retain', import.meta.dirname, async ({ event, log, world }) => {
  const parsed = payload.safeParse(event ?? {});
  if (!parsed.success)
    throw new UsageError(
      `retain wants {"source":"NAME","dryRun":true}, both if wished: ${z.prettifyError(parsed.error)}`,
    );
  const { source = null, dryRun = false } = parsed.data;
  const retained = await retain({ sources: source === null ? [] : [source], vault: null, dryRun, at: null }, world);
  const { decisions, cleared, stopped, renewed, notRenewed, warnings } = retained;
  for (const warning of warnings) log.warn(warning);
  for (const { vault, source: of, reason } of stopped) log.warn(`${of ?? 'all'} in ${vault}: ${reason}`);
  const given = decisions.filter(({ action }) => action === 'remove');
  for (const { source: of, id, vault, reasons } of given) log.info(`${of} ${id} in ${vault}: ${reasons.join('; ')}`);
  for (const { source: of, id, vault, why, until } of renewed)
    log.info(`${of} ${id} in ${vault}: ${dryRun ? 'would be locked' : 'locked'} until ${until}: ${why}`);
  for (const { source: of, vault, reason } of notRenewed) log.warn(`locks of ${of} in ${vault}: ${reason}`);
  const trouble = retainTrouble(retained);
  // The one of a minute ago is still at it; anything else is an error of the function, which rings.
  if (trouble && !(trouble instanceof Busy)) throw trouble;
  return {
    dryRun,
    decided: decisions.length,
    givenUp: given.length,
    cleared: cleared.length,
    stopped,
    renewed: renewed.length,
  };
});
