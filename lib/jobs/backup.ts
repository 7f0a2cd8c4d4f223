import { Busy, Cancelled, EXIT, HoldfastError, HookFailed, messageOf, PartlyDone, VaultMissing } from '#core/errors';
import { isoTime, type Manifest } from '#core/manifest';
import { engineOf, type Schedule } from '#core/plan';
import { assertSupported, support } from '#core/plan-support';
import type { Capture, SourceRef, Vault } from '#core/ports';
import { type ProofState, provesAtOnce, stateOf } from '#core/proof';
import { dueFor, mayBeSkipped, refuseIfAnswered, scheduleFor, unchanged } from '#jobs/backup-due';
import {
  type BackupRequest,
  type BackupRun,
  briefly,
  type Trigger,
  tellFailure,
  triggerDetails,
  withSource,
} from '#jobs/backup-run';
import { outcomesOf, placesAsMade } from '#jobs/catalog';
import { copyBackup } from '#jobs/copy-backup';
import type { JobEnvironment } from '#jobs/environment';
import { freeBackupId } from '#jobs/free-backup-id';
import { guardedBy, type HeldVault, holdVault, isOfVault, lostLease, releaseLoudly } from '#jobs/held-vault';
import { withHooks } from '#jobs/hooks';
import { OpenedBackup } from '#jobs/open-backup';
import { proveBackup } from '#jobs/prove';
import { type BackupPlan, commitManifest, storeArtifacts, storePlan } from '#jobs/store-backup';
import { sealingOf } from '#vault/encryption';
import { appendLedger, ledgerHead } from '#vault/ledger-store';

/**
 * Takes one backup of one source into every vault of its schedule, and proves it. What goes wrong, also with the request
 * or the plan, is told by the run and not thrown: one source must not cost the others their backup.
 */
export async function backup(request: BackupRequest, environment: JobEnvironment): Promise<BackupRun> {
  const { run, plan } = environment;
  const source = environment.source(request.source);
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
    const { schedule, key } = scheduleFor(source, request.tier, request.trigger.schedule);
    const trigger = { ...request.trigger, schedule: key };
    assertSupported(plan, request.source, 'backup');
    for (const name of schedule.to) {
      try {
        held.push(await holdVault(name, source, environment));
      } catch (error) {
        if (!(error instanceof HoldfastError) || error instanceof Busy) throw error;
        away.push(error);
      }
    }
    // Said now as well, for whoever watches a long run; at its end it is the run's error.
    if (held.length > 0) for (const { message } of away) run.log.warn(`going on without a vault: ${message}`);
    await refuseIfAnswered(trigger, source, held, environment);
    for (let first = 0; first < held.length; first++) {
      try {
        return await backupUnderLease({ ...request, trigger }, source, schedule, held.slice(first), away, environment, {
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
  const { trigger } = request;
  const moment = trigger.scheduledAt ?? startedAt;
  const id = await freeBackupId({ source: source.name, schedule, trigger, moment, attempt: telling.attempt }, held);
  const guarded = guardedBy(held, environment);
  const hookProblems: HoldfastError[] = [];
  let tier: string | null = null;
  let manifest: Manifest;
  try {
    const due = await dueFor(request.tier, moment, schedule, source, home, environment);
    tier = due.tier;
    if (mayBeSkipped(request, source, due.mayskip) && (await unchanged(source, home, guarded)))
      return await tellUnchanged(source, trigger, startedAt, home, away, environment, telling);
    const sealing = await sealingOf(plan.plan.encryption, run.processes);
    await storePlan(plan, home);
    const backupPlan: BackupPlan = {
      source: source.name,
      engine: engineOf(source.settings),
      id,
      tier,
      trigger: {
        by: trigger.by,
        schedule: trigger.schedule,
        scheduledAt: trigger.scheduledAt && isoTime(trigger.scheduledAt),
      },
      reason: request.reason,
      point: request.point,
      startedAt,
      lease: homeLease.number,
      ledgerHead: await ledgerHead(home, source.name),
      warnings: [...telling.warnings],
    };
    manifest = await capturing(
      source,
      guarded,
      hookProblems,
      async (capture) => {
        const stored = await storeArtifacts(capture, backupPlan, plan, home, sealing, guarded.run);
        return { stored, commit: () => commitManifest(backupPlan, stored, capture, environment, sealing, home) };
      },
      async () => {
        for (const { lease } of held) await lease.confirm();
      },
    );
  } catch (thrown) {
    const error = thrown instanceof Cancelled ? (whyStopped(run.signal, held) ?? thrown) : thrown;
    // A defect too leaves word of the run before it goes on up.
    const told = error instanceof HoldfastError ? error : { code: 'defect', message: messageOf(error) };
    await tellFailure(told, { source: source.name, tier, id }, trigger, home, environment);
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
        details: {
          tier: manifest.tier,
          bytes,
          snapshotAt: manifest.snapshotAt,
          seconds: telling.seconds(),
          ...triggerDetails(trigger),
        },
      },
      run.clock,
    ),
  );
  const elsewhere = request.afterwards === 'elsewhere';
  for (const { vault } of elsewhere ? [] : further) {
    await attempt(problems, async () => {
      await storePlan(plan, vault);
      telling.warnings.push(...(await copyBackup(manifest, home, vault, environment)));
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
  if (!elsewhere && provesAtOnce(source.settings)) {
    try {
      const attempted = await proveBackup(new OpenedBackup(manifest, home, environment), source, stored, environment);
      proof = attempted.result;
      proofError = attempted.error;
      telling.warnings.push(...attempted.warnings);
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
  } else if (source.settings.prove === 'never') telling.warnings.push('unproven by choice: the plan says prove: never');

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

/** What was stopped has the reason of who stopped it: the host, when it gave one, or a lease that was lost. */
function whyStopped({ aborted, reason }: AbortSignal, held: readonly HeldVault[]): HoldfastError | null {
  if (!aborted) return lostLease(held);
  return reason instanceof HoldfastError ? reason : null;
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
  const hint = `the backup is good; run the command by hand in ${environment.intents.directory}`;
  for (const message of hooked.warnings) hookProblems.push(new HookFailed(message, { source: source.name, hint }));
  await confirm();
  return hooked.result.commit();
}

async function tellUnchanged(
  source: SourceRef,
  trigger: Trigger,
  startedAt: Date,
  home: Vault,
  away: readonly HoldfastError[],
  environment: JobEnvironment,
  telling: Telling,
): Promise<BackupRun> {
  const newest = (await placesAsMade(home, source.name, environment.run.clock.now())).at(-1);
  await appendLedger(
    home,
    source.name,
    {
      event: 'unchanged',
      id: newest?.id ?? null,
      manifest: null,
      host: environment.run.host,
      details: { at: isoTime(startedAt), ...triggerDetails(trigger) },
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

async function attempt(problems: HoldfastError[], act: () => Promise<unknown>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    problems.push(error);
  }
}
