import {
  Busy,
  EXIT,
  type ExitCode,
  HoldfastError,
  HookFailed,
  PartlyDone,
  SpaceLacking,
  StoredBytesDiffer,
  UsageError,
  VaultMissing,
  VaultRefused,
  VaultUnreachable,
} from '#core/errors';
import { backupFolder, isoTime, type Manifest, newBackupId } from '#core/manifest';
import { engineOf, type Schedule } from '#core/plan';
import { assertSupported, support } from '#core/plan-support';
import type { Capture, SourceRef, Vault } from '#core/ports';
import type { ProofState } from '#core/proof';
import { stateOf } from '#core/proof';
import { dueTier, tiersOf } from '#core/tiers';
import { manifestAt, outcomesOf, placesOf } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import { withHooks } from '#jobs/hooks';
import { OpenedBackup } from '#jobs/open-backup';
import { proveBackup } from '#jobs/prove';
import { type BackupPlan, commitManifest, copyBackup, storeArtifacts, storePlan } from '#jobs/store-backup';
import { sealingOf } from '#vault/encryption';
import { readVaultIdentity } from '#vault/identity';
import { acquireLease, type Lease } from '#vault/lease';
import { appendLedger, ledgerHead } from '#vault/ledger-store';

export interface BackupRequest {
  readonly source: string;
  readonly tier: string | null;
  readonly point: string | null;
  readonly reason: string | null;
}

/** One source's run, as `--json` tells it (DESIGN section 8). */
export interface BackupRun {
  readonly source: string;
  readonly id: string | null;
  readonly kind: Manifest['kind'];
  readonly tier: string | null;
  /** Where the whole backup now lies. */
  readonly vaults: readonly string[];
  readonly status: 'ok' | 'failed' | 'busy' | 'unchanged';
  readonly proof: ProofState;
  readonly bytes: number;
  readonly error: { readonly code: string; readonly message: string; readonly hint: string | null } | null;
  readonly exit: ExitCode;
  readonly seconds: number;
  readonly warnings: readonly string[];
}

/**
 * Takes one backup of one source into every vault of its schedule, and proves it. Never throws for what happens to the
 * source or the vaults: the run tells it. Throws `UsageError` and the like for what is wrong with the request or plan.
 */
export async function backup(request: BackupRequest, environment: JobEnvironment): Promise<BackupRun> {
  const { run, plan } = environment;
  const source = environment.source(request.source);
  const schedule = scheduleFor(source, request.tier);
  assertSupported(plan.plan, request.source, 'backup');

  const startedAt = run.clock.now();
  const warnings = support(plan.plan, request.source, 'backup').warnings.map(({ message }) => message);
  const seconds = (): number => Math.round((run.clock.now().getTime() - startedAt.getTime()) / 100) / 10;
  const nothing = { source: request.source, id: null, kind: 'full', tier: null, vaults: [], bytes: 0 } as const;
  const ended = (status: BackupRun['status'], error: HoldfastError | null): BackupRun => ({
    ...nothing,
    status,
    proof: 'unproven',
    error: error ? briefly(error) : null,
    exit: error?.exit ?? EXIT.done,
    seconds: seconds(),
    warnings,
  });

  const held: HeldVault[] = [];
  const away: HoldfastError[] = [];
  try {
    for (const name of schedule.to) {
      try {
        held.push(await holdVault(name, source, environment));
      } catch (error) {
        if (!(error instanceof HoldfastError) || error instanceof Busy) throw error;
        away.push(error);
        run.log.warn(`vault ${name}: ${error.message}`);
      }
    }
    for (let first = 0; first < held.length; first++) {
      try {
        return await backupUnderLease(request, source, schedule, held.slice(first), away, environment, {
          attempt: first,
          warnings,
          seconds,
          ended,
        });
      } catch (error) {
        // What the first vault could not take goes to the next, so that the night is not lost with one disk.
        if (!isOfVault(error) || first + 1 === held.length || run.signal.aborted) throw error;
        const failed = held[first] as HeldVault;
        away.push(error);
        run.log.warn(`vault ${failed.vault.name}: ${error.message}; trying the next one`);
      }
    }
    return ended('failed', withSource(away[0] ?? new VaultMissing('the schedule names no vault'), source));
  } catch (error) {
    if (error instanceof Busy) return ended('busy', withSource(error, source));
    if (error instanceof HoldfastError) return ended('failed', withSource(error, source));
    throw error;
  } finally {
    for (const { lease } of held) await releaseLoudly(lease, environment);
  }
}

