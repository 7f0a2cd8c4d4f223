import * as z from 'zod';

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800, mo: 30 * 86_400, y: 365 * 86_400 } as const;
type Unit = keyof typeof SECONDS;

/** `5m 1h 7d 4w 12mo 7y forever`. A month counts 30 days, a year 365. */
export interface Duration {
  /** As it stands in the plan. */
  readonly text: string;
  /** `Number.POSITIVE_INFINITY` for `forever`. */
  readonly seconds: number;
}

export const DURATION_ALLOWED = 'a duration such as 5m, 1h, 7d, 4w, 12mo, 7y or forever';
/** No zero: the JSON Schema knows this pattern alone. */
const PATTERN = /^(?!0+[a-z])(\d{1,6})(s|m|h|d|w|mo|y)$/;

/** Null when the text is no duration. */
export function parseDuration(text: string): Duration | null {
  if (text === 'forever') return { text, seconds: Number.POSITIVE_INFINITY };
  const found = PATTERN.exec(text);
  if (!found) return null;
  return { text, seconds: Number(found[1]) * SECONDS[found[2] as Unit] };
}

/** A plan field that holds a duration; stays text in the JSON Schema. */
export const durationField = z
  .string({ error: `want ${DURATION_ALLOWED}` })
  .refine((text) => parseDuration(text) !== null, { error: `want ${DURATION_ALLOWED}` })
  .meta({ description: DURATION_ALLOWED, pattern: `${PATTERN.source}|^forever$` })
  .transform((text): Duration => parseDuration(text) as Duration);

/** How long something took, for people: under ten seconds to a tenth, `0.4s`; else as `formatSeconds`. */
export function formatTook(seconds: number): string {
  const tenths = Math.max(0, Math.round(seconds * 10) / 10);
  return tenths < 10 ? `${tenths.toFixed(1)}s` : formatSeconds(seconds);
}

/** The largest two units, for people: `2d 3h`, `45s`. */
export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return 'forever';
  const whole = Math.max(0, Math.round(seconds));
  const parts = (
    [
      ['d', 86_400],
      ['h', 3600],
      ['m', 60],
      ['s', 1],
    ] as const
  ).map(([unit, size], index, units) => {
    const above = index === 0 ? Number.POSITIVE_INFINITY : (units[index - 1]?.[1] ?? 1);
    return { unit, count: Math.floor((whole % above) / size) };
  });
  const first = parts.findIndex((part) => part.count > 0);
  if (first < 0) return '0s';
  return parts
    .slice(first, first + 2)
    .filter((part) => part.count > 0)
    .map((part) => `${part.count}${part.unit}`)
    .join(' ');
}
