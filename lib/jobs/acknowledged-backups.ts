import type { Vault } from '#core/ports';
import { entryBefore, readLedger } from '#vault/ledger-store';

/** Older ones are looked up no more: what was made before them has long been judged by others. */
const LOOKED_UP = 20;
const DAY_MILLISECONDS = 86_400_000;

/**
 * Of the ids that somebody acknowledged, those of backups, present or gone. A failed run's is no word about the data: the
 * backup after it may be an emptied one that nobody has looked at.
 */
export async function acknowledgedBackups(
  vault: Vault,
  source: string,
  acknowledged: readonly string[],
  present: ReadonlySet<string>,
): Promise<readonly string[]> {
  const absent = acknowledged.filter((id) => !present.has(id));
  const found = acknowledged.filter((id) => present.has(id));
  for (const id of absent.slice(-LOOKED_UP)) if (await wasBackup(vault, source, id)) found.push(id);
  return found;
}

/** A run's entry is written within days of the time that its id begins with. */
async function wasBackup(vault: Vault, source: string, id: string): Promise<boolean> {
  const day = Date.parse(`${id.slice(0, 4)}-${id.slice(4, 6)}-${id.slice(6, 8)}T00:00:00Z`);
  const after = await entryBefore(vault, source, new Date(day));
  for await (const entry of readLedger(vault, source, { after, onInvalid: () => undefined })) {
    if (entry.id === id && entry.manifest !== null) return true;
    if (entry.id === id && entry.event === 'failed') return false;
    if (Date.parse(entry.at) > day + 7 * DAY_MILLISECONDS) return false;
  }
  return false;
}
