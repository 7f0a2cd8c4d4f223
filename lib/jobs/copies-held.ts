import type { CopyRoute } from '#core/copy-rules';
import { HoldfastError, KeyMissing, RecordInvalid } from '#core/errors';
import { backupId } from '#core/manifest';
import type { Vault } from '#core/ports';
import { type BackupPlace, manifestAt } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import { readVaultIdentity } from '#vault/identity';
import { entryBefore, readLedger } from '#vault/ledger-store';

/** What each vault holds of a source, as far as copies care. */

const READ_AT_ONCE = 16;

/** What a listing tells of a committed backup. */
export interface Held {
  readonly tier: string;
  objects: number;
  bytes: number;
  committed: boolean;
}
export type Holding = ReadonlyMap<string, Held>;

/** Vaults of the plan that answered, opened once; the others with what they said instead. */
export class OpenVaults {
  readonly away = new Map<string, HoldfastError>();
  readonly #environment: JobEnvironment;
  readonly #open = new Map<string, Vault>();

  constructor(environment: JobEnvironment) {
    this.#environment = environment;
  }

  async get(name: string): Promise<Vault | null> {
    const known = this.#open.get(name);
    if (known) return known;
    if (this.away.has(name)) return null;
    return this.asking(name, async () => {
      const vault = this.#environment.vault(name);
      await readVaultIdentity(vault, this.#environment.plan.plan.name);
      this.#open.set(name, vault);
      return vault;
    });
  }

  /** Null, and the vault is away from now on, when it fails. */
  async asking<T>(name: string, ask: () => Promise<T>): Promise<T | null> {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof HoldfastError) || this.#environment.run.signal.aborted) throw error;
      this.away.set(name, error);
      return null;
    }
  }
}

/** One listing of all that a vault has of a source. */
export async function holdingOf(vault: Vault, source: string): Promise<Holding> {
  const prefix = `backups/${source}/`;
  const found = new Map<string, Held>();
  for await (const { key, bytes } of vault.list(prefix)) {
    const [tier, id, name, ...deeper] = key.slice(prefix.length).split('/');
    if (tier === undefined || id === undefined || name === undefined || deeper.length > 0) continue;
    if (!backupId.safeParse(id).success) continue;
    const held = found.get(id) ?? { tier, objects: 0, bytes: 0, committed: false };
    held.objects++;
    held.bytes += bytes;
    held.committed ||= name === 'manifest.json';
    found.set(id, held);
  }
  for (const [id, { committed }] of found) if (!committed) found.delete(id);
  return found;
}

/** Ids that retention has given up in this vault, of backups younger than `since`. */
export async function givenUpSince(vault: Vault, source: string, since: Date): Promise<ReadonlySet<string>> {
  const ids = new Set<string>();
  const after = await entryBefore(vault, source, since);
  // Damaged entries are `ledger verify`'s to tell; the others still count.
  for await (const entry of readLedger(vault, source, { after, onInvalid: () => undefined }))
    if (entry.event === 'retained' && entry.id !== null) ids.add(entry.id);
  return ids;
}

/** Backups that both hold and that are not the same. Counts and bytes come from the listings, hashes have to be read. */
export async function differencesOf(
  source: string,
  { from, to }: CopyRoute,
  there: Holding,
  here: Holding,
  vaults: OpenVaults,
  compareHashes: boolean,
): Promise<string[]> {
  const differences: string[] = [];
  const same: { readonly id: string; readonly tier: string }[] = [];
  for (const [id, one] of there) {
    const other = here.get(id);
    if (!other) continue;
    const what = `${source} ${id}`;
    if (one.tier !== other.tier)
      differences.push(`${what} lies in tier ${one.tier} of ${from} and in ${other.tier} of ${to}`);
    else if (one.objects !== other.objects || one.bytes !== other.bytes)
      differences.push(
        `${what} is ${one.objects} objects of ${one.bytes} bytes in ${from}, ${other.objects} of ${other.bytes} in ${to}`,
      );
    else same.push({ id, tier: one.tier });
  }
  if (!compareHashes) return differences;
  for (let start = 0; start < same.length; start += READ_AT_ONCE) {
    const batch = same.slice(start, start + READ_AT_ONCE);
    const compared = await Promise.all(
      batch.map((place) => compareManifests({ source, ...place }, [from, to], vaults)),
    );
    differences.push(...compared.flatMap((found) => found ?? []));
  }
  return differences;
}

/** Null when they are the same, or nobody can tell: one vanished meanwhile, or its vault went away. */
async function compareManifests(
  place: BackupPlace,
  names: readonly [string, string],
  vaults: OpenVaults,
): Promise<string | null> {
  const hashes: string[] = [];
  for (const name of names) {
    const vault = await vaults.get(name);
    const read = vault && (await vaults.asking(name, () => hashAt(vault, place)));
    if (read === null) return null;
    if (typeof read !== 'string') return `${place.source} ${place.id} in ${name}: ${read.message}`;
    hashes.push(read);
  }
  if (hashes[0] === hashes[1]) return null;
  return `${place.source} ${place.id}: the manifests in ${names.join(' and ')} are not the same`;
}

async function hashAt(vault: Vault, place: BackupPlace): Promise<string | RecordInvalid | null> {
  try {
    return (await manifestAt(vault, place)).sha256;
  } catch (error) {
    if (error instanceof KeyMissing) return null;
    if (error instanceof RecordInvalid) return error;
    throw error;
  }
}
