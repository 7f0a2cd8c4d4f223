import type { Severity } from '#core/alert';
import { BackupMissing, KeyMissing, RecordInvalid } from '#core/errors';
import type { SourceHistory } from '#core/history';
import { compactTime, type Manifest, timeOfId } from '#core/manifest';
import type { Source } from '#core/plan';
import type { Vault } from '#core/ports';
import type { Proof } from '#core/proof';
import type { ProofFacts, TriedProof } from '#core/proof-conditions';
import { worstOf } from '#core/severity';
import { findBackup, outcomesOf, proofAt } from '#jobs/catalog';
import { type AnsweringVaults, counts, type ProofKey, type ReadBackup, type SeenBackup } from '#jobs/source-listing';

/** Attempts whose records are read for their reasons. */
const REASONS_READ = 3;

export interface NewestProven {
  readonly id: string;
  readonly snapshotAt: Date;
  readonly vault: string;
  /** What its proof took; null when none speaks for it (`prove: never`). */
  readonly seconds: number | null;
}

/** A name says `proven`; only a record that says so of this very manifest counts (I4). */
export async function newestThatCounts(
  backups: readonly ReadBackup[],
  settings: Source,
  vaults: AnsweringVaults,
  onInvalid: (id: string, error: RecordInvalid) => void,
): Promise<NewestProven | null> {
  for (const backup of backups.toReversed()) {
    const { seen, manifest } = backup;
    if (!counts(seen.proof, settings)) continue;
    if (seen.proof !== 'proven') return { ...stampOf(backup), vault: seen.in[0]?.vault ?? '', seconds: null };
    for (const { vault, proofKeys } of seen.in.filter(({ proof }) => proof === 'proven')) {
      const proofs = await readProofs(vault, proofKeys, 'proven', vaults, (error) => onInvalid(manifest.id, error));
      const good = proofs.find((proof) => proof.manifest === manifest.sha256);
      if (good) return { ...stampOf(backup), vault, seconds: good.seconds };
      if (proofs.length > 0) onInvalid(manifest.id, new RecordInvalid('its proof is one of another manifest'));
    }
  }
  return null;
}

export function stampOf({ manifest }: ReadBackup): { readonly id: string; readonly snapshotAt: Date } {
  return { id: manifest.id, snapshotAt: new Date(manifest.snapshotAt) };
}

/** Newest first; records that cannot be read do not count. */
async function readProofs(
  vaultName: string,
  keys: readonly ProofKey[],
  outcome: ProofKey['outcome'],
  vaults: AnsweringVaults,
  onInvalid: (error: RecordInvalid) => void,
): Promise<Proof[]> {
  const vault = vaults.named(vaultName);
  const proofs: Proof[] = [];
  for (const one of keys.toReversed()) {
    if (!vault || one.outcome !== outcome) continue;
    const proof = await vaults.ask(vault, async () => {
      try {
        return await proofAt(vault, one.key);
      } catch (error) {
        if (error instanceof RecordInvalid) onInvalid(error);
        else if (!(error instanceof KeyMissing)) throw error;
        return null;
      }
    });
    if (proof) proofs.push(proof);
  }
  return proofs;
}

/** Backups after `id` whose proof was tried and that are proven nowhere; the newest with their reasons. */
export async function triedAfter(
  id: string,
  seen: readonly SeenBackup[],
  backups: readonly ReadBackup[],
  vaults: AnsweringVaults,
  onInvalid: (id: string, error: RecordInvalid) => void,
): Promise<TriedProof[]> {
  const tried = seen.filter(({ place, proof }) => place.id > id && (proof === 'disproven' || proof === 'inconclusive'));
  return Promise.all(
    tried.map(async ({ place, proof, in: copies }, index) => {
      const copy = copies.find((one) => one.proof === proof);
      const isRead = index >= tried.length - REASONS_READ;
      const [record] =
        isRead && copy
          ? await readProofs(copy.vault, copy.proofKeys, proof as ProofKey['outcome'], vaults, (error) =>
              onInvalid(place.id, error),
            )
          : [];
      const manifest = backups.find((one) => one.manifest.id === place.id)?.manifest;
      return {
        id: place.id,
        snapshotAt: manifest ? new Date(manifest.snapshotAt) : timeOfId(place.id),
        proof,
        reason: record ? (record.differences[0] ?? record.reason) : null,
        severity: record && manifest ? probeSeverity(record, manifest) : null,
      };
    }),
  );
}

/** Null unless every difference is a probe's. */
function probeSeverity({ differences }: Proof, { probes }: Manifest): Severity | null {
  const severities = differences.map((difference) => {
    const name = /^(?:database \S+: )?probe ([A-Za-z0-9_-]+): /.exec(difference)?.[1];
    return probes.find((probe) => probe.name === name)?.severity ?? null;
  });
  const known = severities.filter((one) => one !== null);
  return known.length > 0 && known.length === severities.length ? worstOf(known) : null;
}

/**
 * Old backups, and copies of such as are whole in another vault, that were found bad since the newest proven backup was
 * taken; until somebody acknowledges. With a newer proven backup that is over: what is bad stays bad, and is known.
 */
export async function disprovenCopies(
  source: string,
  seen: readonly SeenBackup[],
  newestProven: NewestProven | null,
  unproven: readonly TriedProof[],
  history: SourceHistory,
  vaults: AnsweringVaults,
  thorough: boolean,
): Promise<ProofFacts['disproven']> {
  const told = new Set([...history.acknowledged, ...unproven.map(({ id }) => id)]);
  const since = newestProven ? compactTime(newestProven.snapshotAt) : '';
  const bad = new Map<string, string[]>();
  const add = (id: string, vault: string): void => {
    bad.set(id, [...(bad.get(id) ?? []), vault]);
  };
  for (const { place, in: copies } of seen)
    for (const { vault, proof, proofKeys } of copies)
      if (proof === 'disproven' && !told.has(place.id) && isNews(proofKeys, since)) add(place.id, vault);
  const known = new Set(seen.map(({ place }) => place.id));
  // Who is in a hurry does not list every proof there is, but asks for what the watcher has told of.
  const toldBefore = Object.keys(history.alerts).flatMap((key) => (key.startsWith('proof/') ? [key.slice(6)] : []));
  for (const vault of vaults.all) {
    const outcomes = thorough ? await vaults.ask(vault, () => outcomesOf(vault, source)) : null;
    const found = outcomes ? [...outcomes].flatMap(([id, keys]) => (isNews(keys, since) ? [id] : [])) : toldBefore;
    for (const id of found) {
      if (known.has(id) || told.has(id)) continue;
      // Proofs are kept longer than what they speak of.
      if (await vaults.ask(vault, () => isThere(vault, source, id))) add(id, vault.name);
    }
  }
  return [...bad].map(([id, names]) => ({ id, vaults: names }));
}

/** The attempt's time is in its name. */
function isNews(keys: readonly ProofKey[], since: string): boolean {
  return keys.some(({ outcome, key }) => outcome === 'disproven' && (key.split('/').at(-1) ?? '') > since);
}

async function isThere(vault: Vault, source: string, id: string): Promise<boolean> {
  try {
    await findBackup(vault, source, id);
    return true;
  } catch (error) {
    if (error instanceof BackupMissing || error instanceof RecordInvalid) return false;
    throw error;
  }
}
