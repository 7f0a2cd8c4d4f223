import { Cancelled, HoldfastError, KeyMissing, RecordInvalid } from '#core/errors';
import { type Manifest, timeOfId } from '#core/manifest';
import type { Source } from '#core/plan';
import type { Vault } from '#core/ports';
import { type ProofOutcome, type ProofState, stateOf } from '#core/proof';
import { longestGapSeconds } from '#core/schedule';
import { isAhead } from '#core/stamped-ahead';
import { type BackupPlace, manifestAt, outcomesOf, placesOf } from '#jobs/catalog';

/** A backup as the listings of several vaults show it; no manifest is read for it. */
export interface SeenBackup {
  readonly place: BackupPlace;
  /** Of all vaults together: whole in one is whole. */
  readonly proof: ProofState;
  /** By name, in the plan's order, those that have it. */
  readonly in: readonly {
    readonly vault: string;
    readonly proof: ProofState;
    readonly proofKeys: readonly ProofKey[];
  }[];
}

export interface ProofKey {
  readonly outcome: ProofOutcome;
  readonly key: string;
}

/** Enough of them for the median of the last ten, and the newest one. */
const WANTED = 11;
const DAY = 86_400;
const READ_AT_ONCE = 16;

/** Vaults that answer, and what the others said instead; one that fails on the way is away from then on. */
export class AnsweringVaults {
  readonly away: Map<string, HoldfastError>;
  readonly #vaults: readonly Vault[];

  constructor(vaults: readonly Vault[], away: ReadonlyMap<string, HoldfastError> = new Map()) {
    this.#vaults = vaults;
    this.away = new Map(away);
  }

  get all(): readonly Vault[] {
    return this.#vaults.filter(({ name }) => !this.away.has(name));
  }

  named(name: string): Vault | null {
    return this.all.find((vault) => vault.name === name) ?? null;
  }

  /** Null, and the vault is away, when it fails. */
  async ask<T>(vault: Vault, question: () => Promise<T>): Promise<T | null> {
    try {
      return await question();
    } catch (error) {
      if (!(error instanceof HoldfastError) || error instanceof Cancelled) throw error;
      this.away.set(vault.name, error);
      return null;
    }
  }
}

/**
 * The newest backups of a source, oldest first, from the listings of all its vaults over the same time: in windows that
 * grow until they hold enough, so that a long history costs nothing.
 * @param until the proven backup up to which all was looked at before: then ten before it are wanted too
 */
export async function newestBackups(
  vaults: AnsweringVaults,
  source: string,
  settings: Source,
  now: Date,
  until: string | null = null,
): Promise<readonly SeenBackup[]> {
  const first = Math.min(Math.max(12 * longestGapSeconds(settings.schedule), DAY), 366 * DAY);
  for (const window of [first, 16 * first]) {
    const seen = await seenSince(vaults, source, new Date(now.getTime() - window * 1000));
    // What lies in the future may count for nothing: see `source-ahead`.
    const proven = seen.filter((one) => counts(one.proof, settings) && !isAhead(timeOfId(one.place.id), now));
    const before = until === null ? WANTED : proven.filter(({ place }) => place.id <= until).length;
    if (proven.length >= WANTED && before >= WANTED - 1) return seen;
  }
  return seenSince(vaults, source, null);
}

/** `prove: never` counts what is stored; the word proven never appears for it. */
export function counts(proof: ProofState, settings: Source): boolean {
  return proof === 'proven' || (settings.prove === 'never' && proof === 'unproven');
}

async function seenSince(vaults: AnsweringVaults, source: string, since: Date | null): Promise<readonly SeenBackup[]> {
  const byId = new Map<string, { place: BackupPlace; in: SeenBackup['in'][number][] }>();
  for (const vault of vaults.all) {
    const listed = await vaults.ask(vault, async () => ({
      places: await placesOf(vault, source, since),
      outcomes: await outcomesOf(vault, source, since),
    }));
    for (const place of listed?.places ?? []) {
      const proofKeys = listed?.outcomes.get(place.id) ?? [];
      const seen = byId.get(place.id) ?? { place, in: [] };
      seen.in.push({ vault: vault.name, proof: stateOf(proofKeys.map(({ outcome }) => outcome)), proofKeys });
      byId.set(place.id, seen);
    }
  }
  return [...byId.values()]
    .map((one) => ({ ...one, proof: together(one.in.map(({ proof }) => proof)) }))
    .sort((a, b) => (a.place.id < b.place.id ? -1 : 1));
}

/** Bytes that rotted in one vault do not disprove the copy in another. */
function together(proofs: readonly ProofState[]): ProofState {
  const best = (['proven', 'disproven', 'inconclusive'] as const).find((state) => proofs.includes(state));
  return best ?? 'unproven';
}

export interface ReadBackup {
  readonly seen: SeenBackup;
  readonly manifest: Manifest;
}

/**
 * Their manifests, from the vault that proves each where one does, else from any that can give it.
 * @param onInvalid takes what was damaged or edited: it does not count
 */
export async function manifestsOf(
  seen: readonly SeenBackup[],
  vaults: AnsweringVaults,
  onInvalid: (id: string, error: RecordInvalid) => void,
): Promise<readonly ReadBackup[]> {
  const read: ReadBackup[] = [];
  for (let start = 0; start < seen.length; start += READ_AT_ONCE) {
    const batch = seen.slice(start, start + READ_AT_ONCE);
    const found = await Promise.all(batch.map((one) => readOne(one, vaults, onInvalid)));
    for (const [index, manifest] of found.entries())
      if (manifest) read.push({ seen: batch[index] as SeenBackup, manifest });
  }
  return read;
}

async function readOne(
  { place, in: copies }: SeenBackup,
  vaults: AnsweringVaults,
  onInvalid: (id: string, error: RecordInvalid) => void,
): Promise<Manifest | null> {
  for (const copy of [...copies].sort((a, b) => Number(b.proof === 'proven') - Number(a.proof === 'proven'))) {
    const vault = vaults.named(copy.vault);
    const manifest = vault && (await vaults.ask(vault, () => manifestOrNull(vault, place, onInvalid)));
    if (manifest) return manifest;
  }
  return null;
}

async function manifestOrNull(
  vault: Vault,
  place: BackupPlace,
  onInvalid: (id: string, error: RecordInvalid) => void,
): Promise<Manifest | null> {
  try {
    return await manifestAt(vault, place);
  } catch (error) {
    if (error instanceof RecordInvalid) onInvalid(place.id, error);
    // Gone since the listing: retention was at work.
    else if (!(error instanceof KeyMissing)) throw error;
    return null;
  }
}
