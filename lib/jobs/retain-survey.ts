import { KeyMissing, messageOf, RecordInvalid } from '#core/errors';
import { backupId, type Manifest } from '#core/manifest';
import type { Vault } from '#core/ports';
import { type ProofOutcome, stateOf } from '#core/proof';
import type { StoredBackup } from '#core/retention-input';
import { manifestAt, outcomesOf, proofAt } from '#jobs/catalog';

const READ_AT_ONCE = 16;

/** What lies in the folder of one backup, whole or not. */
export interface Folder {
  readonly tier: string;
  readonly id: string;
  /** All keys, without the manifest. */
  readonly rest: string[];
  /** The manifest's key; null: it is no backup (I1). */
  manifest: string | null;
  bytes: number;
}

/** A backup with its folder. */
export interface Surveyed extends StoredBackup {
  readonly folder: Folder;
  /** Hash of its manifest. */
  readonly sha256: string;
}

export interface Survey {
  readonly backups: readonly Surveyed[];
  /** Ids of those whose manifests cannot be read; nothing of them is touched. */
  readonly unreadable: readonly string[];
  /** Folders without a manifest: of failed runs, of runs under way, or half removed. */
  readonly leftovers: readonly Folder[];
  /** Keys of proofs by backup id, also of backups that are no more. */
  readonly proofs: ReadonlyMap<string, readonly { readonly outcome: ProofOutcome; readonly key: string }[]>;
  readonly warnings: readonly string[];
}

/**
 * All that a vault has of a source, in one listing of its backups and one of its proofs. Proof states are told by names;
 * `byRecords` reads them.
 * @throws VaultUnreachable, VaultRefused, VaultMissing: what could not be listed is not empty (I14)
 */
export async function surveyOf(vault: Vault, source: string): Promise<Survey> {
  const folders = await foldersOf(vault, source);
  const proofs = await outcomesOf(vault, source);
  const warnings: string[] = [];
  const unreadable: string[] = [];
  const backups = new Map<string, Surveyed>();
  const committed = folders.filter(({ manifest }) => manifest !== null);
  for (let start = 0; start < committed.length; start += READ_AT_ONCE) {
    const batch = committed.slice(start, start + READ_AT_ONCE);
    const read = await Promise.all(batch.map((folder) => readOrExplain(vault, source, folder)));
    for (const [index, result] of read.entries()) {
      const folder = batch[index] as Folder;
      if (result instanceof RecordInvalid || (result && backups.has(folder.id))) {
        const why = result instanceof RecordInvalid ? result.message : `${folder.id} is in two tiers`;
        unreadable.push(folder.id);
        warnings.push(`${source} ${folder.id} in ${vault.name} is not counted and not touched: ${why}`);
      } else if (result) {
        const state = stateOf((proofs.get(folder.id) ?? []).map(({ outcome }) => outcome));
        backups.set(folder.id, { ...storedBackup(result, state), folder, sha256: result.sha256 });
      }
    }
  }
  const leftovers = folders.filter(({ manifest }) => manifest === null);
  return { backups: [...backups.values()], unreadable, leftovers, proofs, warnings };
}

/** As retention sees a manifest. */
export function storedBackup(manifest: Manifest, proof: StoredBackup['proof']): StoredBackup {
  const { id, tier, kind, base, engine, identity, point, trigger, expires, lease } = manifest;
  return {
    id,
    tier,
    kind,
    base,
    engine,
    identity,
    point,
    proof,
    lease,
    snapshotAt: new Date(manifest.snapshotAt),
    scheduledAt: trigger.scheduledAt === null ? null : new Date(trigger.scheduledAt),
    expires: expires === null ? null : new Date(expires),
    measures: manifest.fingerprint.measures,
  };
}

/**
 * The same with each proof's record read. One that is invalid, or of another manifest, proves nothing; a disproof that
 * cannot be read still takes the trust away that its name took away.
 */
export async function byRecords(vault: Vault, survey: Survey): Promise<Survey> {
  const warnings: string[] = [];
  const backups: Surveyed[] = [];
  for (let start = 0; start < survey.backups.length; start += READ_AT_ONCE)
    backups.push(
      ...(await Promise.all(
        survey.backups.slice(start, start + READ_AT_ONCE).map(async (backup) => {
          const outcomes: ProofOutcome[] = [];
          for (const { key, outcome } of survey.proofs.get(backup.id) ?? []) {
            const wrong = await whatIsWrong(vault, key, backup);
            if (wrong === null || outcome === 'disproven') outcomes.push(outcome);
            if (wrong !== null) warnings.push(`a proof of ${backup.id} in ${vault.name} does not count: ${wrong}`);
          }
          return { ...backup, proof: stateOf(outcomes) };
        }),
      )),
    );
  return { ...survey, backups, warnings: [...survey.warnings, ...warnings] };
}

async function whatIsWrong(vault: Vault, key: string, backup: Surveyed): Promise<string | null> {
  try {
    const proof = await proofAt(vault, key);
    return proof.manifest === backup.sha256 ? null : `${key} is of another manifest`;
  } catch (error) {
    if (error instanceof RecordInvalid || error instanceof KeyMissing) return messageOf(error);
    throw error;
  }
}

async function foldersOf(vault: Vault, source: string): Promise<Folder[]> {
  const prefix = `backups/${source}/`;
  const found = new Map<string, Folder>();
  for await (const { key, bytes } of vault.list(prefix)) {
    const [tier, id, ...rest] = key.slice(prefix.length).split('/');
    // What else somebody put here is not ours to judge.
    if (tier === undefined || id === undefined || rest.length === 0 || !backupId.safeParse(id).success) continue;
    const place = `${tier}/${id}`;
    const folder = found.get(place) ?? { tier, id, rest: [], manifest: null, bytes: 0 };
    found.set(place, folder);
    if (rest.length === 1 && rest[0] === 'manifest.json') folder.manifest = key;
    else folder.rest.push(key);
    folder.bytes += bytes;
  }
  return [...found.values()];
}

/** Null: it was removed after it was listed. */
async function readOrExplain(vault: Vault, source: string, folder: Folder): Promise<Manifest | RecordInvalid | null> {
  try {
    return await manifestAt(vault, { source, tier: folder.tier, id: folder.id });
  } catch (error) {
    if (error instanceof RecordInvalid) return error;
    if (error instanceof KeyMissing) return null;
    throw error;
  }
}
