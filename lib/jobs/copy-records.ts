import { HoldfastError, KeyExists, KeyMissing, RecordInvalid } from '#core/errors';
import type { Manifest } from '#core/manifest';
import type { Vault } from '#core/ports';
import { outcomeInName, type Proof } from '#core/proof';
import { collect, manifestAt, outcomesOf, placesOf, proofAt } from '#jobs/catalog';
import { bytesOf } from '#jobs/copy-backup';
import type { JobEnvironment } from '#jobs/environment';
import { appendLedger, readLedger } from '#vault/ledger-store';

/** What goes with a copied backup: its proofs, and the entries that tell of the copies. */

interface Way {
  readonly from: string;
  readonly to: string;
}

export interface MissingProof {
  readonly key: string;
  readonly id: string;
  readonly from: Vault;
}

/**
 * Proofs of backups that both vaults hold, which only the first one has. Disproofs stay where they are: bytes that rotted
 * in one vault say nothing about another's, and one that is bad everywhere is disproven there by its own proof.
 */
export async function missingProofs(
  source: string,
  ways: readonly Way[],
  to: Vault,
  survey: { holds(source: string, vault: string, id: string): boolean },
  environment: JobEnvironment,
): Promise<MissingProof[]> {
  const there = new Set<string>();
  for (const records of (await outcomesOf(to, source)).values()) for (const { key } of records) there.add(key);
  const missing: MissingProof[] = [];
  for (const { from: name } of ways) {
    const from = environment.vault(name);
    for (const [id, records] of await outcomesOf(from, source)) {
      if (!survey.holds(source, to.name, id) || !survey.holds(source, name, id)) continue;
      for (const { key, outcome } of records)
        if (outcome !== 'disproven' && !there.has(key)) {
          there.add(key);
          missing.push({ key, id, from });
        }
    }
  }
  return missing;
}

/** All of one backup that may be copied; what is there already is passed over then. */
export async function proofsOf(
  { source, id }: { readonly source: string; readonly id: string },
  from: Vault,
): Promise<MissingProof[]> {
  const found: MissingProof[] = [];
  for await (const { key } of from.list(`proofs/${source}/${id}/`)) {
    const outcome = outcomeInName(key.slice(key.lastIndexOf('/') + 1));
    if (outcome !== null && outcome !== 'disproven') found.push({ key, id, from });
  }
  return found;
}

/** @returns how many were copied */
export async function copyProofs(
  missing: readonly MissingProof[],
  to: Vault,
  environment: JobEnvironment,
): Promise<number> {
  let copied = 0;
  for (const { key, from } of missing) {
    const proof = await readable(() => proofAt(from, key), environment);
    if (!proof || !(await isOfSameBackup(proof, to))) continue;
    try {
      await to.putOnce(key, await from.get(key));
    } catch (error) {
      // A try before this one came so far; whether it came to its entry, the next line does not need to know.
      if (!(error instanceof KeyExists)) throw error;
    }
    await tellProofCopied(proof, from, to, environment);
    copied++;
  }
  return copied;
}

export async function tellCopied(manifest: Manifest, from: Vault, to: Vault, { run }: JobEnvironment): Promise<void> {
  await appendLedger(
    to,
    manifest.source,
    {
      event: 'copied-from',
      id: manifest.id,
      manifest: manifest.sha256,
      host: run.host,
      details: { vault: from.name, tier: manifest.tier, bytes: bytesOf(manifest) },
    },
    run.clock,
  );
}

/** An entry of its own kind, not `proof`: the proof was made then and there, not here and now. */
async function tellProofCopied(proof: Proof, from: Vault, to: Vault, { run }: JobEnvironment): Promise<void> {
  await appendLedger(
    to,
    proof.source,
    {
      event: 'copied-from',
      id: proof.id,
      manifest: proof.manifest,
      host: run.host,
      details: {
        vault: from.name,
        tier: proof.tier,
        proof: proof.proof,
        sha256: proof.sha256,
        outcome: proof.outcome,
        testedIn: proof.vault,
      },
    },
    run.clock,
  );
}

/**
 * Makes up the entries of copies whose run died between the copy and its entry. Only for what is the same in the vault it
 * must have come from: the ledger never vouches for a record that appeared by itself.
 */
export async function makeUpEntries(
  source: string,
  ways: readonly Way[],
  to: Vault,
  survey: { holds(source: string, vault: string, id: string): boolean },
  environment: JobEnvironment,
): Promise<void> {
  const backups = new Set<string>();
  const proofs = new Set<string>();
  for (const entry of await collect(readLedger(to, source, { onInvalid: () => undefined }))) {
    const proof = entry.details['proof'];
    if (typeof proof === 'string') proofs.add(`${entry.id}/${proof}`);
    else if ((entry.event === 'backup' || entry.event === 'copied-from') && entry.id !== null) backups.add(entry.id);
  }
  for (const place of await placesOf(to, source)) {
    if (backups.has(place.id)) continue;
    const way = ways.find(({ from }) => survey.holds(source, from, place.id));
    if (!way) continue;
    const from = environment.vault(way.from);
    const [here, there] = [
      await readable(() => manifestAt(to, place), environment),
      await readable(() => manifestAt(from, place), environment),
    ];
    if (here && here.sha256 === there?.sha256) await tellCopied(here, from, to, environment);
  }
  for (const [id, records] of await outcomesOf(to, source))
    for (const { key } of records) {
      const here = await readable(() => proofAt(to, key), environment);
      if (!here || proofs.has(`${id}/${here.proof}`)) continue;
      for (const { from: name } of ways) {
        const from = environment.vault(name);
        const there = await readable(() => proofAt(from, key), environment);
        if (there?.sha256 !== here.sha256) continue;
        await tellProofCopied(here, from, to, environment);
        break;
      }
    }
}

async function isOfSameBackup(proof: Proof, to: Vault): Promise<boolean> {
  try {
    return (await manifestAt(to, proof)).sha256 === proof.manifest;
  } catch (error) {
    if (error instanceof KeyMissing || error instanceof RecordInvalid) return false;
    throw error;
  }
}

/** Null for what is not there any more, or is no record: `ledger verify` names it. */
async function readable<T>(read: () => Promise<T>, { run }: JobEnvironment): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof HoldfastError) || !(error instanceof KeyMissing || error instanceof RecordInvalid))
      throw error;
    run.log.debug(error.message);
    return null;
  }
}
