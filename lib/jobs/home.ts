import { HoldfastError, UsageError } from '#core/errors';
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
  const all = vaultsOf(source, environment);
  const names = asked !== null ? [asked] : settings ? all.slice(0, 1) : all;
  for (const name of names) {
    const vault = await openedVault(name, all, environment);
    if (settings || (await collect(vault.folders('backups/'))).includes(source)) return vault;
  }
  throw new UsageError(
    `no source "${source}" in ${environment.plan.file} or its vaults, want one of ${Object.keys(plan.sources).join(', ')}`,
  );
}

/**
 * The first vault of a source that answers.
 * @throws HoldfastError none does: the first one's reason
 */
export async function answeringVault(source: string, environment: JobEnvironment): Promise<Vault> {
  const errors: HoldfastError[] = [];
  for (const name of vaultsOf(source, environment)) {
    try {
      const vault = environment.vault(name);
      await readVaultIdentity(vault, environment.plan.plan.name);
      return vault;
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      errors.push(error);
    }
  }
  throw errors[0] ?? new UsageError(`no schedule of ${source} names a vault`, { source });
}

/** Names of the vaults a source's schedules write, the first one first; of all vaults when it left the plan. */
export function vaultsOf(source: string, { plan: { plan } }: JobEnvironment): string[] {
  const settings = plan.sources[source];
  return settings ? [...new Set(settings.schedule.flatMap((one) => one.to))] : Object.keys(plan.vaults);
}

/** A vault that is away is no reason to give up while another has the copies: the hint says how. */
async function openedVault(name: string, all: readonly string[], environment: JobEnvironment): Promise<Vault> {
  try {
    const vault = environment.vault(name);
    await readVaultIdentity(vault, environment.plan.plan.name);
    return vault;
  } catch (error) {
    const others = all.filter((one) => one !== name);
    if (error instanceof HoldfastError && !(error instanceof UsageError) && others.length > 0)
      error.hint = `${error.hint ? `${error.hint}; or ` : ''}take the copy of another vault: ${others.map((one) => `--from ${one}`).join(', ')}`;
    throw error;
  }
}
