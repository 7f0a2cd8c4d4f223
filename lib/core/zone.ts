/** Wall clocks of time zones, from the runtime's own tz database. Instants are whole Unix seconds. */

const formatters = new Map<string, Intl.DateTimeFormat>();

function formatterOf(zone: string): Intl.DateTimeFormat {
  let formatter = formatters.get(zone);
  if (!formatter) {
    formatter = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      era: 'short',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    formatters.set(zone, formatter);
  }
  return formatter;
}

/** Needs no formatter: the first one takes 13 ms, and brings 8 MiB of Intl's data into memory (I8). */
const UTC = 'UTC';

/** Whether the text is a zone of the tz database. Bare offsets (`+01:00`) are not: they know no summer time. */
export function isZone(text: string): boolean {
  if (text === UTC) return true;
  if (!/^[A-Za-z][A-Za-z0-9_+/-]*$/.test(text)) return false;
  try {
    formatterOf(text);
    return true;
  } catch (thrown) {
    if (thrown instanceof RangeError) return false;
    throw thrown;
  }
}

/**
 * What the zone's wall clock shows, as seconds since 1970-01-01 00:00 on that same clock (so `% 86400` is the time of
 * day, whatever the offset).
 */
export function wallSeconds(instant: number, zone: string): number {
  if (zone === UTC) return instant;
  const fields: Record<string, number> = {};
  for (const { type, value } of formatterOf(zone).formatToParts(instant * 1000)) fields[type] = Number(value);
  const { year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0 } = fields;
  return Date.UTC(year, month - 1, day, hour, minute, second) / 1000;
}

/** Seconds that the zone's wall clock is ahead of UTC at this instant. */
export function offsetAt(instant: number, zone: string): number {
  return wallSeconds(instant, zone) - instant;
}

/** The first instant in `(after, until]` that has another offset than `after`. They must differ. */
export function transitionWithin(after: number, until: number, zone: string): number {
  const before = offsetAt(after, zone);
  let low = after;
  let high = until;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (offsetAt(middle, zone) === before) low = middle;
    else high = middle;
  }
  return high;
}

/**
 * The first instant at which the wall clock shows this time. A time that a clock change skips is the moment of the
 * change: nobody's midnight is lost where summer time begins at midnight.
 */
export function firstInstantAt(wall: number, zone: string): number {
  const dayBefore = offsetAt(wall - 86_400, zone);
  const dayAfter = offsetAt(wall + 86_400, zone);
  const earlier = wall - Math.max(dayBefore, dayAfter);
  const later = wall - Math.min(dayBefore, dayAfter);
  if (wallSeconds(earlier, zone) === wall) return earlier;
  if (wallSeconds(later, zone) === wall) return later;
  return transitionWithin(earlier, later, zone);
}
