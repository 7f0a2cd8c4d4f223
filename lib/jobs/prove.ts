import {
  Disproven,
  HoldfastError,
  KeyExists,
  KeysMissing,
  NotProvableHere,
  NotThereYet,
  SpaceLacking,
  ToolMissing,
  VariableMissing,
} from '#core/errors';
import { backupFolder, isoTime, type Manifest } from '#core/manifest';
import type { Difference, SourceRef, Vault } from '#core/ports';
import { type Proof, type ProofOutcome, type ProofState, proofKey, proofName, signProof } from '#core/proof';
import { manifestAt } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import type { OpenedBackup } from '#jobs/open-backup';
import { runbookAfterProof } from '#jobs/runbook';
import { acquireLease, type Lease } from '#vault/lease';
import { appendLedger } from '#vault/ledger-store';
import { verifyStored } from '#vault/unseal';

export interface ProofRun {
  readonly source: string;
  readonly id: string;
  /** `unproven`: the attempt itself failed and says nothing about the backup. */
  readonly result: ProofState;
  readonly reason: string | null;
  readonly differences: readonly Difference[];
  readonly seconds: number;
  /** Null when proven. */
  readonly error: HoldfastError | null;
  /** What went wrong beside the proof and takes nothing from it: RUNBOOK.md could not be written. */
  readonly warnings: readonly string[];
  /** Nothing was tried: it lies in an archive class. */
  readonly archived?: true;
}

/**
 * Restores one backup into a scratch engine, compares, and writes the proof down in every vault that holds the backup.
 * Never throws for what the attempt finds. Throws `Busy` when another proof of the source is under way.
 */
export async function proveBackup(
  backup: OpenedBackup,
  source: SourceRef,
  copies: readonly Vault[],
  environment: JobEnvironment,
): Promise<ProofRun> {
  const proof = await underProofLease(backup.vault, source.name, environment, async (lease): Promise<ProofRun> => {
    const startedAt = environment.run.clock.now();
    let differences: readonly Difference[] = [];
    let thrown: HoldfastError | null = null;
    try {
      differences = await restoreAndCompare(backup, source, environment);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      thrown = error;
    }
    const { manifest } = backup;
    const verdict = judge(manifest, differences, thrown);
    const seconds = (environment.run.clock.now().getTime() - startedAt.getTime()) / 1000;
    if (verdict.outcome)
      await writeProof(
        verdict.outcome,
        verdict.reason,
        differences,
        manifest,
        startedAt,
        seconds,
        lease,
        backup.vault,
        verdict.outcome === 'disproven' && (await isDamagedHere(backup, environment)) ? [] : copies,
        environment,
      );
    return {
      source: source.name,
      id: manifest.id,
      result: verdict.outcome ?? 'unproven',
      reason: verdict.reason,
      differences,
      seconds,
      error: verdict.error,
      warnings: [],
    };
  });
  return proof.result === 'proven' ? { ...proof, warnings: await runbookAfterProof(environment) } : proof;
}

/** Re-hashes the stored bytes: finds rot on old disks, needs no key, and is not a proof. */
export async function proveStored(backup: OpenedBackup, environment: JobEnvironment): Promise<ProofRun> {
  const { manifest, vault } = backup;
  const startedAt = environment.run.clock.now();
  let error: HoldfastError | null = null;
  try {
    await verifyStored(vault, backupFolder(manifest), manifest.artifacts, environment.run.signal);
  } catch (thrown) {
    if (!(thrown instanceof HoldfastError)) throw thrown;
    error = thrown;
  }
  const seconds = (environment.run.clock.now().getTime() - startedAt.getTime()) / 1000;
  const { source, id } = manifest;
  if (error instanceof Disproven)
    await underProofLease(vault, source, environment, (lease) =>
      writeProof(
        'disproven',
        (error as Disproven).message,
        [],
        manifest,
        startedAt,
        seconds,
        lease,
        vault,
        [vault],
        environment,
      ),
    );
  return {
    source,
    id,
    result: error instanceof Disproven ? 'disproven' : 'unproven',
    reason: error ? error.message : 'the stored bytes are as they were written; not restored (--stored)',
    differences: [],
    seconds,
    error,
    warnings: [],
  };
}

/** Bytes that rotted in one vault say nothing about the copy in another, which is then all that is left. */
async function isDamagedHere({ manifest, vault }: OpenedBackup, environment: JobEnvironment): Promise<boolean> {
  try {
    await verifyStored(vault, backupFolder(manifest), manifest.artifacts, environment.run.signal);
    return false;
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    // A vault that is away now cannot speak for others either.
    return true;
  }
}

async function restoreAndCompare(
  backup: OpenedBackup,
  source: SourceRef,
  environment: JobEnvironment,
): Promise<readonly Difference[]> {
  const { run } = environment;
  run.progress.stage(`restoring ${source.name} into a scratch engine`, null);
  const copy = await environment.engine(source).load(backup, source, run);
  try {
    run.progress.stage(`comparing ${source.name}`, null);
    const differences = await copy.compare();
    // A byte changed in what the engine had no use for is a changed byte all the same.
    await verifyStored(backup.vault, backupFolder(backup.manifest), backup.unread, run.signal);
    return differences;
  } finally {
    await copy.close();
  }
}

