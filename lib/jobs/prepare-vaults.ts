import { HoldfastError, KeyExists, VaultMissing } from '#core/errors';
import type { Vault } from '#core/ports';
import type { JobEnvironment } from '#jobs/environment';
import { vaultsOf } from '#jobs/home';
import { storePlan } from '#jobs/store-backup';
import { createVaultIdentity, readVaultIdentity } from '#vault/identity';

/**
 * Makes the vaults of a source ready for a run that knows only a piece of the plan: each is ours, and holds the plan.
 * A bucket that the stack made is no vault before the first launch writes its `vault.json`.
 * @param names other vaults than those that the source's schedules write
 * @returns those that answer, in the plan's order, and why the others do not
 * @throws HoldfastError none answers: the first one's reason
 */
export async function prepareVaults(
  source: string,
  newVaultId: () => string,
  environment: JobEnvironment,
  names: Iterable<string> = vaultsOf(source, environment),
): Promise<{ readonly vaults: readonly Vault[]; readonly warnings: readonly string[] }> {
  const vaults: Vault[] = [];
  const errors: HoldfastError[] = [];
  for (const name of names) {
    try {
      const vault = environment.vault(name);
      await identifyVault(vault, newVaultId, environment);
      await storePlan(environment.plan, vault);
      vaults.push(vault);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      errors.push(error);
    }
  }
  const [first] = errors;
  if (vaults.length === 0) throw first ?? new VaultMissing(`no schedule of ${source} names a vault`, { source });
  return { vaults, warnings: errors.map(({ message }) => `going on without a vault: ${message}`) };
}

/**
 * Makes a bucket of the stack's own a vault.
 * @throws VaultMissing it is none, and somebody else's to make; VaultForeign another plan's
 */
export async function identifyVault(
  vault: Vault,
  newVaultId: () => string,
  environment: JobEnvironment,
): Promise<void> {
  const { plan } = environment.plan;
  const settings = plan.vaults[vault.name];
  try {
    await readVaultIdentity(vault, plan.name);
    return;
  } catch (error) {
    // Somebody else's store may be the wrong one, or not mounted: `check --create` is a person's decision there.
    const ours = settings && 's3' in settings && settings.endpoint === undefined;
    if (!(error instanceof VaultMissing) || !ours) throw error;
  }
  try {
    const created = environment.run.clock.now();
    await createVaultIdentity(vault, { plan: plan.name, id: newVaultId(), created });
  } catch (error) {
    if (!(error instanceof KeyExists)) throw error;
    await readVaultIdentity(vault, plan.name);
  }
}
