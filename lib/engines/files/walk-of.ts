import { realpath } from 'node:fs/promises';
import { SourceUnsupported } from '#core/errors';
import type { RunContext, SourceRef } from '#core/ports';
import { type ByteString, joined, shown } from '#engines/files/byte-string';
import { readMounts } from '#engines/files/mounts';
import { compilePattern } from '#engines/files/patterns';
import type { Roots } from '#engines/files/roots';
import { secretPatterns } from '#engines/files/sanitise';
import { Walk } from '#engines/files/walk';

/**
 * The walk over what a source lists, without what the plan leaves out and what must not be in a backup.
 * @throws PlanInvalid a pattern that is none
 * @throws SourceUnsupported a listed path inside a vault of the plan
 */
export async function walkOf(
  { name, settings, vaultDirectories }: SourceRef,
  roots: Roots,
  run: RunContext,
): Promise<Walk> {
  const { files } = settings;
  const skipInside = new Map<ByteString, string>();
  for (const mount of await readMounts()) if (mount.pseudo) skipInside.set(mount.path, `a ${mount.type} file system`);
  for (const vault of await realDirectories(vaultDirectories ?? [])) {
    refuseListed(vault, roots, name);
    skipInside.set(vault, "this plan's vault, which would back itself up");
  }
  return new Walk(roots, {
    exclude: (files?.exclude ?? []).map((pattern) => compilePattern(pattern, { what: 'files.exclude' })),
    secrets: files?.sanitise ? secretPatterns() : [],
    skipInside,
    skip: new Set([Buffer.from(run.scratch, 'utf8').toString('latin1')]),
  });
}

/** Without links on the way, as the walk names them. What is not there holds nothing yet. */
async function realDirectories(paths: readonly string[]): Promise<ByteString[]> {
  const found: ByteString[] = [];
  for (const path of paths) {
    try {
      found.push((await realpath(path, { encoding: 'buffer' })).toString('latin1'));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // One that may not be looked at will not be entered either.
      if (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'EACCES') throw error;
    }
  }
  return found;
}

function refuseListed(vault: ByteString, roots: Roots, source: string): void {
  for (const name of roots.names) {
    const path = joined(roots.base, name === '.' ? '' : name);
    if (path !== vault && !path.startsWith(`${vault}/`)) continue;
    throw new SourceUnsupported(
      `${shown(path)} ${path === vault ? 'is' : 'lies in'} a vault of this plan: its backups would hold one another`,
      { source, hint: 'take it off `paths`; a second copy of a vault is a further vault in `to:`' },
    );
  }
}