interface Verdict {
  /** Null: the attempt failed for a reason that says nothing about the backup (vault away, cancelled). */
  readonly outcome: ProofOutcome | null;
  readonly reason: string | null;
  readonly error: HoldfastError | null;
}

/**
 * A proof needs it, and this machine or its environment has it not. The last three would say by their own exit code that
 * nothing was done, where a backup may have been stored a moment ago.
 */
const LACKING_HERE = [ToolMissing, SpaceLacking, KeysMissing, VariableMissing, NotThereYet];

function judge(manifest: Manifest, differences: readonly Difference[], thrown: HoldfastError | null): Verdict {
  const { source } = manifest;
  if (thrown instanceof Disproven) return { outcome: 'disproven', reason: thrown.message, error: thrown };
  if (thrown instanceof NotProvableHere) return { outcome: 'inconclusive', reason: thrown.message, error: thrown };
  if (thrown && LACKING_HERE.some((kind) => thrown instanceof kind)) {
    const error = new NotProvableHere(thrown.message, { source, hint: thrown.hint, cause: thrown });
    return { outcome: 'inconclusive', reason: error.message, error };
  }
  if (thrown) return { outcome: null, reason: thrown.message, error: thrown };
  if (differences.length === 0) return { outcome: 'proven', reason: null, error: null };
  const reason = `restored, and not equal: ${differences.slice(0, 3).join('; ')}${
    differences.length > 3 ? `; and ${differences.length - 3} more` : ''
  }`;
  const hint = `keep it, take a new backup now (holdfast backup ${source}), and look at: holdfast show ${source} --id ${manifest.id}`;
  return { outcome: 'disproven', reason, error: new Disproven(reason, { source, hint }) };
}

/** Words of an engine or a server may hold what was revealed to it: none of that is written down (I7). */
async function writeProof(
  outcome: ProofOutcome,
  said: string | null,
  differences: readonly Difference[],
  manifest: Manifest,
  startedAt: Date,
  seconds: number,
  lease: Lease,
  tested: Vault,
  copies: readonly Vault[],
  environment: JobEnvironment,
): Promise<void> {
  const { run } = environment;
  const reason = said === null ? null : environment.redact(said);
  const proof: Proof = signProof({
    format: 1,
    source: manifest.source,
    id: manifest.id,
    tier: manifest.tier,
    // With the vault: each counts its own leases, so that two proofs of one second, of two copies, may have one number.
    proof: proofName(startedAt, outcome, `${manifest.source}|${manifest.id}|${tested.name}|${lease.number}`),
    outcome,
    reason,
    differences: differences.map((one) => environment.redact(one)),
    snapshotAt: manifest.snapshotAt,
    startedAt: isoTime(startedAt),
    finishedAt: isoTime(run.clock.now()),
    seconds,
    host: run.host,
    vault: tested.name,
    manifest: manifest.sha256,
  });
  await lease.confirm();
  // The vault that was tested first: its word must not depend on another vault being there.
  const others = copies.filter((vault) => vault.name !== tested.name);
  for (const vault of [tested, ...others]) {
    try {
      await vault.putOnce(proofKey(proof), Buffer.from(`${JSON.stringify(proof, null, 1)}\n`));
      await appendLedger(
        vault,
        manifest.source,
        {
          event: 'proof',
          id: manifest.id,
          manifest: manifest.sha256,
          host: run.host,
          details: { proof: proof.proof, sha256: proof.sha256, outcome, reason, testedIn: tested.name, seconds },
        },
        run.clock,
      );
    } catch (error) {
      if (!(error instanceof HoldfastError) || vault === tested || error instanceof KeyExists) throw error;
      run.log.warn(`the proof of ${manifest.id} could not be written to ${vault.name}: ${error.message}`);
    }
  }
}

async function underProofLease<T>(
  vault: Vault,
  source: string,
  environment: JobEnvironment,
  act: (lease: Lease) => Promise<T>,
): Promise<T> {
  const { run, holder, isGone } = environment;
  const lease = await acquireLease(vault, { source, job: 'prove', holder }, run.clock, isGone);
  try {
    return await act(lease);
  } finally {
    await lease.release();
  }
}

/** The vaults of the source's plan that hold this very backup. */
export async function copiesOf(
  manifest: Manifest,
  vaults: readonly Vault[],
  environment: JobEnvironment,
): Promise<Vault[]> {
  const holding: Vault[] = [];
  for (const vault of vaults) {
    try {
      if ((await manifestAt(vault, manifest)).sha256 === manifest.sha256) holding.push(vault);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      environment.run.log.debug(`no copy of ${manifest.id} in ${vault.name}: ${error.message}`);
    }
  }
  return holding;
}
