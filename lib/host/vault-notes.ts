import { PLAN_CHAIN } from '#core/alert';
import { HoldfastError, KeyMissing } from '#core/errors';
import type { Notes, Vault } from '#core/ports';

/**
 * For a host without a disk that lasts: below `leases/`, whose keys alone may be written twice. In the first vault that
 * answers; where none does, nothing is remembered, and some things are told twice.
 */
export function vaultNotes(vaults: readonly string[], open: (name: string) => Vault): Notes {
  return {
    async read(name) {
      for (const vault of vaults) {
        try {
          return JSON.parse(Buffer.from(await open(vault).get(keyOf(name))).toString('utf8')) as unknown;
        } catch (error) {
          if (error instanceof KeyMissing || error instanceof SyntaxError) return null;
          if (!(error instanceof HoldfastError)) throw error;
        }
      }
      return null;
    },
    async write(name, value) {
      let failed: HoldfastError | null = null;
      for (const vault of vaults) {
        try {
          return await open(vault).putAgain(keyOf(name), Buffer.from(JSON.stringify(value)));
        } catch (error) {
          if (!(error instanceof HoldfastError)) throw error;
          failed ??= error;
        }
      }
      if (failed) throw failed;
    },
  };
}

function keyOf(name: string): string {
  return `leases/${PLAN_CHAIN}/notes-${name}.json`;
}
