import { UnsafePath } from '#core/errors';
import { type ByteString, shown } from '#engines/files/byte-string';
import type { EntryKind } from '#engines/files/tar-header';

interface Member {
  readonly path: ByteString;
  readonly kind: EntryKind;
  readonly target: ByteString | null;
}

/**
 * Guards a tree that comes as a list: every name stays inside, and every name's directory came before it as a
 * directory, so nothing is ever written through a symbolic link that was planted earlier. Holds one path, not the list.
 */
export class TreeOrder {
  /** Directories that lead to where the list stands, each with the slash at its end. */
  readonly #ancestors: ByteString[] = [];

  /** @throws UnsafePath */
  check(member: Member): void {
    const { path, kind, target } = member;
    if (path === '.') {
      if (kind !== 'dir') throw unsafe(path, 'it names the target itself and is not a directory');
      return;
    }
    const wrong = wrongWith(path);
    if (wrong !== null) throw unsafe(path, wrong);
    while (this.#ancestors.length > 0 && !path.startsWith(this.#ancestors.at(-1) as string)) this.#ancestors.pop();
    const parent = path.slice(0, path.lastIndexOf('/') + 1);
    if (parent !== (this.#ancestors.at(-1) ?? ''))
      throw unsafe(path, 'its directory is not in the backup as a directory before it');
    if (kind === 'hard') {
      const wrongTarget = wrongWith(target as ByteString);
      if (wrongTarget !== null)
        throw unsafe(path, `it is a hard link to ${shown(target as ByteString)}, and ${wrongTarget}`);
    }
    if (kind === 'dir') this.#ancestors.push(`${path}/`);
  }
}

/** Why a path is not one inside the tree, or null. */
export function wrongWith(path: ByteString): string | null {
  if (path.startsWith('/')) return 'it begins at the root of the file system';
  if (path.includes('\0')) return 'it holds a zero byte';
  for (const part of path.split('/')) {
    if (part === '..') return 'it would leave the target by ".."';
    if (part === '' || part === '.') return 'it holds an empty or "." part';
  }
  return null;
}

function unsafe(path: ByteString, why: string): UnsafePath {
  return new UnsafePath(`the backup holds ${JSON.stringify(shown(path))}: ${why}`, {
    hint: 'Holdfast never writes such a backup: it was altered or made by something else; do not unpack it by other means',
  });
}
