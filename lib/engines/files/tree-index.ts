import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { RecordInvalid } from '#core/errors';
import { type ByteString, byteString, shown, utf8Of } from '#engines/files/byte-string';
import type { EntryKind, TarEntry } from '#engines/files/tar-header';

/**
 * `index.jsonl`: one line for each member of the archive, in its order. Names that are not UTF-8 stand as `path64` and
 * `target64`, base64 of their bytes. What is false or null is left out.
 */
export interface IndexEntry {
  readonly path: ByteString;
  readonly kind: EntryKind;
  readonly mode: number;
  /** Seconds since 1970 with up to nine decimals, as text. */
  readonly mtime: string;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly sha256: string | null;
  readonly target: ByteString | null;
  readonly device: readonly [number, number] | null;
  readonly sparse: boolean;
  /** Only on the way to a listed path. */
  readonly way: boolean;
  /** It was written to while it was read: what is in the archive may be a mix that never was. */
  readonly changed: boolean;
}

export function indexEntry(entry: TarEntry, sha256: string | null, way: boolean): IndexEntry {
  return {
    path: entry.path,
    kind: entry.kind,
    mode: entry.mode,
    mtime: entry.mtime,
    uid: entry.uid,
    gid: entry.gid,
    size: entry.size,
    sha256,
    target: entry.target,
    device: entry.device,
    sparse: entry.sparse,
    way,
    changed: false,
  };
}

/**
 * A line without its end, in two parts. The first counts as content: not times, so that a touched file is not a changed
 * one; not how it is stored. Put together by hand: with a million entries, objects for JSON would be most of the garbage.
 */
function encodeParts(entry: IndexEntry): readonly [content: string, rest: string] {
  const { kind, mode, uid, gid, size, sha256, target, device } = entry;
  let content = `{${named('path', entry.path)},"kind":"${kind}","mode":"${mode.toString(8).padStart(4, '0')}","uid":${uid},"gid":${gid}`;
  if (kind === 'file') content += `,"size":${size},"sha256":"${sha256}"`;
  if (target !== null) content += `,${named('target', target)}`;
  if (device !== null) content += `,"device":[${device[0]},${device[1]}]`;
  let rest = `,"mtime":"${entry.mtime}"`;
  if (entry.sparse) rest += ',"sparse":true';
  if (entry.way) rest += ',"way":true';
  if (entry.changed) rest += ',"changed":true';
  return [content, `${rest}}`];
}

/** One line of `index.jsonl`, without its end. */
export function encodeEntry(entry: IndexEntry): string {
  return encodeParts(entry).join('');
}

function named(key: 'path' | 'target', name: ByteString): string {
  const text = utf8Of(name);
  return text === null ? `"${key}64":"${base64(name)}"` : `"${key}":${JSON.stringify(text)}`;
}

const KINDS: ReadonlySet<unknown> = new Set<EntryKind>(['file', 'dir', 'link', 'hard', 'fifo', 'char', 'block']);

/** @throws RecordInvalid not a line of an index */
export function decodeEntry(line: string): IndexEntry {
  const wrong = (): RecordInvalid => new RecordInvalid(`not a line of a files index: ${line.slice(0, 200)}`);
  let raw: Record<string, unknown>;
  try {
    raw = JSON.parse(line) as Record<string, unknown>;
  } catch {
    throw wrong();
  }
  const path = nameFrom(raw['path'], raw['path64']);
  const target = nameFrom(raw['target'], raw['target64']);
  const { kind, mode, mtime, uid, gid, device } = raw;
  const size = raw['size'] ?? 0;
  const sha256 = raw['sha256'] ?? null;
  if (
    path === null ||
    path === '' ||
    !KINDS.has(kind) ||
    typeof mode !== 'string' ||
    typeof mtime !== 'string' ||
    !Number.isSafeInteger(uid) ||
    !Number.isSafeInteger(gid) ||
    !Number.isSafeInteger(size) ||
    (kind === 'file') !== (typeof sha256 === 'string') ||
    (kind === 'link' || kind === 'hard') !== (target !== null)
  )
    throw wrong();
  return {
    path,
    kind: kind as EntryKind,
    mode: Number.parseInt(mode, 8),
    mtime,
    uid: uid as number,
    gid: gid as number,
    size: size as number,
    sha256: sha256 as string | null,
    target,
    device: Array.isArray(device) ? [Number(device[0]), Number(device[1])] : null,
    sparse: raw['sparse'] === true,
    way: raw['way'] === true,
    changed: raw['changed'] === true,
  };
}

