import { Busy } from '#core/errors';
import { formatBytes } from '#core/size';
import { replicate } from '#jobs/replicate';
import { retain, retainTrouble } from '#jobs/retain';
import type { ServeJobs } from '#jobs/serve';
import { watch } from '#jobs/watch';

/** What `serve` does beside backups and proofs. */
export const serveJobs: ServeJobs = {
  watch: async (environment) => {
    const { changes, delivered, heartbeat, warnings } = await watch(environment);
    const { log } = environment.run;
    for (const { what, severity, title, told } of changes)
      log.info(`watch: ${what} (${severity}): ${title}${told ? '' : ': nobody could be told'}`);
    for (const { channel, ok, error } of [...delivered, ...(heartbeat ? [heartbeat] : [])])
      if (!ok) log.warn(`${channel} could not be told: ${error}`);
    for (const warning of warnings) log.debug(`watch: ${warning}`);
  },
  retain: async (environment) => {
    const retained = await retain({ sources: [], vault: null, at: null, dryRun: false }, environment);
    for (const warning of retained.warnings) environment.run.log.warn(warning);
    const trouble = retainTrouble(retained);
    // No ledger tells of what was not done: whoever runs it has to.
    if (trouble && !(trouble instanceof Busy)) throw trouble;
    const removed = retained.decisions.filter(({ done }) => done !== null);
    return removed.length === 0 ? null : `${removed.length} backups gave way`;
  },
  replicate: async (environment) => {
    const request = { sources: [], from: null, to: null, dryRun: false };
    const { copies, warnings, error } = await replicate(request, environment);
    const { log } = environment.run;
    // Repeated until it is mended; `watch` tells it, from the copies that are missing.
    for (const line of [...warnings, ...(error ? [error.message] : [])]) log.debug(`replicate: ${line}`);
    const made = copies.filter(({ status }) => status === 'copied');
    if (made.length === 0) return null;
    const bytes = made.reduce((sum, copy) => sum + copy.bytes, 0);
    const into = [...new Set(made.map(({ to }) => to))].join(', ');
    return `${made.length === 1 ? 'a copy' : `${made.length} copies`} made up for in ${into}, ${formatBytes(bytes)}`;
  },
};
