import { KeyMissing, UnsafePath } from '#core/errors';

/** S3 allows 1024 bytes, a plan's prefix included. */
const KEY_LIMIT = 800;
/** Longest file name of every file system in use. */
const PART_LIMIT = 255;
const PART = /^[A-Za-z0-9._-]+$/;
const ALLOWED = 'want parts of [A-Za-z0-9._-] joined by /, none of them . or .., the first not hidden';

/** Also names a folder: `backups/events/daily`. */
export function checkKey(key: string): void {
  const parts = key.split('/');
  const wrong = parts.find((part) => !PART.test(part) || part === '.' || part === '..' || part.length > PART_LIMIT);
  if (wrong !== undefined || key.startsWith('.') || key.length > KEY_LIMIT)
    throw new UnsafePath(`key ${JSON.stringify(key.slice(0, 200))} is not usable in a vault: ${ALLOWED}`);
}

/** A prefix is the beginning of a key: `` (everything), `backups/`, `backups/events/daily/2026`. */
export function checkPrefix(prefix: string): void {
  if (prefix !== '') checkKey(prefix.endsWith('/') ? prefix.slice(0, -1) : prefix);
}

/** A file that a vault would list: foreign and hidden names (`lost+found`, temp files, probes) are not ours to tell. */
export function isListedName(name: string): boolean {
  return PART.test(name) && !name.startsWith('.');
}

export function isListedKey(key: string): boolean {
  return key.split('/').every(isListedName);
}

/** The ten digits a ledger entry's or lease's file name begins with, or null. */
export function leadingNumber(name: string): number | null {
  return /^\d{10}(?!\d)/.test(name) ? Number(name.slice(0, 10)) : null;
}

export function tenDigits(number: number): string {
  return String(number).padStart(10, '0');
}

export function keyMissing(key: string, url: string): KeyMissing {
  return new KeyMissing(`${key} is not in ${url}`, { hint: 'see what is there: holdfast list' });
}
