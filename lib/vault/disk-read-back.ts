import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { READ_BYTES } from '#vault/disk-bytes';
import { stopIfAborted } from '#vault/source-stream';

/** How far the reader stays behind the writer. Less would send a spinning disk's head back and forth all the time. */
export const BEHIND_BYTES = 32 * 1024 * 1024;

/**
 * Reads a file back from its disk while it is still being written, so that comparing what is stored costs little time
 * at the end (I2). Past the machine's memory of it by O_DIRECT; where a file system has no such thing, `begin` gives
 * null and the file has to be read when it is complete.
 */
export class ReadBack {
  readonly #file: FileHandle;
  readonly #signal: AbortSignal;
  readonly #hash = createHash('sha256');
  /** Made when there is something to read. */
  #memory: readonly [Buffer, Buffer] | null = null;
  #bytes = 0;
  #written = 0;
  #reading: Promise<void> | null = null;
  #closed = false;

  private constructor(file: FileHandle, signal: AbortSignal) {
    this.#file = file;
    this.#signal = signal;
  }

  static async begin(path: string, signal: AbortSignal): Promise<ReadBack | null> {
    try {
      return new ReadBack(await open(path, constants.O_RDONLY | constants.O_DIRECT), signal);
    } catch (error) {
      if (isNotDirect(error)) return null;
      throw error;
    }
  }

  /** Tells how many bytes are written by now. Returns at once; what goes wrong is told by `finish`. */
  written(bytes: number): void {
    this.#written = bytes;
    if (this.#reading || bytes - this.#bytes < BEHIND_BYTES) return;
    this.#reading = this.#follow();
    this.#reading.catch(() => undefined);
  }

  /**
   * To be called when the file is complete and flushed: reads the rest.
   * @returns null when the file system turned out not to read directly: then it is to be read otherwise
   * @throws Cancelled
   */
  async finish(): Promise<{ readonly bytes: number; readonly sha256: string } | null> {
    try {
      await this.#reading;
      await this.#readTo(Number.POSITIVE_INFINITY);
      return { bytes: this.#bytes, sha256: this.#hash.digest('hex') };
    } catch (error) {
      if (isNotDirect(error)) return null;
      throw error;
    } finally {
      await this.close();
    }
  }

  /** Harmless when done before. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#reading?.catch(() => undefined);
    await this.#file.close();
  }

  async #follow(): Promise<void> {
    while (!this.#closed && this.#written - this.#bytes >= BEHIND_BYTES) {
      // A direct read would bring it to the disk too, but keep the writer out meanwhile.
      await this.#file.datasync();
      await this.#readTo(this.#bytes + BEHIND_BYTES);
    }
    this.#reading = null;
  }

  /** One piece is read while the one before is hashed. */
  async #readTo(end: number): Promise<void> {
    this.#memory ??= [pageAligned(READ_BYTES), pageAligned(READ_BYTES)];
    const [even, odd] = this.#memory;
    const read = (turn: number, at: number) => this.#file.read(turn % 2 === 0 ? even : odd, 0, READ_BYTES, at);
    let next = read(0, this.#bytes);
    for (let turn = 1; ; turn++) {
      const { bytesRead, buffer } = await next;
      const at = this.#bytes + bytesRead;
      stopIfAborted(this.#signal);
      // A short read is not yet the end; going on inside a block may not be direct any more, which `finish` tells.
      const ended = bytesRead < READ_BYTES && (bytesRead === 0 || at >= (await this.#file.stat()).size);
      const last = ended || at >= end || this.#closed;
      if (!last) next = read(turn, at);
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.#bytes = at;
      if (last) return;
    }
  }
}

/** What a file system without O_DIRECT answers, at opening or at the first read; or no address space for aligned memory. */
function isNotDirect(error: unknown): boolean {
  if (error instanceof RangeError) return true;
  const { code } = error as NodeJS.ErrnoException;
  return code === 'EINVAL' || code === 'ENOTSUP' || code === 'EOPNOTSUPP';
}

/** Not among Node's own types. */
declare const WebAssembly: {
  readonly Memory: new (size: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
};

/** O_DIRECT wants memory that begins at a page, which of all that JavaScript can allocate only WebAssembly's does. */
function pageAligned(bytes: number): Buffer {
  const pages = bytes / 65_536;
  return Buffer.from(new WebAssembly.Memory({ initial: pages, maximum: pages }).buffer);
}
