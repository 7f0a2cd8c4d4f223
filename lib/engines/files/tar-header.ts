import { CaptureIncomplete, UnsafePath } from '#core/errors';
import type { ByteString } from '#engines/files/byte-string';

export type EntryKind = 'file' | 'dir' | 'link' | 'hard' | 'fifo' | 'char' | 'block';

/** One member of the archive, its pax records already put in. */
export interface TarEntry {
  /** Without a slash at the end. */
  readonly path: ByteString;
  readonly kind: EntryKind;
  /** The twelve permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970, decimal, as tar writes it: `-0.5`, `1700000000.123456789`. A number would lose nanoseconds. */
  readonly mtime: string;
  /** Bytes a reader of the file gets, holes included. 0 for everything but files. */
  readonly size: number;
  /** Bytes of it in the archive, with the map of a sparse file. */
  readonly stored: number;
  readonly sparse: boolean;
  /** Of a symbolic link, or of a hard link the member it is linked to. */
  readonly target: ByteString | null;
  /** Device numbers. */
  readonly device: readonly [number, number] | null;
}

export const BLOCK = 512;

const KINDS: Readonly<Record<number, EntryKind>> = {
  0: 'file',
  48: 'file',
  49: 'hard',
  50: 'link',
  51: 'char',
  52: 'block',
  53: 'dir',
  54: 'fifo',
};

/** Type byte of a pax header for the next member. */
export const PAX_NEXT = 0x78;

/** Records of one pax header, as byte strings. */
export type PaxRecords = Map<string, string>;

/**
 * @param bytes `17 path=some/name\n…`
 * @throws CaptureIncomplete a record's length does not fit
 */
export function parsePax(bytes: Buffer): PaxRecords {
  const records: PaxRecords = new Map();
  let at = 0;
  while (at < bytes.length) {
    let length = 0;
    let cursor = at;
    while (cursor < bytes.length) {
      const digit = (bytes[cursor] as number) - 0x30;
      if (digit < 0 || digit > 9) break;
      length = length * 10 + digit;
      cursor++;
    }
    const end = at + length;
    const equals = bytes.indexOf(0x3d, cursor);
    if (bytes[cursor] !== 0x20 || equals < 0 || equals >= end || end > bytes.length || bytes[end - 1] !== 0x0a)
      throw new CaptureIncomplete(`a pax record of the archive is damaged at its byte ${at}`);
    records.set(bytes.toString('latin1', cursor + 1, equals), bytes.toString('latin1', equals + 1, end - 1));
    at = end;
  }
  return records;
}

/** True for the block of zeros that ends an archive. */
export function isZeroBlock(bytes: Buffer, at: number): boolean {
  for (let index = at; index < at + BLOCK; index += 4) if (bytes.readUInt32LE(index) !== 0) return false;
  return true;
}

/** The header's own checksum: a shifted or foreign block is not taken for a header. */
export function checksumIsRight(block: Buffer, at: number): boolean {
  let sum = 8 * 0x20;
  for (let index = at; index < at + 148; index++) sum += block[index] as number;
  for (let index = at + 156; index < at + BLOCK; index++) sum += block[index] as number;
  return sum === number(block, at + 148, 8);
}

export function typeByte(block: Buffer, at: number): number {
  return block[at + 156] as number;
}

/** Size field alone, for pax headers. */
export function sizeField(block: Buffer, at: number): number {
  return number(block, at + 124, 12);
}

/**
 * @param pax records that came before this header, or null
 * @throws UnsafePath a kind of member that Holdfast never writes
 */
export function readEntry(block: Buffer, at: number, pax: PaxRecords | null): TarEntry {
  const type = typeByte(block, at);
  const kind = KINDS[type];
  if (kind === undefined)
    throw new UnsafePath(
      `the archive holds a member of type ${JSON.stringify(String.fromCharCode(type))}; files, directories, links and devices are allowed`,
      { hint: 'this archive was not made by Holdfast, or was altered; do not unpack it' },
    );
  const sparse = pax?.has('GNU.sparse.major') ?? false;
  if (sparse && pax?.get('GNU.sparse.major') !== '1')
    throw new UnsafePath(`the archive holds a sparse file of format ${pax?.get('GNU.sparse.major')}; 1 is allowed`);
  const stored = kind === 'file' ? (whole(pax?.get('size')) ?? number(block, at + 124, 12)) : 0;
  const name = pax?.get('GNU.sparse.name') ?? pax?.get('path') ?? ustarName(block, at);
  return {
    path: name.length > 1 && name.endsWith('/') ? name.slice(0, -1) : name,
    kind,
    mode: number(block, at + 100, 8) & 0o7777,
    uid: whole(pax?.get('uid')) ?? number(block, at + 108, 8),
    gid: whole(pax?.get('gid')) ?? number(block, at + 116, 8),
    mtime: pax?.get('mtime') ?? String(number(block, at + 136, 12)),
    size: sparse ? (whole(pax?.get('GNU.sparse.realsize')) ?? 0) : stored,
    stored,
    sparse,
    target: kind === 'link' || kind === 'hard' ? (pax?.get('linkpath') ?? text(block, at + 157, 100)) : null,
    device: kind === 'char' || kind === 'block' ? [number(block, at + 329, 8), number(block, at + 337, 8)] : null,
  };
}

function ustarName(block: Buffer, at: number): ByteString {
  const name = text(block, at, 100);
  const prefix = text(block, at + 345, 155);
  return prefix === '' ? name : `${prefix}/${name}`;
}

function text(block: Buffer, at: number, length: number): ByteString {
  let end = at;
  while (end < at + length && block[end] !== 0) end++;
  return block.toString('latin1', at, end);
}

/** Octal text, or base-256 where the first bit is set. */
function number(block: Buffer, at: number, length: number): number {
  const first = block[at] as number;
  if (first & 0x80) {
    let value = first & 0x40 ? first - 0x100 : first & 0x7f;
    for (let index = at + 1; index < at + length; index++) value = value * 256 + (block[index] as number);
    return value;
  }
  let value = 0;
  for (let index = at; index < at + length; index++) {
    const digit = (block[index] as number) - 0x30;
    if (digit >= 0 && digit <= 7) value = value * 8 + digit;
    else if (digit !== -0x10 || value !== 0) break;
  }
  return value;
}

function whole(value: string | undefined): number | null {
  if (value === undefined) return null;
  const parsed = Number(value);
  if (!Number.isSafeInteger(parsed)) throw new CaptureIncomplete(`the archive says a size or owner of ${value}`);
  return parsed;
}
