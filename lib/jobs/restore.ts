import { HoldfastError, PartlyDone, type ThawNeeded, VaultRefused } from '#core/errors';
import { isoTime, type Manifest } from '#core/manifest';
import type { Clock, Notes, RestoreOutcome, RunContext, SourceRef, StreamingEngine, Vault } from '#core/ports';
import { AWS_CLASS, type ThawSpeed } from '#core/thaw';
import type { BriefError } from '#jobs/backup-run';
import type { Choice, RestoreAsk } from '#jobs/choose-backup';
import { OpenedBackup, type Opening } from '#jobs/open-backup';
import { askForThaw, type Frozen, notYet, stateWords, type Thaw } from '#jobs/thaw';
import { appendLedger } from '#vault/ledger-store';

export interface RestoreSteps {
  readonly id: string;
  readonly bytes: number;
  readonly plainBytes: number;
  readonly expectedSeconds: number | null;
  readonly steps: readonly string[];
}

/**
 * What a restore would do (`--dry-run`). The time is that of the backup's newest proof: unseal, load, compare; a thaw that
 * comes before it is not in it.
 */
export function restoreSteps(
  choice: Choice,
  ask: RestoreAsk,
  target: string,
  vault: Vault,
  thaw: Thaw | null,
): RestoreSteps {
  const { manifest } = choice;
  const volumes = manifest.artifacts.flatMap((artifact) => artifact.volumes);
  const bytes = volumes.reduce((sum, volume) => sum + volume.bytes, 0);
  const plainBytes = manifest.artifacts.reduce((sum, artifact) => sum + artifact.plain.bytes, 0);
  const { proofSeconds } = choice;
  return {
    id: manifest.id,
    bytes,
    plainBytes,
    expectedSeconds: proofSeconds === null ? null : Math.round(proofSeconds * 10) / 10,
    steps: [
      ...(thaw ? [thawStep(thaw)] : []),
      `read ${volumes.length} sealed ${volumes.length === 1 ? 'file' : 'files'} from ${vault.name} (${vault.url}) and compare their sha256`,
      manifest.encryption.method === 'none'
        ? 'decompress (zstd)'
        : `decrypt (${manifest.encryption.method}) and decompress (zstd)`,
      `${ask.overwrite ? 'put it in place of what is there, keeping the old aside' : 'refuse if something is there already'}: ${target}`,
      `load ${ask.only.length > 0 ? `only ${ask.only.join(', ')}` : 'everything'} beside, compare with the fingerprint of ${manifest.snapshotAt}, then switch`,
    ],
  };
}

function thawStep(thaw: Thaw): string {
  const files = `${thaw.files} ${thaw.files === 1 ? 'file' : 'files'} in ${AWS_CLASS[thaw.class]}`;
  return thaw.state === 'needed'
    ? `ask for the thaw of ${files} (${stateWords(thaw)}), and end with exit 3; all else when it is called again after that`
    : `wait for the thaw of ${files}: ${stateWords(thaw)}`;
}

export interface RestoreWorld extends Opening {
  readonly run: RunContext;
  engine(name: Manifest['engine']): StreamingEngine;
  /** Where the plan's commands run. */
  readonly directory: string;
  redact(text: string): string;
  /** Where a machine remembers what it asked for. */
  readonly notes: Notes;
}

export interface RestoreResult {
  readonly source: string;
  readonly id: string;
  readonly target: string;
  readonly seconds: number;
  readonly verified: boolean;
  readonly warnings: readonly string[];
  /** The data is back and equal, and something after it failed. */
  readonly error: PartlyDone | null;
}

/**
 * Gives one backup back, verified, writes it into the vault's ledger, and runs the plan's `afterRestore`.
 * @param source null on the worst day, when there is no plan
 */
export async function restore(
  choice: Choice,
  ask: RestoreAsk,
  target: string,
  source: SourceRef | null,
  vault: Vault,
  world: RestoreWorld,
): Promise<RestoreResult> {
  const { run } = world;
  const { manifest } = choice;
  const startedAt = run.clock.now();
  const secondsSince = (clock: Clock): number => Math.round((clock.now().getTime() - startedAt.getTime()) / 100) / 10;
  const warnings = [...choice.warnings];
  run.progress.stage(`restoring ${manifest.source} ${manifest.id}`, null);
  let outcome: RestoreOutcome;
  try {
    outcome = await world
      .engine(manifest.engine)
      .restore(
        new OpenedBackup(manifest, vault, world),
        { target, only: ask.only, overwrite: ask.overwrite },
        source,
        run,
      );
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    error.source ??= manifest.source;
    const details = { restored: false, code: error.code, message: world.redact(error.message) };
    await tell(vault, manifest, details, world, warnings);
    throw error;
  }
  warnings.push(...outcome.warnings);
  const seconds = secondsSince(run.clock);
  await tell(
    vault,
    manifest,
    { restored: true, target: outcome.target, verified: outcome.verified, seconds },
    world,
    warnings,
  );
  const failed = await afterRestore(source, world);
  return {
    source: manifest.source,
    id: manifest.id,
    target: outcome.target,
    seconds,
    verified: outcome.verified,
    warnings,
    error: failed,
  };
}

