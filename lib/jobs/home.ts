import { UsageError } from '#core/errors';
import type { Vault } from '#core/ports';
import { collect } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import { readVaultIdentity } from '#vault/identity';

/**
 * The vault a source is read from: the one asked for, else the first its first schedule names. A source that left the
 * plan is looked for in every vault.
 */
export async function homeVault(source: string, asked: string | null, environment: JobEnvironment): Promise<Vault> {
  const { plan } = environment.plan;
  const settings = plan.sources[source];
  const names =
    asked !== null
      ? [asked]
      : settings
        ? settings.schedule.flatMap((one) => one.to).slice(0, 1)
        : Object.keys(plan.vaults);
  for (const name of names) {
    const vault = environment.vault(name);
    await readVaultIdentity(vault, plan.name);
    if (settings || (await collect(vault.folders('backups/'))).includes(source)) return vault;
  }
  throw new UsageError(
    `no source "${source}" in ${environment.plan.file} or its vaults, want one of ${Object.keys(plan.sources).join(', ')}`,
  );
}
