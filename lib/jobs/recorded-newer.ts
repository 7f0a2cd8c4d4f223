import { HoldfastError } from '#core/errors';
import { ledgerFolder } from '#core/ledger';
import { timeOfId } from '#core/manifest';
import type { Vault } from '#core/ports';
import { isAhead } from '#core/stamped-ahead';
import { readLedger } from '#vault/ledger-store';

/** Entries read from the ledger's end: some days of a source that is backed up each hour. */
const LOOKED_BACK = 64;

/**
 * Backups after `id` that the vault's ledger tells of and its listing does not: a manifest that a bad disk, a careless
 * hand or an intruder took away is no backup any more, and nothing else would tell of it.
 * @param listed ids of all that are there
 * @param until null: whatever their time
 * @returns in words; what cannot be looked at is said too
 */
export async function recordedNewer(
  vault: Vault,
  source: string,
  id: string,
  listed: ReadonlySet<string>,
  until: Date | null,
  now: Date,
): Promise<string[]> {
  const gone = new Map<string, number>();
  const unreadable: string[] = [];
  try {
    const last = (await vault.lastNumber(ledgerFolder(source))) ?? 0;
    const options = {
      after: Math.max(0, last - LOOKED_BACK),
      onInvalid: ({ message }: HoldfastError) => unreadable.push(message),
    };
    for await (const entry of readLedger(vault, source, options)) {
      if (entry.id === null || entry.id <= id || listed.has(entry.id)) continue;
      if (entry.event === 'backup' || entry.event === 'copied-from') gone.set(entry.id, entry.seq);
      else if (entry.event === 'retained') gone.delete(entry.id);
    }
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return [`whether ${vault.name} ever held a newer backup is not known: ${error.message}`];
  }
  const isMeant = (one: string): boolean => !isAhead(timeOfId(one), now) && (until === null || timeOfId(one) <= until);
  return [
    ...[...gone]
      .filter(([one]) => isMeant(one))
      .map(
        ([one, seq]) =>
          `newer, and gone: the ledger tells of ${one} (entry ${seq}), whose manifest is not in ${vault.name} any more; another vault may have it`,
      ),
    ...unreadable.map((message) => `it may have told of a newer backup: ${message}`),
  ];
}
