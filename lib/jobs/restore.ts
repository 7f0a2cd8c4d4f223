import { BackupMissing, HoldfastError, PartlyDone, RecordInvalid, UsageError, VaultRefused } from '#core/errors';
import { isoTime, type Manifest } from '#core/manifest';
import type { Clock, RestoreOutcome, RunContext, SourceRef, StreamingEngine, Vault } from '#core/ports';
import { type ProofOutcome, type ProofState, stateOf } from '#core/proof';
import { findBackup, type ListedBackup, listBackups, outcomesOf, proofAt } from '#jobs/catalog';
import { OpenedBackup, type Opening } from '#jobs/open-backup';
import { appendLedger } from '#vault/ledger-store';

export interface RestoreAsk {
  readonly source: string;
  readonly id: string | null;
  readonly at: Date | null;
  readonly point: string | null;
  /** Also a backup that no proof speaks for. */
  readonly unproven: boolean;
  readonly only: readonly string[];
  readonly overwrite: boolean;
}

export interface Choice {
  readonly manifest: Manifest;
  /** What its newest proof took: unseal, load, compare. Null when none proves it. */
  readonly proofSeconds: number | null;
  readonly warnings: readonly string[];
}

/**
 * The newest *proven* backup whose `snapshotAt` is not after `at`; names any newer one that is not proven.
 * @throws BackupMissing nothing answers to what was asked for
 */
export async function chooseBackup(ask: RestoreAsk, vault: Vault): Promise<Choice> {
  const { source } = ask;
  if (ask.id !== null) {
    const manifest = await findBackup(vault, source, ask.id);
    const { state, seconds, warnings } = await proofStateOf(manifest, vault);
    if (state === 'disproven' && !ask.unproven)
      throw new BackupMissing(
        `backup ${ask.id} of ${source} is disproven: its last restore was not equal to its source`,
        {
          source,
          hint: 'restore another one, or take it as it is with --unproven',
        },
      );
    return {
      manifest,
      proofSeconds: seconds,
      warnings: [...warnings, ...(state === 'proven' ? [] : [`backup ${ask.id} is ${state}`])],
    };
  }
  const listing = await listBackups(vault, source);
  const candidates = listing.backups
    .filter(({ manifest }) => ask.at === null || Date.parse(manifest.snapshotAt) <= ask.at.getTime())
    .filter(({ manifest }) => ask.point === null || manifest.point === ask.point)
    .sort((a, b) => Date.parse(a.manifest.snapshotAt) - Date.parse(b.manifest.snapshotAt));
  // A name says `proven`, its record says so of these very bytes: only the record is acted upon.
  const warnings = [...listing.warnings];
  let chosen: ListedBackup | null = null;
  let proofSeconds: number | null = null;
  for (const one of candidates.toReversed()) {
    if (one.proof === 'proven') {
      const read = await proofStateOf(one.manifest, vault);
      warnings.push(...read.warnings);
      if (read.state !== 'proven' && !ask.unproven) continue;
      chosen = { ...one, proof: read.state };
      proofSeconds = read.seconds;
    } else if (ask.unproven && one.proof !== 'disproven') chosen = one;
    if (chosen) break;
  }
  if (!chosen) throw nothingFor(ask, vault, candidates.length, listing.backups.length);
  const { id } = chosen.manifest;
  const newer = candidates.slice(candidates.findIndex((one) => one.manifest.id === id) + 1);
  return {
    manifest: chosen.manifest,
    proofSeconds,
    warnings: [
      ...warnings,
      ...(chosen.proof === 'proven' ? [] : [`backup ${chosen.manifest.id} is ${chosen.proof}`]),
      ...newer.map(
        (one) =>
          `newer, but ${one.proof}: ${one.manifest.id} of ${one.manifest.snapshotAt} (take it with --id ${one.manifest.id} --unproven)`,
      ),
    ],
  };
}

/** What a backup's proof records say of this very manifest; one that was edited or is of other bytes does not count. */
async function proofStateOf(
  manifest: Manifest,
  vault: Vault,
): Promise<{ readonly state: ProofState; readonly seconds: number | null; readonly warnings: readonly string[] }> {
  let seconds: number | null = null;
  const outcomes: ProofOutcome[] = [];
  const warnings: string[] = [];
  for (const { key, outcome } of (await outcomesOf(vault, manifest.source)).get(manifest.id) ?? []) {
    try {
      const proof = await proofAt(vault, key);
      if (proof.manifest === manifest.sha256) {
        outcomes.push(outcome);
        if (outcome === 'proven') seconds = proof.seconds;
      } else warnings.push(`${key} is a proof of another manifest of ${manifest.id} and does not count`);
    } catch (error) {
      if (!(error instanceof RecordInvalid)) throw error;
      warnings.push(error.message);
      // A disproof that cannot be read is still a warning sign, not a green light.
      if (outcome === 'disproven') outcomes.push(outcome);
    }
  }
  return { state: stateOf(outcomes), seconds, warnings };
}

export interface RestoreSteps {
  readonly id: string;
  readonly bytes: number;
  readonly plainBytes: number;
  readonly expectedSeconds: number | null;
  readonly steps: readonly string[];
}

/** What a restore would do (`--dry-run`). The time is that of the backup's newest proof: unseal, load, compare. */
export function restoreSteps(choice: Choice, ask: RestoreAsk, target: string, vault: Vault): RestoreSteps {
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
      `read ${volumes.length} sealed ${volumes.length === 1 ? 'file' : 'files'} from ${vault.name} (${vault.url}) and compare their sha256`,
      manifest.encryption.method === 'none'
        ? 'decompress (zstd)'
        : `decrypt (${manifest.encryption.method}) and decompress (zstd)`,
      `${ask.overwrite ? 'put it in place of what is there, keeping the old aside' : 'refuse if something is there already'}: ${target}`,
      `load ${ask.only.length > 0 ? `only ${ask.only.join(', ')}` : 'everything'} beside, compare with the fingerprint of ${manifest.snapshotAt}, then switch`,
    ],
  };
}

export interface RestoreWorld extends Opening {
  readonly run: RunContext;
  engine(name: Manifest['engine']): StreamingEngine;
  /** Where the plan's commands run. */
  readonly directory: string;
  redact(text: string): string;
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

/** `--at` counts from the snapshot's time and needs an offset: 02:30 is an hour of which day where? */
export function parseMoment(text: string): Date {
  if (!/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$/.test(text) || Number.isNaN(Date.parse(text)))
    throw new UsageError(
      `--at: got "${text}", want a time with its offset such as 2026-11-21T02:30:00Z or 2026-11-21T03:30:00+01:00`,
    );
  return new Date(text);
}

function nothingFor(ask: RestoreAsk, vault: Vault, inTime: number, all: number): BackupMissing {
  const { source } = ask;
  const where = `vault ${vault.name} (${vault.url})`;
  if (all === 0)
    return new BackupMissing(`no backup of ${source} in ${where}`, {
      source,
      hint: 'holdfast list --from VAULT tells what is there',
    });
  const asked = [ask.at ? `not after ${isoTime(ask.at)}` : '', ask.point ? `of point ${ask.point}` : '']
    .filter(Boolean)
    .join(' and ');
  if (inTime === 0)
    return new BackupMissing(`none of the ${all} backups of ${source} in ${where} is ${asked}`, {
      source,
      hint: `holdfast list ${source}`,
    });
  return new BackupMissing(
    `none of the ${inTime} backups of ${source}${asked ? ` ${asked}` : ''} in ${where} is proven`,
    {
      source,
      hint: `prove one (holdfast prove ${source}), or take it as it is with --unproven`,
    },
  );
}
