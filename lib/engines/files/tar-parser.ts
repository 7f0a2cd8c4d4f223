import { createHash, type Hash, hash } from 'node:crypto';
import { CaptureIncomplete } from '#core/errors';
import {
  BLOCK,
  checksumIsRight,
  isZeroBlock,
  PAX_NEXT,
  type PaxRecords,
  parsePax,
  readEntry,
  sizeField,
  type TarEntry,
  typeByte,
} from '#engines/files/tar-header';

/** A pax header carries names, times, ACLs and extended attributes; nothing sensible is larger. */
const PAX_LIMIT = 8 * 1024 * 1024;
const ZEROS = Buffer.alloc(1024 * 1024);
/** Bytes of holes hashed before the caller gets control back. */
const HOLE_TURN = 64 * 1024 * 1024;

const padded = (size: number): number => Math.ceil(size / BLOCK) * BLOCK;

export interface TarEvents {
  /** Header read, nothing of its content yet. `start` = offset in the archive of its first block, a pax header's if it has one. May throw to refuse it. */
  begin?(entry: TarEntry, start: number): void;
  /** Content read to its end; `sha256` (hex, of the file as a reader gets it, holes as zeros) is null for all but files. */
  end(entry: TarEntry, sha256: string | null): void;
}

/**
 * Reads a pax archive as it flows by, in chunks of any size, and hashes each file's content. It holds one header, or
 * one pax header, at most. What it does not know it refuses: archives come from our own tar, or are not to be trusted.
 */
export class TarParser {
  readonly #events: TarEvents;
  readonly #hashing: boolean;
  /** Block that came in pieces. */
  readonly #block = Buffer.alloc(BLOCK);
  #blockFilled = 0;
  #pax: PaxRecords | null = null;
  #paxBytes: Buffer | null = null;
  #paxFilled = 0;
  #entry: TarEntry | null = null;
  #hash: Hash | null = null;
  /** Content bytes, then padding bytes, that are still to come for the entry or the pax header. */
  #left = 0;
  #padding = 0;
  #sparse: SparseMap | null = null;
  #zeroBlocks = 0;
  #bytes = 0;
  /** Offset of the first block of the member whose header is being read. */
  #start: number | null = null;
  #endMark: number | null = null;

  /** @param hashing false = contents are only counted, and `sha256` is always null */
  constructor(events: TarEvents, hashing = true) {
    this.#events = events;
    this.#hashing = hashing;
  }

  /** Bytes taken so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Offset up to which every byte belongs to a member that `begin` has been told of. */
  get decided(): number {
    return this.#endMark ?? this.#start ?? this.#bytes;
  }

