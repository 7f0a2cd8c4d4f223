import type { Difference } from '#core/ports';
import type { Fingerprint } from '#engines/redis/fingerprint';
import type { DatabaseCount } from '#engines/redis/info';
import type { RdbCheck } from '#engines/redis/rdb-file';

/** What a server that loaded the file must hold. */
export interface Expected {
  readonly keys: number;
  /** Null when the RDB does not count its databases; the total must do then. */
  readonly databases: readonly DatabaseCount[] | null;
  readonly highestDatabase: number;
}

/** By the fingerprint; by redis-check-rdb of today when the one of the capture could not read the file. */
export function expectedOf(fingerprint: Fingerprint, check: RdbCheck): Expected {
  const databases = fingerprint.keys ? fingerprint.keys.databases : check.databases;
  return {
    keys: fingerprint.keys ? fingerprint.keys.read : check.keys,
    databases,
    // Without the file's own word, room for all that a server usually allows.
    highestDatabase: databases ? Math.max(0, ...databases.map(({ index }) => index)) : 1023,
  };
}

/** @param loaded keys the server took from the file, those it dropped as over included */
export function countDifferences(
  expected: Expected,
  loaded: number,
  found: readonly DatabaseCount[],
): readonly Difference[] {
  const differences: Difference[] = [];
  if (loaded !== expected.keys) differences.push(`keys: ${expected.keys} in the RDB, ${loaded} loaded`);
  const total = found.reduce((sum, { keys }) => sum + keys, 0);
  if (!expected.databases) {
    if (total !== expected.keys) differences.push(`keys: ${expected.keys} captured, restored ${total}`);
    return differences;
  }
  const indexes = new Set([...expected.databases, ...found].map(({ index }) => index));
  for (const index of [...indexes].sort((a, b) => a - b)) {
    const want = expected.databases.find((one) => one.index === index);
    const got = found.find((one) => one.index === index);
    if ((want?.keys ?? 0) !== (got?.keys ?? 0))
      differences.push(`db ${index}: ${want?.keys ?? 0} keys, restored ${got?.keys ?? 0}`);
    if ((want?.expires ?? 0) !== (got?.expires ?? 0))
      differences.push(`db ${index}: ${want?.expires ?? 0} keys that expire, restored ${got?.expires ?? 0}`);
  }
  return differences;
}