/** A vault that answers, is this plan's, and in which this run holds the source's lease. */
interface HeldVault {
  readonly vault: Vault;
  readonly lease: Lease;
}

async function holdVault(name: string, source: SourceRef, environment: JobEnvironment): Promise<HeldVault> {
  const { plan, run, holder, isGone } = environment;
  const vault = environment.vault(name);
  await readVaultIdentity(vault, plan.plan.name);
  const lease = await acquireLease(vault, { source: source.name, job: 'backup', holder }, run.clock, isGone);
  return { vault, lease };
}

function isOfVault(error: unknown): error is HoldfastError {
  return [SpaceLacking, VaultRefused, VaultUnreachable, VaultMissing, StoredBytesDiffer].some(
    (kind) => error instanceof kind,
  );
}

interface Telling {
  /** From 0: which of the vaults is tried as the first. */
  readonly attempt: number;
  readonly warnings: string[];
  seconds(): number;
  ended(status: BackupRun['status'], error: HoldfastError | null): BackupRun;
}

async function backupUnderLease(
  request: BackupRequest,
  source: SourceRef,
  schedule: Schedule,
  held: readonly HeldVault[],
  away: readonly HoldfastError[],
  environment: JobEnvironment,
  telling: Telling,
): Promise<BackupRun> {
  const { run, plan } = environment;
  const [{ vault: home, lease: homeLease }, ...further] = held as [HeldVault, ...HeldVault[]];
  const startedAt = run.clock.now();
  const scheduleText = schedule.cron ?? `every ${schedule.every?.text}`;
  const id = newBackupId({
    source: source.name,
    schedule: scheduleText,
    // A second later for each attempt: two vaults may count their leases alike, and ids must differ.
    scheduledAt: new Date(startedAt.getTime() + telling.attempt * 1000),
    lease: homeLease.number,
  });
  const hookProblems: HoldfastError[] = [];
  let tier: string | null = null;
  let manifest: Manifest;
  try {
    const due = await dueFor(request.tier, schedule, source, home, environment);
    tier = due.tier;
    if (mayBeSkipped(request, source, due.mayskip) && (await unchanged(source, home, environment)))
      return await tellUnchanged(source, startedAt, home, away, environment, telling);
    const sealing = await sealingOf(plan.plan.encryption, run.processes);
    await storePlan(plan, home);
    const backupPlan: BackupPlan = {
      source: source.name,
      engine: engineOf(source.settings),
      id,
      tier,
      trigger: { by: 'manual', schedule: scheduleText, scheduledAt: null },
      reason: request.reason,
      point: request.point,
      startedAt,
      lease: homeLease.number,
      ledgerHead: await ledgerHead(home, source.name),
      warnings: [...telling.warnings],
    };
    manifest = await capturing(
      source,
      environment,
      hookProblems,
      async (capture) => {
        const stored = await storeArtifacts(capture, backupPlan, home, sealing, run);
        return { stored, commit: () => commitManifest(backupPlan, stored, capture, plan, sealing, home, run) };
      },
      async () => {
        for (const { lease } of held) await lease.confirm();
      },
    );
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    await tellFailure(error, { source: source.name, tier, id }, home, environment);
    throw error;
  }

  const bytes = manifest.artifacts.flatMap((one) => one.volumes).reduce((sum, volume) => sum + volume.bytes, 0);
  telling.warnings.push(...manifest.warnings.filter((warning) => !telling.warnings.includes(warning)));
  const problems: HoldfastError[] = [...away, ...hookProblems];
  const stored = [home];
  await attempt(problems, () =>
    appendLedger(
      home,
      source.name,
      {
        event: 'backup',
        id,
        manifest: manifest.sha256,
        host: run.host,
        details: { tier: manifest.tier, bytes, snapshotAt: manifest.snapshotAt },
      },
      run.clock,
    ),
  );
  for (const { vault } of further) {
    await attempt(problems, async () => {
      await storePlan(plan, vault);
      await copyBackup(manifest, home, vault, run);
      stored.push(vault);
      await appendLedger(
        vault,
        source.name,
        {
          event: 'copied-from',
          id,
          manifest: manifest.sha256,
          host: run.host,
          details: { vault: home.name, tier: manifest.tier, bytes },
        },
        run.clock,
      );
    });
  }

  let proof: ProofState = 'unproven';
  let proofError: HoldfastError | null = null;
  const prove = source.settings.prove ?? 'always';
  if (prove === 'always' || (typeof prove === 'object' && prove.cron === undefined)) {
    try {
      const attempted = await proveBackup(new OpenedBackup(manifest, home, environment), source, stored, environment);
      proof = attempted.result;
      proofError = attempted.error;
    } catch (error) {
      // The backup is committed: what hinders its proof cannot make it fail, or busy (I1).
      if (!(error instanceof HoldfastError)) throw error;
      problems.push(
        new PartlyDone(`${id} is stored and not proven: ${error.message}`, {
          hint: `holdfast prove ${source.name} --id ${id}`,
          cause: error,
        }),
      );
    }
  } else if (prove === 'never') telling.warnings.push('unproven by choice: the plan says prove: never');

  const [error = null, ...more] = proofError ? [proofError, ...problems] : problems;
  telling.warnings.push(...more.map(({ message }) => message));
  const copyMissing = !proofError && problems.length > 0;
  return {
    source: source.name,
    id,
    kind: manifest.kind,
    tier: manifest.tier,
    vaults: stored.map((vault) => vault.name),
    status: 'ok',
    proof,
    bytes,
    error: error ? briefly(withSource(error, source)) : null,
    exit: copyMissing ? EXIT.partly : (proofError?.exit ?? EXIT.done),
    seconds: telling.seconds(),
    warnings: telling.warnings,
  };
}

