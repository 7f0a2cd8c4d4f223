import { EXIT } from '#core/errors';
import { functionHost } from '#host/function-host';
import { replicate } from '#jobs/replicate';

/**
 * Every fifteen minutes: makes the copies that should be there and are not. What stays behind is the watcher's to tell;
 * only when nothing could be done at all does it ring by itself.
 */
export const handler = functionHost('replicate', import.meta.dirname, async ({ log, world }) => {
  const done = await replicate({ sources: [], from: null, to: null, dryRun: false }, world);
  const { copies, lag, differences, proofs, warnings, exit, error } = done;
  for (const { source, id, from, to, status } of copies) log.info(`${source} ${id} ${from} → ${to}: ${status}`);
  for (const line of [...warnings, ...differences]) log.warn(line);
  if (error && exit === EXIT.failed) throw error;
  return { copies: copies.length, proofs, lag, exit, error: error?.message ?? null };
});
