import * as z from 'zod';

const PATTERN = /^(\d+(?:\.\d+)?)\s?(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$/;
const BYTES = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
} as const;

export const SIZE_ALLOWED = 'a size such as 500GB, 2TB or 64MiB';

/** Bytes, or null when the text is no size. */
export function parseSize(text: string): number | null {
  const found = PATTERN.exec(text);
  return found ? Math.round(Number(found[1]) * BYTES[found[2] as keyof typeof BYTES]) : null;
}

/** A plan field that holds a size, given as bytes. */
export const sizeField = z
  .string({ error: `want ${SIZE_ALLOWED}` })
  .refine((text) => parseSize(text) !== null, { error: `want ${SIZE_ALLOWED}` })
  .meta({ description: SIZE_ALLOWED, pattern: PATTERN.source })
  .transform((text): number => parseSize(text) as number);

/** For people, in decimal units: `1.2 GB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  for (const unit of ['B', 'KB', 'MB', 'GB'] as const) {
    if (value < 1000) return `${unit === 'B' ? value : value.toFixed(value < 10 ? 1 : 0)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} TB`;
}
