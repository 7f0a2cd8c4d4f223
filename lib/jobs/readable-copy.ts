import { withReplicas } from '#core/copy-rules';
import { HoldfastError, RecordInvalid } from '#core/errors';
import type { Manifest } from '#core/manifest';
import type { Vault } from '#core/ports';
import { chooseBackup } from '#jobs/choose-backup';
import type { JobEnvironment } from '#jobs/environment';
import { vaultsOf } from '#jobs/home';
import { type Archival, archivalOf, type Frozen } from '#jobs/thaw';
import { readVaultIdentity } from '#vault/identity';

/** Where a backup is read from. */
export interface ReadableCopy {
  readonly vault: Vault;
  /** Null: it can be read. */
  readonly frozen: Frozen | null;
  /** When the thawed copies in that vault end; null = nothing there was thawed. */
  readonly readableUntil: Date | null;
  /** Why it is not the vault that was asked first, in words. */
  readonly moved: string | null;
}

/**
 * The vault itself where the backup can be read from it; else another that has it and needs no thaw; else one whose thaw
 * is under way; else the vault itself. Nothing is asked for.
 * @param environment null: there is no other vault to look into
 */
export async function readableCopy(
  manifest: Manifest,
  vault: Vault,
  environment: JobEnvironment | null,
): Promise<ReadableCopy> {
  const here = await archivalOf(vault, manifest);
  if (!here.frozen || !environment) return { ...at(vault, here), moved: null };
  const { plan, run } = environment;
  let waiting: ReadableCopy | null = null;
  for (const name of withReplicas(plan.plan, vaultsOf(manifest.source, environment))) {
    if (name === vault.name) continue;
    try {
      const other = await openCopy(name, manifest, environment);
      const there = await archivalOf(other, manifest);
      const moved = `${manifest.id} is taken from ${name}: in ${vault.name} it lies in ${here.frozen.class}`;
      if (!there.frozen) return { ...at(other, there), moved };
      if (there.frozen.frozen.length === 0) waiting ??= { ...at(other, there), moved };
    } catch (error) {
      if (!(error instanceof HoldfastError) || run.signal.aborted) throw error;
      run.log.info(`the copy in ${name} cannot stand in for the one in ${vault.name}: ${error.message}`);
    }
  }
  return waiting && here.frozen.frozen.length > 0 ? waiting : { ...at(vault, here), moved: null };
}

/** Throws when the vault has not this very backup, or has a copy that is disproven. */
async function openCopy(name: string, manifest: Manifest, environment: JobEnvironment): Promise<Vault> {
  const { source, id, sha256 } = manifest;
  const vault = environment.vault(name);
  await readVaultIdentity(vault, environment.plan.plan.name);
  const ask = { source, id, at: null, point: null, unproven: false, only: [], overwrite: false };
  if ((await chooseBackup(ask, vault, environment.run.clock.now())).manifest.sha256 === sha256) return vault;
  throw new RecordInvalid(`its manifest of ${id} is another one`, { source, hint: `holdfast replicate ${source}` });
}

function at(
  vault: Vault,
  { frozen, readableUntil }: Archival,
): Pick<ReadableCopy, 'vault' | 'frozen' | 'readableUntil'> {
  return { vault, frozen, readableUntil };
}