/** Why a restore would be refused as things stand now. */
export type Refusal = Pick<BriefError, 'code' | 'message' | 'hint'>;

/**
 * What a restore would be refused for before it changes anything (`--dry-run`): the key, and what is at the target.
 * Empty: nothing that can be seen from here stands in its way.
 */
export async function refusalsOf(
  { manifest }: Choice,
  ask: RestoreAsk,
  target: string,
  source: SourceRef | null,
  vault: Vault,
  world: RestoreWorld,
): Promise<readonly Refusal[]> {
  const backup = new OpenedBackup(manifest, vault, world);
  const request = { target, only: ask.only, overwrite: ask.overwrite };
  const looks = [
    () => backup.key(),
    () => world.engine(manifest.engine).lookAtTarget(backup, request, source, world.run),
  ];
  const refusals: Refusal[] = [];
  for (const look of looks) {
    try {
      await look();
    } catch (error) {
      if (!(error instanceof HoldfastError) || world.run.signal.aborted) throw error;
      const { code, message, hint } = error;
      if (!refusals.some((one) => one.message === message)) refusals.push({ code, message, hint });
    }
  }
  return refusals;
}

/** Instead of a restore: a thaw was asked for, or is under way. */
export interface RestoreLater {
  readonly thaw: Thaw;
  readonly error: ThawNeeded;
  readonly warnings: readonly string[];
}

/**
 * Asks for the thaw of a backup that cannot be read yet, if nobody has; nothing is touched at the target.
 * @param command what to type once it is ready
 * @throws UsageError, VaultRefused it cannot be asked for
 */
export async function restoreLater(
  frozen: Frozen,
  speed: ThawSpeed,
  command: string,
  world: RestoreWorld,
): Promise<RestoreLater> {
  const { vault, manifest } = frozen;
  const warnings = await keyWarnings(manifest, world);
  const { clock } = world.run;
  const thaw = await askForThaw(frozen, speed, { clock, notes: world.notes, warn: (text) => warnings.push(text) });
  if (thaw.state === 'asked') {
    const { files, bytes, readyAt } = thaw;
    const details = { restored: false, thaw: speed, class: thaw.class, files, bytes, readyAt: readyAt ?? '' };
    await tell(vault, manifest, details, world, warnings);
  }
  return { thaw, warnings, error: notYet(frozen, thaw, command) };
}

/** Twelve hours later is too late to find out that there is no key; and no reason not to ask for the thaw now. */
async function keyWarnings({ encryption }: Manifest, world: RestoreWorld): Promise<string[]> {
  if (encryption.method !== 'age') return [];
  try {
    const identity = await world.identity();
    return identity === null ? ['no identity is named that could open it: have one by then (--identity FILE)'] : [];
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return [`it could not be opened now, have the key by then: ${error.message}`];
  }
}

/**
 * The plan's `afterRestore` commands, in order, to the first that fails: `app resume` after a failed `app migrate`
 * would do harm. What was restored stays good.
 */
async function afterRestore(source: SourceRef | null, { run, directory }: RestoreWorld): Promise<PartlyDone | null> {
  const commands = source?.settings.afterRestore ?? [];
  for (const [index, command] of commands.entries()) {
    run.log.info(`afterRestore: ${command}`);
    try {
      await run.processes.run({
        program: 'sh',
        args: ['-c', command],
        cwd: directory,
        env: { HOLDFAST_SOURCE: source?.name ?? '' },
      });
    } catch (cause) {
      if (!(cause instanceof HoldfastError)) throw cause;
      const left = commands.slice(index + 1).map((one) => `\`${one}\``);
      return new PartlyDone(`restored and good, but afterRestore, \`${command}\`: ${cause.message}`, {
        source: source?.name ?? null,
        cause,
        hint: `run it by hand in ${directory}${left.length > 0 ? `, then what comes after it: ${left.join(', ')}` : ''}`,
      });
    }
  }
  return null;
}

/** A vault that may only be read must not stop a restore: what could not be written down is said. */
async function tell(
  vault: Vault,
  manifest: Manifest,
  details: Record<string, string | number | boolean>,
  { run }: RestoreWorld,
  warnings: string[],
): Promise<void> {
  try {
    await appendLedger(
      vault,
      manifest.source,
      {
        event: 'restore',
        id: manifest.id,
        manifest: manifest.sha256,
        host: run.host,
        details: { ...details, at: isoTime(run.clock.now()) },
      },
      run.clock,
    );
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    const reason = error instanceof VaultRefused ? 'the vault is read-only here' : error.message;
    warnings.push(`this restore could not be written into the ledger of ${vault.name}: ${reason}`);
  }
}
