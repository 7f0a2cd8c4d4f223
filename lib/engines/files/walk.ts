import { type Dir, type Dirent, lstatSync, opendirSync } from 'node:fs';
import { type ByteString, fsPath, joined, NameList } from '#engines/files/byte-string';
import type { Pattern } from '#engines/files/patterns';
import type { RootNode, Roots } from '#engines/files/roots';

/** Items handed over at once. */
const BATCH = 1024;
/** Names of a directory that are held and sorted at once. A larger one is walked in sorted chunks of this many. */
const CHUNK = 16_384;

export interface WalkItem {
  /** Relative to the base. */
  readonly path: ByteString;
  /** A directory only on the way to a listed path: for its mode and owner, not for its content. */
  readonly way: boolean;
}

export interface WalkRules {
  readonly exclude: readonly Pattern[];
  /** Left out wherever they are, listed paths included. */
  readonly secrets: readonly Pattern[];
  /** Absolute; directories that are named but not entered, with the reason. */
  readonly skipInside: ReadonlyMap<ByteString, string>;
  /** Absolute; directories left out without a word. */
  readonly skip: ReadonlySet<ByteString>;
}

/** What the walk left out or could not see; complete when the walk has ended. */
export interface WalkFindings {
  readonly sockets: NameList;
  readonly secrets: NameList;
  readonly notEntered: NameList;
  /** Exists, and cannot be listed. The backup would silently lack what is in it. */
  readonly unreadable: NameList;
}

export function newFindings(): WalkFindings {
  return { sockets: new NameList(), secrets: new NameList(), notEntered: new NameList(), unreadable: new NameList() };
}

type Kind = 'dir' | 'socket' | 'other';

interface Child {
  readonly name: ByteString;
  readonly kind: Kind;
}

/**
 * Names of everything below the roots, each directory before what is in it, sorted by bytes within a directory, never
 * through a symbolic link. Memory: one chunk of names per level, however many files there are.
 */
export class Walk {
  readonly findings = newFindings();
  readonly #base: ByteString;
  readonly #tree: RootNode;
  readonly #rules: WalkRules;

  constructor(roots: Pick<Roots, 'base' | 'tree'>, rules: WalkRules) {
    this.#base = roots.base;
    this.#tree = roots.tree;
    this.#rules = rules;
  }

  /** In batches, never empty: a generator's turn for each of a million files would cost more than reading their names. */
  async *batches(): AsyncGenerator<readonly WalkItem[]> {
    if (this.#tree.listed) {
      yield [{ path: '.', way: false }];
      yield* this.#inside('.', '', this.#tree);
    } else yield* this.#towards('', this.#tree);
  }

  /** Goes only where listed paths lie. */
  async *#towards(path: ByteString, node: RootNode): AsyncGenerator<readonly WalkItem[]> {
    for (const [name, next] of [...node.below].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const inner = joined(path, name);
      if (!next.listed) {
        yield [{ path: inner, way: true }];
        yield* this.#towards(inner, next);
        continue;
      }
      const kind = this.#kindOf(inner);
      if (kind === null || !this.#wanted({ name, kind }, inner, null)) continue;
      yield [{ path: inner, way: false }];
      if (kind === 'dir' && this.#enters(inner)) yield* this.#inside(inner, '', next);
    }
  }

  /** @param below the directory relative to the listed path, where patterns begin */
  async *#inside(path: ByteString, below: ByteString, node: RootNode | undefined): AsyncGenerator<readonly WalkItem[]> {
    const folder = path === '.' ? this.#base : joined(this.#base, path);
    let directory: Dir;
    try {
      // Synchronous: a turn through the thread pool for each piece of names costs more than the names do.
      // As buffers: Node would put the replacement character for each byte that is not UTF-8.
      directory = opendirSync(fsPath(folder), { encoding: 'buffer' as BufferEncoding, bufferSize: 1024 });
    } catch (error) {
      if (!vanished(error)) this.findings.unreadable.add(path);
      return;
    }
    let open = true;
    try {
      while (open) {
        const { children, ended } = this.#chunk(directory, path);
        if (ended) {
          open = false;
          // Not held while its subdirectories are walked: a deep tree would use up the descriptors.
          directory.closeSync();
        }
        let batch: WalkItem[] = [];
        for (const child of children) {
          const inner = joined(path, child.name);
          const innerBelow = joined(below, child.name);
          const next = node?.below.get(child.name);
          const wanted = this.#wanted(child, inner, next?.listed ? null : innerBelow);
          if (wanted) batch.push({ path: inner, way: false });
          else if (next && child.kind === 'dir') batch.push({ path: inner, way: true });
          if (batch.length >= BATCH || (child.kind === 'dir' && batch.length > 0)) {
            yield batch;
            batch = [];
          }
          if (child.kind !== 'dir') continue;
          if (wanted && this.#enters(inner)) yield* this.#inside(inner, next?.listed ? '' : innerBelow, next);
          else if (!wanted && next) yield* this.#towards(inner, next);
        }
        if (batch.length > 0) yield batch;
      }
    } finally {
      if (open) directory.closeSync();
    }
  }

  #chunk(directory: Dir, path: ByteString): { readonly children: readonly Child[]; readonly ended: boolean } {
    const children: Child[] = [];
    let ended = false;
    try {
      while (children.length < CHUNK && !ended) {
        const entry = directory.readSync() as Dirent<Buffer> | null;
        if (entry === null) ended = true;
        else children.push({ name: entry.name.toString('latin1'), kind: kindOf(entry) });
      }
    } catch (error) {
      if (!vanished(error)) this.findings.unreadable.add(path);
      ended = true;
    }
    children.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    return { children, ended };
  }

  /** @param below relative to the listed path; null for a listed path itself, which `exclude` does not touch */
  #wanted(child: Child, path: ByteString, below: ByteString | null): boolean {
    const { exclude, secrets, skip } = this.#rules;
    const isDirectory = child.kind === 'dir';
    if (isDirectory && skip.has(joined(this.#base, path))) return false;
    if (secrets.some((pattern) => pattern.matches(child.name, isDirectory))) {
      this.findings.secrets.add(path);
      return false;
    }
    if (below !== null && exclude.some((pattern) => pattern.matches(below, isDirectory))) return false;
    if (child.kind === 'socket') {
      this.findings.sockets.add(path);
      return false;
    }
    return true;
  }

  #enters(path: ByteString): boolean {
    const { skipInside } = this.#rules;
    const reason = skipInside.size > 0 ? skipInside.get(joined(this.#base, path)) : undefined;
    if (reason !== undefined) this.findings.notEntered.add(`${path} (${reason})`);
    return reason === undefined;
  }

  /** Null = it cannot be looked at any more, which is noted. */
  #kindOf(path: ByteString): Kind | null {
    try {
      return kindOf(lstatSync(fsPath(joined(this.#base, path))));
    } catch {
      this.findings.unreadable.add(path);
      return null;
    }
  }
}

function kindOf(entry: { isDirectory(): boolean; isSocket(): boolean }): Kind {
  return entry.isDirectory() ? 'dir' : entry.isSocket() ? 'socket' : 'other';
}

function vanished(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  // ENOTDIR: another thing took the directory's name meanwhile.
  return code === 'ENOENT' || code === 'ENOTDIR';
}