/** Opens the snapshot between the hooks, lets `store` read it, closes it, and commits only when all of that was well. */
async function capturing<S>(
  source: SourceRef,
  environment: JobEnvironment,
  hookProblems: HoldfastError[],
  store: (capture: Capture) => Promise<{ readonly stored: S; commit(): Promise<Manifest> }>,
  confirm: () => Promise<void>,
): Promise<Manifest> {
  const { run } = environment;
  const hooked = await withHooks(source, environment, async () => {
    const capture = await environment.engine(source).capture(source, run);
    try {
      return await store(capture);
    } finally {
      await capture.close();
    }
  });
  for (const message of hooked.warnings) hookProblems.push(new HookFailed(message, { source: source.name }));
  await confirm();
  return hooked.result.commit();
}

/** The schedule that a request by hand belongs to: the first that may land in the tier asked for. */
function scheduleFor(source: SourceRef, tier: string | null): Schedule {
  const { schedule } = source.settings;
  const found = schedule.find((one) => one.kind !== 'differential' && (tier === null || tiersOf(one).includes(tier)));
  if (found) return found;
  const allowed = [...new Set(schedule.flatMap(tiersOf))];
  throw new UsageError(`no schedule of ${source.name} has tier "${tier}", want one of ${allowed.join(', ')}`, {
    source: source.name,
  });
}

async function dueFor(
  asked: string | null,
  schedule: Schedule,
  source: SourceRef,
  home: Vault,
  environment: JobEnvironment,
): Promise<{ readonly tier: string; readonly mayskip: boolean }> {
  const { plan } = environment.plan;
  const outcomes = await outcomesOf(home, source.name);
  const existing = (await placesOf(home, source.name)).map((place) => ({
    tier: place.tier,
    at: timeOfId(place.id),
    proof: stateOf((outcomes.get(place.id) ?? []).map((entry) => entry.outcome)),
  }));
  const moment = environment.run.clock.now();
  const due = dueTier(tiersOf(schedule), plan.tiers, plan.timezone, moment, existing);
  return { tier: asked ?? due.tier, mayskip: asked === null && !due.mustStore };
}

