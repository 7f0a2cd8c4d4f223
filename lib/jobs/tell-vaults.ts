import { HoldfastError } from '#core/errors';
import type { LedgerFields } from '#core/ledger';
import type { Vault } from '#core/ports';
import type { JobEnvironment } from '#jobs/environment';
import { vaultsOf } from '#jobs/home';
import { readVaultIdentity } from '#vault/identity';
import { appendLedger } from '#vault/ledger-store';

/** Where something was written down. */
export interface Told {
  /** Vaults whose ledgers now say so. */
  readonly vaults: readonly string[];
  /** Vaults that could not be written: they go on from what the others say. */
  readonly missed: readonly string[];
  /** Why they could not. */
  readonly warnings: readonly string[];
}

/**
 * Writes one event into the ledger of every vault of a source that can be reached.
 * @param before done in each vault before its ledger says so
 * @throws HoldfastError no vault could be written: the first one's reason
 */
export async function tellVaults(
  source: string,
  fields: Pick<LedgerFields, 'event' | 'id' | 'manifest' | 'details'>,
  environment: JobEnvironment,
  before: (vault: Vault) => Promise<void> = async () => undefined,
): Promise<Told> {
  const { plan, run } = environment;
  const vaults: string[] = [];
  const missed: string[] = [];
  const errors: HoldfastError[] = [];
  for (const name of vaultsOf(source, environment)) {
    try {
      const vault = environment.vault(name);
      await readVaultIdentity(vault, plan.plan.name);
      await before(vault);
      await appendLedger(vault, source, { ...fields, host: run.host }, run.clock);
      vaults.push(name);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      errors.push(error);
      missed.push(name);
    }
  }
  const [first] = errors;
  if (vaults.length === 0 && first) throw first;
  return {
    vaults,
    missed,
    warnings: errors.map(({ message }) => `${fields.event} of ${source} is not written everywhere: ${message}`),
  };
}
