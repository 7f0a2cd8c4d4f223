import { messageOf, RecordInvalid, VaultUnreachable } from '#core/errors';
import type { Vault } from '#core/ports';

/** What a disk answers for a place that it cannot read any more, while the rest of it may be whole. */
const BAD_PLACE = new Set(['EIO', 'EUCLEAN', 'EBADMSG']);

/**
 * The bytes of a small record. A bad sector costs the record that lies on it, not the vault.
 * @throws RecordInvalid its place cannot be read; KeyMissing, and whatever else the vault throws
 */
export async function getRecord(vault: Vault, key: string): Promise<Uint8Array> {
  try {
    return await vault.get(key);
  } catch (error) {
    if (!(error instanceof VaultUnreachable) || !isBadPlace(error.cause)) throw error;
    throw new RecordInvalid(`${messageOf(error)}: the disk may be failing`, {
      cause: error,
      hint: 'look at dmesg; copy what can still be read to another disk, and compare with another copy of the vault',
    });
  }
}

function isBadPlace(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && BAD_PLACE.has(String(cause.code));
}