export interface IndexTotals {
  readonly entries: number;
  /** Names of regular files, hard links included. */
  readonly files: number;
  /** Sum of their sizes, holes included, each hard-linked file once. */
  readonly bytes: number;
  readonly devices: number;
  /** Of the index's text. */
  readonly sha256: string;
  /** Of paths, kinds, modes, owners, sizes, contents and link targets, without times. */
  readonly content: string;
}

const PIECE = 64 * 1024;

/** Writes an index to a file of its own as the entries come. */
export class IndexWriter {
  readonly #descriptor: number;
  readonly #hash = createHash('sha256');
  readonly #content = createHash('sha256');
  readonly #text = new TextPieces((bytes) => {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
    this.#hash.update(bytes);
  });
  readonly #contentText = new TextPieces((bytes) => {
    this.#content.update(bytes);
  });
  #entries = 0;
  #files = 0;
  #bytes = 0;
  #devices = 0;
  #open = true;

  /** @param path must not exist */
  constructor(path: string) {
    this.#descriptor = openSync(path, 'wx', 0o600);
  }

  add(entry: IndexEntry): void {
    this.#entries++;
    if (entry.kind === 'file' || entry.kind === 'hard') this.#files++;
    if (entry.kind === 'char' || entry.kind === 'block') this.#devices++;
    this.#bytes += entry.size;
    const [content, rest] = encodeParts(entry);
    this.#contentText.add(content);
    this.#contentText.add('\n');
    this.#text.add(content);
    this.#text.add(rest);
    this.#text.add('\n');
  }

  finish(): IndexTotals {
    this.#text.flush();
    this.#contentText.flush();
    this.close();
    return {
      entries: this.#entries,
      files: this.#files,
      bytes: this.#bytes,
      devices: this.#devices,
      sha256: this.#hash.digest('hex'),
      content: this.#content.digest('hex'),
    };
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#descriptor);
  }
}

/** Gathers text in one buffer that is used again and again. */
class TextPieces {
  readonly #take: (bytes: Buffer) => void;
  readonly #buffer = Buffer.allocUnsafe(PIECE);
  #filled = 0;

  constructor(take: (bytes: Buffer) => void) {
    this.#take = take;
  }

  add(text: string): void {
    // A character is at most three bytes of UTF-8 for each of its UTF-16 units.
    if (this.#filled + text.length * 3 > PIECE) this.flush();
    if (text.length * 3 > PIECE) this.#take(Buffer.from(text, 'utf8'));
    else this.#filled += this.#buffer.write(text, this.#filled, 'utf8');
  }

  flush(): void {
    if (this.#filled > 0) this.#take(this.#buffer.subarray(0, this.#filled));
    this.#filled = 0;
  }
}

/**
 * Entries of an index file, a bounded piece of it in memory at a time.
 * @throws RecordInvalid a line that is none
 */
export function* readIndex(path: string): Generator<IndexEntry> {
  const descriptor = openSync(path, 'r');
  try {
    const piece = Buffer.allocUnsafe(PIECE);
    let rest = Buffer.alloc(0);
    for (;;) {
      const length = readSync(descriptor, piece, 0, piece.length, null);
      if (length === 0) break;
      const bytes = rest.length === 0 ? piece.subarray(0, length) : Buffer.concat([rest, piece.subarray(0, length)]);
      let from = 0;
      for (let to = bytes.indexOf(0x0a); to >= 0; to = bytes.indexOf(0x0a, from)) {
        yield decodeEntry(bytes.toString('utf8', from, to));
        from = to + 1;
      }
      rest = Buffer.from(bytes.subarray(from));
    }
    if (rest.length > 0)
      throw new RecordInvalid(`the files index ends inside a line: ${shown(rest.toString('latin1', 0, 100))}`);
  } finally {
    closeSync(descriptor);
  }
}

function base64(name: ByteString): string {
  return Buffer.from(name, 'latin1').toString('base64');
}

function nameFrom(text: unknown, encoded: unknown): ByteString | null {
  if (typeof text === 'string') return byteString(text);
  if (typeof encoded === 'string') return Buffer.from(encoded, 'base64').toString('latin1');
  return null;
}
