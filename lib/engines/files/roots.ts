import { lstat, realpath } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { messageOf, SourceRefused, SourceUnreachable, SourceUnsupported } from '#core/errors';
import { type ByteString, byteString, fsPath, joined, shown } from '#engines/files/byte-string';

/** A directory on the way to listed paths, or a listed path itself. */
export interface RootNode {
  readonly listed: boolean;
  readonly below: ReadonlyMap<ByteString, RootNode>;
}

/**
 * Where the listed paths lie. Names in the archive are relative to `base`, the deepest directory that holds them all:
 * `[/srv/app/data]` is archived as `data/…`, `[/etc/nginx, /srv/app]` as `etc/nginx/…` and `srv/app/…`. So two paths
 * never collide, nothing depends on where the plan lies, and a restore to `base` puts each back where it was.
 */
export interface Roots {
  readonly base: ByteString;
  readonly tree: RootNode;
  /** Names of the listed paths below `base`; `.` when `/` itself is listed. */
  readonly names: readonly ByteString[];
  readonly warnings: readonly string[];
}

/**
 * A listed path that is a symbolic link is taken with what it points to: else `paths: [current]` would be a good small
 * backup of one link.
 * @param paths absolute
 * @throws SourceUnreachable naming every listed path that is not there
 * @throws SourceRefused one that may not be looked at
 * @throws SourceUnsupported one that is a socket
 */
export async function findRoots(paths: readonly string[]): Promise<Roots> {
  const found = new Set<ByteString>();
  const missing: string[] = [];
  const warnings: string[] = [];
  for (const path of paths) {
    const absolute = resolve(path);
    try {
      const real = await realParent(absolute);
      const status = await lstat(fsPath(real));
      if (status.isSocket())
        throw new SourceUnsupported(`${path} is a socket`, { hint: 'list files, directories or links' });
      found.add(real);
      if (status.isSymbolicLink()) {
        const target = (await realpath(fsPath(real), { encoding: 'buffer' })).toString('latin1');
        found.add(target);
        warnings.push(`${path} is a symbolic link; what it points to, ${shown(target)}, is in the backup with it`);
      }
    } catch (error) {
      if (error instanceof SourceUnsupported) throw error;
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') missing.push(path);
      else
        throw new SourceRefused(`cannot look at ${path}: ${messageOf(error)}`, {
          hint: 'run as a user who may read it',
          cause: error,
        });
    }
  }
  if (missing.length > 0)
    throw new SourceUnreachable(`${missing.join(', ')}: no such file or directory`, {
      hint: 'mount or create it, or correct `paths` in the plan; relative paths start at the plan’s directory',
    });
  return rootsOf([...found], warnings);
}

/** @param paths absolute, without links on the way to them */
export function rootsOf(paths: readonly ByteString[], warnings: readonly string[] = []): Roots {
  const base = commonParent(paths);
  const tree = { listed: false, below: new Map() } as MutableNode;
  const names: ByteString[] = [];
  for (const path of paths) {
    const name = base === '/' ? path.slice(1) : path.slice(base.length + 1);
    names.push(name === '' ? '.' : name);
    let node = tree;
    for (const part of name.split('/').filter(Boolean)) {
      const next = node.below.get(part) ?? { listed: false, below: new Map() };
      node.below.set(part, next);
      node = next;
    }
    node.listed = true;
  }
  return { base, tree, names, warnings };
}

interface MutableNode extends RootNode {
  listed: boolean;
  readonly below: Map<ByteString, MutableNode>;
}

async function realParent(absolute: string): Promise<ByteString> {
  if (absolute === '/') return '/';
  const parent = (await realpath(dirname(absolute), { encoding: 'buffer' })).toString('latin1');
  return joined(parent, byteString(absolute.slice(absolute.lastIndexOf('/') + 1)));
}

function commonParent(paths: readonly ByteString[]): ByteString {
  const parents = paths.map((path) => path.split('/').slice(1, -1));
  const shared: string[] = [];
  for (let index = 0; ; index++) {
    const part = parents[0]?.[index];
    if (part === undefined || parents.some((parent) => parent[index] !== part)) break;
    shared.push(part);
  }
  return `/${shared.join('/')}`;
}
