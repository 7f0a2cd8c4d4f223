/**
 * Sizes in a manifest that anomaly rules watch. Totals have plain names (`rows`, `keys`, `bytes`, `files`); parts are
 * `rows:public.events` and `keys:db0`. Only the largest parts that are not empty are listed, so that the manifest keeps
 * its limit; `unlisted` counts the others. So where `unlisted` is 0, a part without a measure is empty or gone.
 */
export const TOTALS = ['rows', 'keys', 'files', 'bytes'] as const;
export type Total = (typeof TOTALS)[number];

const PARTS_LISTED = 100;
/** Of all names together: they are the user's, up to 63 bytes of anything each, three times. */
const NAMES_LIMIT = 16 * 1024;

/** @param parts a count of null could not be read: it may be anything, so it is unlisted */
export function partMeasures(
  total: 'rows' | 'keys',
  parts: readonly { readonly name: string; readonly count: number | null }[],
): Record<string, number> {
  const filled = parts
    .filter((part): part is { name: string; count: number } => part.count !== null && part.count > 0)
    .sort((a, b) => b.count - a.count);
  const measures: Record<string, number> = {};
  let listed = 0;
  let length = 0;
  for (const { name, count } of filled.slice(0, PARTS_LISTED)) {
    length += JSON.stringify(name).length;
    if (length > NAMES_LIMIT) break;
    measures[`${total}:${name}`] = count;
    listed += 1;
  }
  const unread = parts.filter(({ count }) => count === null).length;
  return { ...measures, unlisted: filled.length - listed + unread };
}

/** `rows:public.events` → `public.events`; null for a total. */
export function partName(measure: string): string | null {
  return measure.startsWith('rows:') || measure.startsWith('keys:') ? measure.slice(5) : null;
}
