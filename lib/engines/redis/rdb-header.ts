/** What the head of an RDB file says of itself: its magic, and AUX fields up to the first thing that is not one. */
export interface RdbHeader {
  readonly magic: 'REDIS' | 'VALKEY';
  readonly version: number;
  readonly aux: ReadonlyMap<string, string>;
}

const AUX = 0xfa;

/** Enough bytes for every header seen; AUX fields beyond are ignored. */
export const HEADER_BYTES = 4096;

/** Null when it is not an RDB file. */
export function readRdbHeader(bytes: Uint8Array): RdbHeader | null {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = /^(REDIS|VALKEY)(\d{3,4})$/.exec(buffer.toString('latin1', 0, 9));
  if (!start) return null;
  const aux = new Map<string, string>();
  let at = 9;
  while (buffer[at] === AUX) {
    const name = readText(buffer, at + 1);
    const value = name && readText(buffer, name.next);
    if (!name || !value) break;
    aux.set(name.text, value.text);
    at = value.next;
  }
  return { magic: start[1] as RdbHeader['magic'], version: Number(start[2]), aux };
}

/** `SELECTDB` is followed by `RESIZEDB`, keys and expires: the writer's own count of a database. Null when it is not there. */
export function readResize(bytes: Uint8Array): { readonly keys: number; readonly expires: number } | null {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer[0] !== 0xfb) return null;
  const keys = readLength(buffer, 1);
  const expires = keys && readLength(buffer, keys.next);
  return keys && expires ? { keys: keys.value, expires: expires.value } : null;
}

function readText(buffer: Buffer, at: number): { text: string; next: number } | null {
  const first = buffer[at];
  if (first === undefined) return null;
  if (first >> 6 === 3) {
    const size = [1, 2, 4][first & 0x3f];
    if (size === undefined || at + 1 + size > buffer.length) return null;
    return { text: String(buffer.readIntLE(at + 1, size)), next: at + 1 + size };
  }
  const length = readLength(buffer, at);
  if (!length || length.next + length.value > buffer.length) return null;
  return { text: buffer.toString('utf8', length.next, length.next + length.value), next: length.next + length.value };
}

function readLength(buffer: Buffer, at: number): { value: number; next: number } | null {
  const first = buffer[at];
  if (first === undefined) return null;
  if (first >> 6 === 0) return { value: first, next: at + 1 };
  if (first >> 6 === 1) {
    const second = buffer[at + 1];
    return second === undefined ? null : { value: ((first & 0x3f) << 8) | second, next: at + 2 };
  }
  if (first === 0x80) return at + 5 <= buffer.length ? { value: buffer.readUInt32BE(at + 1), next: at + 5 } : null;
  if (first === 0x81)
    return at + 9 <= buffer.length ? { value: Number(buffer.readBigUInt64BE(at + 1)), next: at + 9 } : null;
  return null;
}