  /**
   * Takes bytes of `chunk` from `from`. Returns how far it came: less than the whole when much of a hole was hashed and
   * the caller should let others run before it goes on.
   * @throws CaptureIncomplete not a pax archive, or a damaged one
   * @throws UnsafePath a member of a kind that Holdfast never writes
   */
  push(chunk: Buffer, from = 0): number {
    let at = from;
    while (at < chunk.length) {
      const before = at;
      if (this.#sparse?.holePending) {
        if (!this.#sparse.hashHole(this.#hash as Hash, HOLE_TURN)) break;
      } else if (this.#left > 0) at = this.#content(chunk, at);
      else if (this.#padding > 0) {
        const step = Math.min(this.#padding, chunk.length - at);
        this.#padding -= step;
        at += step;
      } else at = this.#header(chunk, at);
      this.#bytes += at - before;
      if (this.#left === 0 && this.#padding === 0 && !this.#sparse?.holePending) this.#finishContent();
    }
    return at;
  }

  /**
   * To be called when no bytes are left.
   * @throws CaptureIncomplete the archive does not end with its mark of two blocks of zeros
   */
  finish(): void {
    if (this.#entry !== null)
      throw new CaptureIncomplete(
        `the archive ends inside ${JSON.stringify(this.#entry.path)}, ${this.#left} bytes before its end`,
      );
    if (this.#zeroBlocks < 2 || this.#blockFilled !== 0)
      throw new CaptureIncomplete(`the archive of ${this.#bytes} bytes lacks the end mark that tar writes last`);
  }

  #header(chunk: Buffer, from: number): number {
    this.#start ??= this.#bytes;
    let block = chunk;
    let start = from;
    let next = from + BLOCK;
    if (this.#blockFilled > 0 || next > chunk.length) {
      const step = Math.min(BLOCK - this.#blockFilled, chunk.length - from);
      chunk.copy(this.#block, this.#blockFilled, from, from + step);
      this.#blockFilled += step;
      if (this.#blockFilled < BLOCK) return from + step;
      this.#blockFilled = 0;
      block = this.#block;
      start = 0;
      next = from + step;
    }
    if (block[start] === 0 && isZeroBlock(block, start)) {
      this.#endMark ??= this.#start;
      this.#zeroBlocks++;
      return next;
    }
    if (this.#zeroBlocks > 0) throw new CaptureIncomplete('the archive goes on after its end mark');
    if (!checksumIsRight(block, start))
      throw new CaptureIncomplete(`byte ${this.#bytes} of the archive should be a header and is not`);
    if (typeByte(block, start) === PAX_NEXT) {
      const size = sizeField(block, start);
      if (size === 0 || size > PAX_LIMIT || this.#pax)
        throw new CaptureIncomplete(`a pax header of ${size} bytes; up to ${PAX_LIMIT} are allowed, one a member`);
      this.#paxBytes = Buffer.allocUnsafe(size);
      this.#paxFilled = 0;
      this.#left = size;
      this.#padding = padded(size) - size;
      return next;
    }
    const entry = readEntry(block, start, this.#pax);
    this.#pax = null;
    const began = this.#start;
    this.#start = null;
    this.#events.begin?.(entry, began);
    this.#entry = entry;
    this.#left = entry.stored;
    this.#padding = padded(entry.stored) - entry.stored;
    if (entry.kind !== 'file' || !this.#hashing) return next;
    if (entry.sparse) {
      this.#hash = createHash('sha256');
      this.#sparse = new SparseMap(entry);
    } else if (next + entry.stored <= chunk.length && block === chunk) {
      // The whole file is here: one call, no stream of hashing.
      const sha256 = hash('sha256', chunk.subarray(next, next + entry.stored), 'hex');
      this.#left = 0;
      this.#entry = null;
      this.#events.end(entry, sha256);
      return next + entry.stored;
    } else this.#hash = createHash('sha256');
    return next;
  }

  #content(chunk: Buffer, from: number): number {
    const step = Math.min(this.#left, chunk.length - from);
    if (this.#paxBytes) {
      chunk.copy(this.#paxBytes, this.#paxFilled, from, from + step);
      this.#paxFilled += step;
    } else if (this.#sparse) {
      const taken = this.#sparse.take(chunk, from, step, this.#hash as Hash);
      this.#left -= taken;
      return from + taken;
    } else this.#hash?.update(chunk.subarray(from, from + step));
    this.#left -= step;
    return from + step;
  }

  #finishContent(): void {
    if (this.#paxBytes) {
      this.#pax = parsePax(this.#paxBytes);
      this.#paxBytes = null;
      return;
    }
    const entry = this.#entry;
    if (!entry) return;
    this.#sparse?.finish();
    const sha256 = this.#hash ? this.#hash.digest('hex') : null;
    this.#entry = null;
    this.#hash = null;
    this.#sparse = null;
    this.#events.end(entry, sha256);
  }
}

/**
 * Content of a sparse file of GNU format 1.0: decimal lines (count, then offset and length of each piece), padded to a
 * block, then the pieces. Memory grows with the number of pieces, not with the file.
 */
class SparseMap {
  readonly #entry: TarEntry;
  #number = '';
  #numbers: number[] = [];
  #expected = -1;
  #mapBytes = 0;
  #mapRead = false;
  #piece = 0;
  #pieceLeft = 0;
  /** Where in the file the hash stands. */
  #position = 0;
  #hole = 0;

  constructor(entry: TarEntry) {
    this.#entry = entry;
  }

  /** A hole comes next, and must be hashed before more is taken. */
  get holePending(): boolean {
    return this.#hole > 0;
  }

  /** Hashes up to `turn` bytes of the pending hole; true when it is through. */
  hashHole(into: Hash, turn: number): boolean {
    let budget = turn;
    while (this.#hole > 0 && budget > 0) {
      const step = Math.min(this.#hole, ZEROS.length);
      into.update(step === ZEROS.length ? ZEROS : ZEROS.subarray(0, step));
      this.#hole -= step;
      this.#position += step;
      budget -= step;
    }
    return this.#hole === 0;
  }

  /** Takes up to `length` bytes; returns how many it took. */
  take(chunk: Buffer, from: number, length: number, into: Hash): number {
    if (!this.#mapRead) return this.#takeMap(chunk, from, length);
    if (this.#pieceLeft === 0)
      throw new CaptureIncomplete(`the sparse file ${JSON.stringify(this.#entry.path)} has more bytes than its map`);
    const step = Math.min(length, this.#pieceLeft);
    into.update(chunk.subarray(from, from + step));
    this.#pieceLeft -= step;
    this.#position += step;
    if (this.#pieceLeft === 0) this.#nextPiece();
    return step;
  }

  finish(): void {
    if (!this.#mapRead || this.#pieceLeft > 0 || this.#position !== this.#entry.size)
      throw new CaptureIncomplete(
        `the sparse file ${JSON.stringify(this.#entry.path)} ends at byte ${this.#position} of ${this.#entry.size}`,
      );
  }

  #takeMap(chunk: Buffer, from: number, length: number): number {
    for (let index = from; index < from + length; index++) {
      this.#mapBytes++;
      const byte = chunk[index] as number;
      const complete = this.#expected >= 0 && this.#numbers.length === this.#expected;
      if (complete) {
        if (this.#mapBytes % BLOCK === 0) return this.#startPieces(index + 1 - from);
        continue;
      }
      if (byte >= 0x30 && byte <= 0x39 && this.#number.length < 20) this.#number += String.fromCharCode(byte);
      else if (byte === 0x0a && this.#number !== '') {
        const value = Number(this.#number);
        this.#number = '';
        if (this.#expected < 0) this.#expected = value * 2;
        else this.#numbers.push(value);
        if (this.#numbers.length === this.#expected && this.#mapBytes % BLOCK === 0)
          return this.#startPieces(index + 1 - from);
      } else throw new CaptureIncomplete(`the map of the sparse file ${JSON.stringify(this.#entry.path)} is damaged`);
    }
    return length;
  }

  #startPieces(taken: number): number {
    this.#mapRead = true;
    this.#nextPiece();
    return taken;
  }

  /** Skips empty pieces: tar writes one at the end of a file that ends in a hole. */
  #nextPiece(): void {
    const { size, path } = this.#entry;
    while (this.#piece < this.#numbers.length) {
      const offset = this.#numbers[this.#piece] as number;
      const length = this.#numbers[this.#piece + 1] as number;
      this.#piece += 2;
      if (offset < this.#position || offset + length > size)
        throw new CaptureIncomplete(`the map of the sparse file ${JSON.stringify(path)} is damaged`);
      if (length === 0) continue;
      this.#hole = offset - this.#position;
      this.#pieceLeft = length;
      return;
    }
    this.#hole = size - this.#position;
  }
}
