import { type BigIntStats, lstatSync } from 'node:fs';
import { CaptureIncomplete } from '#core/errors';
import { type ByteString, fsPath, joined, shown } from '#engines/files/byte-string';
import type { TarEntry } from '#engines/files/tar-header';

/** Bytes; with its end, Linux's PATH_MAX. */
export const LONGEST_PATH = 4095;

/** The first name of a file that has several. */
export interface LinkHead {
  readonly path: ByteString;
  /** The file when its first name was given to tar. */
  readonly seen: Pick<BigIntStats, 'dev' | 'ino' | 'size' | 'mtimeNs'>;
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

  /**
   * `first`: this is the first name of several. `again`: a later one. Null: an only name, or not a regular file, or gone.
   * @throws CaptureIncomplete a path that no system call takes
   */
  look(path: ByteString): { readonly first: LinkHead } | { readonly again: LinkHead } | null {
    const place = joined(this.#base, path);
    if (place.length > LONGEST_PATH)
      throw new CaptureIncomplete(
        `the path of ${shown(path.slice(0, 60))}… has ${place.length} bytes; a path may have ${LONGEST_PATH}`,
        { hint: 'move it further up, or name it under `exclude`' },
      );
    const status = lstatSync(fsPath(place), { throwIfNoEntry: false });
    if (status === undefined || status.nlink < 2 || !status.isFile()) return null;
    // Numbers of inodes may be larger than a double can tell apart.
    const exact = lstatSync(fsPath(place), { bigint: true, throwIfNoEntry: false });
    if (exact === undefined) return null;
    const key = `${exact.dev}:${exact.ino}`;
    const head = this.#heads.get(key);
    if (head === undefined) {
      const { dev, ino, size, mtimeNs } = exact;
      const first = { path, seen: { dev, ino, size, mtimeNs }, entry: null, left: Number(exact.nlink) - 1 };
      this.#heads.set(key, first);
      return { first };
    }
    head.left--;
    if (head.left <= 0) this.#heads.delete(key);
    return { again: head };
  }
  /**
   * Whether the head's member is of the file that its other names have. tar comes to a name long after it was looked at,
   * and what replaces a file by renaming gives its name to another one: the other names still have the old content.
   */
  isWhatWasRead({ path, seen, entry }: LinkHead): boolean {
    if (entry?.kind !== 'file') return false;
    if (BigInt(entry.size) === seen.size && nanoseconds(entry.mtime) === seen.mtimeNs) return true;
    const now = lstatSync(fsPath(joined(this.#base, path)), { bigint: true, throwIfNoEntry: false });
    // Written to in place: that is still the one file of all these names.
    return now?.dev === seen.dev && now.ino === seen.ino;
  }
}

/** Of tar's `-0.5`, `1700000000.123456789`. */
function nanoseconds(time: string): bigint {
  const [, sign, seconds = '0', fraction = ''] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(time) ?? [];
  const value = BigInt(seconds) * 1_000_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, '0'));
  return sign === '-' ? -value : value;
}