function timeOfId(id: string): Date {
  const [, year, month, day, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z/.exec(id) ?? ([] as string[]);
  return new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}

/** Only where the plan says `onChange`, and not when somebody asked for this very moment. */
function mayBeSkipped(request: BackupRequest, source: SourceRef, tierAllows: boolean): boolean {
  return tierAllows && source.settings.files?.onChange === true && request.point === null && request.reason === null;
}

async function unchanged(source: SourceRef, home: Vault, environment: JobEnvironment): Promise<boolean> {
  const outcomes = await outcomesOf(home, source.name);
  const places = await placesOf(home, source.name);
  const newest = places.at(-1);
  if (!newest) return false;
  const state = stateOf((outcomes.get(newest.id) ?? []).map((entry) => entry.outcome));
  if (state === 'disproven') return false;
  const { unchangedSince } = environment.engine(source);
  if (!unchangedSince) return false;
  const manifest = await manifestAt(home, newest);
  if (manifest.fingerprint.content === null) return false;
  return unchangedSince(source, manifest.fingerprint.content, environment.run);
}

async function tellUnchanged(
  source: SourceRef,
  startedAt: Date,
  home: Vault,
  away: readonly HoldfastError[],
  environment: JobEnvironment,
  telling: Telling,
): Promise<BackupRun> {
  const newest = (await placesOf(home, source.name)).at(-1);
  await appendLedger(
    home,
    source.name,
    {
      event: 'unchanged',
      id: newest?.id ?? null,
      manifest: null,
      host: environment.run.host,
      details: { at: isoTime(startedAt) },
    },
    environment.run.clock,
  );
  const outcomes = await outcomesOf(home, source.name);
  const proof = stateOf((outcomes.get(newest?.id ?? '') ?? []).map((entry) => entry.outcome));
  return {
    ...telling.ended('unchanged', away[0] ?? null),
    exit: away.length > 0 ? EXIT.partly : EXIT.done,
    id: newest?.id ?? null,
    tier: newest?.tier ?? null,
    vaults: [home.name],
    proof,
  };
}

/** The ledger says why, and where the leftovers lie (I13). A vault that cannot take even that is said beside the cause. */
async function tellFailure(
  error: HoldfastError,
  place: { readonly source: string; readonly tier: string | null; readonly id: string },
  home: Vault,
  environment: JobEnvironment,
): Promise<void> {
  try {
    const left = place.tier ? await leftIn(home, backupFolder({ ...place, tier: place.tier })) : null;
    await appendLedger(
      home,
      place.source,
      {
        event: 'failed',
        id: place.id,
        manifest: null,
        host: environment.run.host,
        details: { code: error.code, message: environment.redact(error.message), left },
      },
      environment.run.clock,
    );
  } catch (second) {
    if (!(second instanceof HoldfastError)) throw second;
    environment.run.log.warn(`the failure could not be written into the ledger of ${home.name}: ${second.message}`);
  }
}

/** Null when the run failed before anything was stored. */
async function leftIn(home: Vault, folder: string): Promise<string | null> {
  for await (const _entry of home.list(`${folder}/`, { limit: 1 })) return folder;
  return null;
}

async function attempt(problems: HoldfastError[], act: () => Promise<unknown>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    problems.push(error);
  }
}

async function releaseLoudly(lease: Lease, environment: JobEnvironment): Promise<void> {
  try {
    await lease.release();
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    environment.run.log.warn(`the lease could not be given back, it ends by itself in 90 s: ${error.message}`);
  }
}

export function briefly(error: HoldfastError): { code: string; message: string; hint: string | null } {
  return { code: error.code, message: error.message, hint: error.hint };
}

function withSource(error: HoldfastError, source: SourceRef): HoldfastError {
  error.source ??= source.name;
  return error;
}
