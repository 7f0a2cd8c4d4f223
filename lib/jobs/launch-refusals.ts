import { Busy, VariableMissing } from '#core/errors';
import type { TaskJob } from '#core/job';
import { isoTime } from '#core/manifest';
import type { SecretNames, Vault } from '#core/ports';
import { secretName } from '#core/settings';
import type { JobEnvironment } from '#jobs/environment';
import { openLease } from '#vault/lease';

/** What keeps a task from being started: found out before, as a task that is started costs, and says it a minute later. */

/**
 * @param variables that it would be given
 * @throws VariableMissing names each, and how it is given a value
 */
export async function refuseWithoutSecrets(
  source: string,
  variables: readonly string[],
  secrets: SecretNames,
  { plan: { plan } }: JobEnvironment,
): Promise<void> {
  const missing = await secrets.withoutValue(variables);
  if (missing.length === 0) return;
  const lines = missing.map(
    (variable) =>
      `aws secretsmanager put-secret-value --secret-id ${secretName(plan.name, variable)} --secret-string '…'`,
  );
  throw new VariableMissing(`${source} needs ${missing.join(', ')}, and no value was ever put into the secret of it`, {
    source,
    hint: lines.join('\n'),
  });
}

/** @throws Busy a run that lives holds the source in one of the vaults */
export async function refuseIfHeld(
  source: string,
  job: TaskJob,
  vaults: readonly Vault[],
  { isGone }: JobEnvironment,
): Promise<void> {
  for (const vault of vaults) {
    const lease = await openLease(vault, { source, job }, isGone);
    if (!lease?.alive) continue;
    const since = lease.since === null ? '' : ` since ${isoTime(lease.since)}`;
    throw new Busy(`${job} of ${source} is under way${since}: lease ${lease.number} in ${vault.name}`, {
      source,
      hint: 'wait for it to end',
    });
  }
}
