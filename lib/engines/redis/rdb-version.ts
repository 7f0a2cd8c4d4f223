/**
 * The RDB version a server of this flavour and version writes and, at most, reads; null when not known here.
 * Valkey 9 left Redis's numbers: it reads up to 11 and its own from 80 on.
 */
export function rdbVersionOf(flavour: 'redis' | 'valkey', version: string): number | null {
  const [major = Number.NaN, minor = 0] = version.split('.').map(Number);
  if (Number.isNaN(major)) return null;
  const at = major + minor / 100;
  if (flavour === 'valkey') return at >= 9 ? 80 : 11;
  if (at >= 8.06) return 13;
  if (at >= 7.04) return 12;
  if (at >= 7.02) return 11;
  if (at >= 7) return 10;
  return at >= 5 ? 9 : null;
}

/** Whether a file of one server is known not to load in the other; null when nothing is known. */
export function cannotLoad(
  writer: { readonly flavour: 'redis' | 'valkey'; readonly version: string },
  reader: { readonly flavour: 'redis' | 'valkey'; readonly version: string },
): boolean | null {
  const written = rdbVersionOf(writer.flavour, writer.version);
  const read = rdbVersionOf(reader.flavour, reader.version);
  if (written === null || read === null) return null;
  // From 12 to 79 the two projects' numbers mean different things.
  if (reader.flavour === 'valkey' && writer.flavour === 'redis') return written >= 12;
  return written > read;
}
