import {
  Busy,
  EXIT,
  type ExitCode,
  HoldfastError,
  HookFailed,
  UsageError,
  VaultMissing,
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

  const reachable: Vault[] = [];
  const unreachable: HoldfastError[] = [];
  for (const name of schedule.to) {
    try {
      const vault = environment.vault(name);
      await readVaultIdentity(vault, plan.plan.name);
      reachable.push(vault);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.exit === EXIT.usage) throw error;
      unreachable.push(error);
      run.log.warn(`vault ${name}: ${error.message}`);
    }
  }
  const home = reachable[0];
  if (!home)
    return ended('failed', withSource(unreachable[0] ?? new VaultMissing('the schedule names no vault'), source));

  const leases: Lease[] = [];
  try {
    for (const vault of reachable)
      leases.push(
        await acquireLease(
          vault,
          { source: request.source, job: 'backup', holder: environment.holder },
          run.clock,
          environment.isGone,
        ),
      );
    return await backupUnderLease(request, source, schedule, reachable, unreachable, leases, environment, {
      startedAt,
      warnings,
      seconds,
      ended,
    });
  } catch (error) {
    if (error instanceof Busy) return ended('busy', withSource(error, source));
    if (error instanceof HoldfastError) return ended('failed', withSource(error, source));
    throw error;
  } finally {
    for (const lease of leases) await releaseLoudly(lease, environment);
  }
}

interface Telling {
  readonly startedAt: Date;
  readonly warnings: string[];
  seconds(): number;
  ended(status: BackupRun['status'], error: HoldfastError | null): BackupRun;
}

async function backupUnderLease(
  request: BackupRequest,
  source: SourceRef,
  schedule: Schedule,
  vaults: readonly Vault[],
  unreachable: readonly HoldfastError[],
  leases: readonly Lease[],
  environment: JobEnvironment,
  telling: Telling,
): Promise<BackupRun> {
  const { run, plan } = environment;
  const [home, ...further] = vaults as [Vault, ...Vault[]];
  const [homeLease] = leases as [Lease, ...Lease[]];
  const engine = environment.engine(source);
  const scheduleText = schedule.cron ?? `every ${schedule.every?.text}`;
  const id = newBackupId({
    source: source.name,
    schedule: scheduleText,
    scheduledAt: telling.startedAt,
    lease: homeLease.number,
  });
  const hookProblems: HoldfastError[] = [];
  let tier: string | null = null;
  let manifest: Manifest;
  try {
    const due = await dueFor(request.tier, schedule, source, home, environment);
    tier = due.tier;
    if (due.mayskip && engine.unchangedSince && (await unchanged(source, home, environment)))
      return await tellUnchanged(source, home, environment, telling);
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
      startedAt: telling.startedAt,
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
        for (const lease of leases) await lease.confirm();
      },
    );
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    await tellFailure(error, { source: source.name, tier, id }, home, environment);
    throw error;
  }

  const bytes = manifest.artifacts.flatMap((one) => one.volumes).reduce((sum, volume) => sum + volume.bytes, 0);
  telling.warnings.push(...manifest.warnings.filter((warning) => !telling.warnings.includes(warning)));
  const problems: HoldfastError[] = [...unreachable, ...hookProblems];
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
  for (const vault of further) {
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
    const attempted = await proveBackup(new OpenedBackup(manifest, home, environment), source, stored, environment);
    proof = attempted.result;
    if (attempted.error) proofError = attempted.error;
  } else if (prove === 'never') telling.warnings.push('unproven by choice: the plan says prove: never');

  const error = proofError ?? problems[0] ?? null;
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
  home: Vault,
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
      details: { at: isoTime(telling.startedAt) },
    },
    environment.run.clock,
  );
  const outcomes = await outcomesOf(home, source.name);
  const proof = stateOf((outcomes.get(newest?.id ?? '') ?? []).map((entry) => entry.outcome));
  return {
    ...telling.ended('unchanged', null),
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
  const left = place.tier ? backupFolder({ ...place, tier: place.tier }) : null;
  try {
    await appendLedger(
      home,
      place.source,
      {
        event: 'failed',
        id: place.id,
        manifest: null,
        host: environment.run.host,
        details: { code: error.code, message: error.message, left },
      },
      environment.run.clock,
    );
  } catch (second) {
    if (!(second instanceof HoldfastError)) throw second;
    environment.run.log.warn(`the failure could not be written into the ledger of ${home.name}: ${second.message}`);
  }
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
    if (!(error instanceof VaultUnreachable)) throw error;
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
