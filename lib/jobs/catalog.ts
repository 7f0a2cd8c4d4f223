import { BackupMissing, KeyMissing, messageOf, RecordInvalid, UsageError } from '#core/errors';
import { backupId, compactTime, type Manifest, manifestKey, readManifest, timeOfId } from '#core/manifest';
import type { Vault } from '#core/ports';
import { outcomeInName, type Proof, type ProofOutcome, type ProofState, readProof, stateOf } from '#core/proof';
import { isAhead, type Stamp, stampedAhead } from '#core/stamped-ahead';
import { getRecord } from '#vault/record';

/** What lies in a vault, read from the vault alone: there is no catalogue that could disagree with it. */

const READ_AT_ONCE = 16;
const MANIFEST_NAME = 'manifest.json';

export interface BackupPlace {
  readonly source: string;
  readonly tier: string;
  readonly id: string;
}

export interface ListedBackup {
  readonly manifest: Manifest;
  readonly proof: ProofState;
}

export interface Listing {
  readonly backups: readonly ListedBackup[];
  /** Manifests that are none: said, never silently left out. */
  readonly warnings: readonly string[];
}

/** Sources that have backups in the vault, also those that left the plan. */
export async function sourcesIn(vault: Vault): Promise<string[]> {
  return collect(vault.folders('backups/'));
}

/**
 * Places of committed backups, oldest first. One listing a tier, from `since` on; nothing is read.
 * @param since leaves out ids that begin before this moment
 */
export async function placesOf(vault: Vault, source: string, since: Date | null = null): Promise<BackupPlace[]> {
  const found: BackupPlace[] = [];
  for (const tier of await collect(vault.folders(`backups/${source}/`))) {
    const prefix = `backups/${source}/${tier}/`;
    const options = since ? { after: `${prefix}${compactTime(since)}` } : {};
    for await (const { key } of vault.list(prefix, options)) {
      const [id, name, ...deeper] = key.slice(prefix.length).split('/');
      if (name === MANIFEST_NAME && deeper.length === 0 && backupId.safeParse(id).success)
        found.push({ source, tier, id: id as string });
    }
  }
  return found.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
}

/** The newest of those that lie in no future, by whose leases it is told what was made before them. */
const COMPARED_LEASES = 11;

/**
 * The same in the order in which they were made, as far as it is known: what a clock that was ahead has stamped comes
 * before everything else. Manifests are read only where something lies in the future.
 */
export async function placesAsMade(
  vault: Vault,
  source: string,
  now: Date,
  since: Date | null = null,
): Promise<BackupPlace[]> {
  const places = await placesOf(vault, source, since);
  const late = places.filter(({ id }) => isAhead(timeOfId(id), now));
  if (late.length === 0) return places;
  const present = places.filter((place) => !late.includes(place)).slice(-COMPARED_LEASES);
  const read = await readAll(vault, [...present, ...late]);
  const stamps = read.flatMap(({ result }) => (typeof result === 'string' ? [] : [stampOf(result)]));
  const ahead = stampedAhead(stamps, now);
  return [...places.filter(({ id }) => ahead.has(id)), ...places.filter(({ id }) => !ahead.has(id))];
}

export function stampOf({ id, snapshotAt, lease }: Manifest): Stamp {
  return { id, snapshotAt: new Date(snapshotAt), lease };
}

/** Outcomes of all proofs of a source by backup id, from names alone. */
export async function outcomesOf(
  vault: Vault,
  source: string,
  since: Date | null = null,
): Promise<Map<string, { readonly outcome: ProofOutcome; readonly key: string }[]>> {
  const prefix = `proofs/${source}/`;
  const byId = new Map<string, { outcome: ProofOutcome; key: string }[]>();
  for await (const { key } of vault.list(prefix, since ? { after: `${prefix}${compactTime(since)}` } : {})) {
    const [id, name] = key.slice(prefix.length).split('/');
    const outcome = outcomeInName(name ?? '');
    if (id === undefined || outcome === null) continue;
    byId.set(id, [...(byId.get(id) ?? []), { outcome, key }]);
  }
  return byId;
}

/** @throws KeyMissing, RecordInvalid */
export async function manifestAt(vault: Vault, place: BackupPlace): Promise<Manifest> {
  const key = manifestKey(place);
  return readManifest(Buffer.from(await getRecord(vault, key)).toString('utf8'), key);
}

/** @throws KeyMissing, RecordInvalid */
export async function proofAt(vault: Vault, key: string): Promise<Proof> {
  return readProof(Buffer.from(await getRecord(vault, key)).toString('utf8'), key);
}

/** All backups of a source with their proof states, oldest first. */
export async function listBackups(vault: Vault, source: string, since: Date | null = null): Promise<Listing> {
  const places = await placesOf(vault, source, since);
  const outcomes = await outcomesOf(vault, source, since);
  const warnings: string[] = [];
  const backups: ListedBackup[] = [];
  for (const { place, result } of await readAll(vault, places)) {
    if (typeof result === 'string') warnings.push(result);
    else {
      const proof = stateOf((outcomes.get(place.id) ?? []).map((entry) => entry.outcome));
      backups.push({ manifest: result, proof });
    }
  }
  return { backups, warnings };
}

/** Manifests, or why one is none. */
async function readAll(
  vault: Vault,
  places: readonly BackupPlace[],
): Promise<{ readonly place: BackupPlace; readonly result: Manifest | string }[]> {
  const all: { place: BackupPlace; result: Manifest | string }[] = [];
  for (let start = 0; start < places.length; start += READ_AT_ONCE) {
    const batch = places.slice(start, start + READ_AT_ONCE);
    all.push(
      ...(await Promise.all(batch.map(async (place) => ({ place, result: await readOrExplain(vault, place) })))),
    );
  }
  return all;
}

/**
 * One backup by its id.
 * @throws UsageError no id at all; BackupMissing; RecordInvalid
 */
export async function findBackup(vault: Vault, source: string, id: string): Promise<Manifest> {
  if (!backupId.safeParse(id).success)
    throw new UsageError(`"${id}" is no backup id, want one such as 20261121T020000Z-7f3a`, {
      source,
      hint: `holdfast list ${source}`,
    });
  for (const tier of await collect(vault.folders(`backups/${source}/`))) {
    try {
      return await manifestAt(vault, { source, tier, id });
    } catch (error) {
      if (!(error instanceof KeyMissing)) throw error;
    }
  }
  throw new BackupMissing(`no backup ${id} of ${source} in vault ${vault.name} (${vault.url})`, {
    source,
    hint: `holdfast list ${source}`,
  });
}

/** The newest committed backup, or null. */
export async function newestBackup(vault: Vault, source: string, now: Date): Promise<Manifest | null> {
  const place = (await placesAsMade(vault, source, now)).at(-1);
  return place ? manifestAt(vault, place) : null;
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** A record that is invalid is a warning; a vault that does not answer is an error. */
async function readOrExplain(vault: Vault, place: BackupPlace): Promise<Manifest | string> {
  try {
    return await manifestAt(vault, place);
  } catch (error) {
    if (error instanceof RecordInvalid || error instanceof KeyMissing)
      return `${place.source} ${place.id} in ${vault.name} is not counted: ${messageOf(error)}`;
    throw error;
  }
}
