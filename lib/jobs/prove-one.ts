import { BackupMissing, EXIT, type HoldfastError } from '#core/errors';
import { assertSupported } from '#core/plan-support';
import { findBackup, newestBackup } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import { homeVault, vaultsOf } from '#jobs/home';
import { OpenedBackup } from '#jobs/open-backup';
import { copiesOf, type ProofRun, proveBackup, proveStored } from '#jobs/prove';
import { proveArchived } from '#jobs/prove-archived';
import { readableCopy } from '#jobs/readable-copy';

export interface ProveRequest {
  readonly source: string;
  /** Null: the newest. */
  readonly id: string | null;
  /** Null: the source's first vault. */
  readonly from: string | null;
  /** Re-hash the stored bytes only. */
  readonly stored: boolean;
}

/**
 * One proof of a stored backup, written down in every vault that holds it. Of one that lies in an archive class the copy
 * in another vault is taken; without one nothing is tried.
 * @throws BackupMissing there is none; Busy; what the vault throws
 */
export async function proveOne(request: ProveRequest, environment: JobEnvironment): Promise<ProofRun> {
  const { source, id, from, stored } = request;
  const vault = await homeVault(source, from, environment);
  const manifest =
    id === null ? await newestBackup(vault, source, environment.run.clock.now()) : await findBackup(vault, source, id);
  if (!manifest) {
    // To be told to take one first, and only then that there cannot be one, helps nobody.
    assertSupported(environment.plan, source, 'prove');
    throw new BackupMissing(`no backup of ${source} in vault ${vault.name} (${vault.url})`, {
      source,
      hint: `holdfast backup ${source}`,
    });
  }
  // Who has bytes re-hashed means those of this vault: another's say nothing about them.
  const copy = await readableCopy(manifest, vault, from === null && !stored ? environment : null);
  if (copy.frozen) return withSource(await proveArchived(copy.frozen, stored, environment));
  if (copy.moved !== null) environment.run.log.info(copy.moved);
  const backup = new OpenedBackup(manifest, copy.vault, environment);
  if (stored) return withSource(await proveStored(backup, environment));
  const others = vaultsOf(source, environment).filter((name) => name !== copy.vault.name);
  const copies = await copiesOf(
    manifest,
    others.map((name) => environment.vault(name)),
    environment,
  );
  return withSource(await proveBackup(backup, environment.source(source), copies, environment));
}

function withSource(proof: ProofRun): ProofRun {
  const error: HoldfastError | null = proof.error;
  if (error && error.exit !== EXIT.done) error.source ??= proof.source;
  return proof;
}
