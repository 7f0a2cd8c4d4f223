import { HoldfastError } from '#core/errors';
import type { Vault } from '#core/ports';
import { sourcesIn } from '#jobs/catalog';
import { readVaultIdentity } from '#vault/identity';

export interface BareVault {
  /** Name of its plan; null: `vault.json` is lost. */
  readonly plan: string | null;
  readonly warnings: readonly string[];
}

/**
 * A vault that is read without a plan, on the worst day: what is left of it counts. Where `vault.json` is lost or damaged
 * and backups are there, each of which tells its own story, it is only said. Nothing else may go on without it (I14).
 * @throws what `readVaultIdentity` throws, where no backups are either
 */
export async function readBareVault(vault: Vault): Promise<BareVault> {
  try {
    return { plan: (await readVaultIdentity(vault, null)).plan, warnings: [] };
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    if (!(await holdsBackups(vault))) {
      error.hint = 'name the directory, or the place in the bucket, that holds vault.json and backups/; mount its disk';
      throw error;
    }
    return {
      plan: null,
      warnings: [`${error.message}; backups are there, and are read without it`],
    };
  }
}

async function holdsBackups(vault: Vault): Promise<boolean> {
  try {
    return (await sourcesIn(vault)).length > 0;
  } catch (error) {
    // The caller's own error says more.
    if (error instanceof HoldfastError) return false;
    throw error;
  }
}
