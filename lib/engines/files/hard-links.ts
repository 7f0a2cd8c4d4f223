import { lstatSync } from 'node:fs';
import { type ByteString, fsPath, joined } from '#engines/files/byte-string';
import type { TarEntry } from '#engines/files/tar-header';

/** The first name of a file that has several. */
export interface LinkHead {
  /** Its member in the archive, once that was read; null while it was not, or when it vanished. */
  entry: TarEntry | null;
  /** Names still to come. */
  left: number;
}

/**
 * Finds names of the same file. tar could do this itself, but when it is given a list it remembers every file of it,
 * up to 190 bytes each (tried with tar 1.34); here only those with several names are remembered, until the last has come.
 */
export class HardLinks {
  readonly #base: ByteString;
  readonly #heads = new Map<string, LinkHead>();

  constructor(base: ByteString) {
    this.#base = base;
  }

  /** `first`: this is the first name of several. `again`: a later one. Null: an only name, or not a regular file, or gone. */
  look(path: ByteString): { readonly first: LinkHead } | { readonly again: LinkHead } | null {
    const place = fsPath(joined(this.#base, path));
    const status = lstatSync(place, { throwIfNoEntry: false });
    if (status === undefined || status.nlink < 2 || !status.isFile()) return null;
    // Numbers of inodes may be larger than a double can tell apart.
    const exact = lstatSync(place, { bigint: true, throwIfNoEntry: false });
    if (exact === undefined) return null;
    const key = `${exact.dev}:${exact.ino}`;
    const head = this.#heads.get(key);
    if (head === undefined) {
      const first = { entry: null, left: Number(exact.nlink) - 1 };
      this.#heads.set(key, first);
      return { first };
    }
    head.left--;
    if (head.left <= 0) this.#heads.delete(key);
    return { again: head };
  }
}
