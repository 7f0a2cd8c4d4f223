import { UsageError } from '#core/errors';
import { backupFolder, isoTime, type Manifest, manifestKey } from '#core/manifest';
import type { Clock, Vault } from '#core/ports';

/** Signatures of S3 end after seven days, whatever is asked for. */
const LONGEST_SECONDS = 7 * 86_400;

export interface SignedLink {
  /** Below the vault's root. */
  readonly key: string;
  readonly url: string;
}

export interface SignedLinks {
  readonly links: readonly SignedLink[];
  /** After it they open nothing. */
  readonly until: string;
}

/**
 * A link to each volume of a backup and to its manifest: all that a restore with stock tools needs, for somebody without
 * rights in the bucket. Whoever has a link can read the object; what is sealed stays sealed.
 * @throws UsageError the vault is a directory, or the time is longer than any signature lasts
 */
export async function signedLinks(
  vault: Vault,
  manifest: Manifest,
  seconds: number,
  clock: Clock,
): Promise<SignedLinks> {
  if (!(seconds <= LONGEST_SECONDS))
    throw new UsageError('--url: got more than 7d, want at most 7d: no signature lasts longer', {
      hint: 'sign new links when these have ended',
    });
  if (!vault.link)
    throw new UsageError(`vault ${vault.name} at ${vault.url} signs no links: it is a directory`, {
      source: manifest.source,
      hint: `take a bucket's copy with --from, or hand over the folder ${backupFolder(manifest)}`,
    });
  const until = isoTime(new Date(clock.now().getTime() + seconds * 1000));
  const links: SignedLink[] = [];
  const volumes = manifest.artifacts.flatMap((artifact) => artifact.volumes);
  for (const key of [...volumes.map(({ name }) => `${backupFolder(manifest)}/${name}`), manifestKey(manifest)])
    links.push({ key, url: await vault.link(key, seconds) });
  return { links, until };
}
