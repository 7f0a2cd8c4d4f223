import {
  HoldfastError,
  LeaseLost,
  SpaceLacking,
  StoredBytesDiffer,
  VaultMissing,
  VaultRefused,
  VaultUnreachable,
} from '#core/errors';
import type { SourceRef, Vault } from '#core/ports';
import type { JobEnvironment } from '#jobs/environment';
import { readVaultIdentity } from '#vault/identity';
import { acquireLease, type Lease } from '#vault/lease';

/** A vault that answers, is this plan's, and in which this run holds the source's lease. */
export interface HeldVault {
  readonly vault: Vault;
  readonly lease: Lease;
}

export async function holdVault(name: string, source: SourceRef, environment: JobEnvironment): Promise<HeldVault> {
  const { plan, run, holder, isGone } = environment;
  const vault = environment.vault(name);
  await readVaultIdentity(vault, plan.plan.name);
  const lease = await acquireLease(vault, { source: source.name, job: 'backup', holder }, run.clock, isGone);
  return { vault, lease };
}

/** The same surroundings, with a run that also stops as soon as one of its leases is lost: it could commit nothing any more. */
export function guardedBy(held: readonly HeldVault[], environment: JobEnvironment): JobEnvironment {
  const signal = AbortSignal.any([environment.run.signal, ...held.map(({ lease }) => lease.lost)]);
  return { ...environment, run: { ...environment.run, signal } };
}

/** Why the first of them that is lost was lost; null while all are held. */
export function lostLease(held: readonly HeldVault[]): LeaseLost | null {
  const lost = held.find(({ lease }) => lease.lost.aborted)?.lease.lost.reason;
  return lost instanceof LeaseLost ? lost : null;
}

export async function releaseLoudly(lease: Lease, environment: JobEnvironment): Promise<void> {
  try {
    await lease.release();
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    environment.run.log.warn(`the lease could not be given back, it ends by itself in 90 s: ${error.message}`);
  }
}

/** Whether a failure is the vault's, so that another one may take what this one could not. */
export function isOfVault(error: unknown): error is HoldfastError {
  return [SpaceLacking, VaultRefused, VaultUnreachable, VaultMissing, StoredBytesDiffer].some(
    (kind) => error instanceof kind,
  );
}
