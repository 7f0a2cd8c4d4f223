import { isAnswered, scheduleKeys } from '#core/due';
import { BackupMissing, Busy, HoldfastError, UsageError } from '#core/errors';
import { type JobDocument, jobFor, type StartPayload, type TaskJob } from '#core/job';
import { isoTime, type Manifest } from '#core/manifest';
import type { Source } from '#core/plan';
import { variablesOfSource } from '#core/plan-variables';
import type { Invoker, Launcher, SecretNames, Vault } from '#core/ports';
import { type ProofState, stateOf } from '#core/proof';
import { workerLogGroup } from '#core/settings';
import { formatBytes } from '#core/size';
import { placesOfSources } from '#core/where';
import { findBackup, manifestAt, outcomesOf, placesAsMade } from '#jobs/catalog';
import { knownOf } from '#jobs/due-backups';
import type { JobEnvironment } from '#jobs/environment';
import { refuseIfHeld, refuseWithoutSecrets } from '#jobs/launch-refusals';
import { launchReplicate } from '#jobs/launch-replicate';
import { pause, pauseOf, resume } from '#jobs/pause';
import { prepareVaults } from '#jobs/prepare-vaults';
import { recordFailure } from '#jobs/record-failure';

/** What starting a job elsewhere needs beside the plan and the vaults. */
export interface LaunchPorts {
  readonly launcher: Launcher;
  readonly secrets: SecretNames;
  readonly invoker: Pick<Invoker, 'retain'>;
  /** Of this very request, and of its repetitions by whoever delivers it: what a person asks for twice is two runs. */
  readonly requestId: string;
  newVaultId(): string;
}

/** What start-job answers: written for the person who typed the command. */
export type StartAnswer =
  | {
      readonly ok: true;
      readonly action: TaskJob;
      readonly source: string;
      readonly id: string | null;
      readonly run: string;
      readonly task: string;
      /** It had been started before: by the same schedule, or a repetition of the same request. */
      readonly already: boolean;
      /** The command that shows what it says. */
      readonly log: string;
      readonly warnings: readonly string[];
    }
  | {
      readonly ok: true;
      readonly action: StartPayload['action'];
      readonly source: string | null;
      readonly done: string;
    }
  | {
      readonly ok: false;
      readonly action: StartPayload['action'];
      readonly source: string | null;
      readonly error: { readonly code: string; readonly message: string; readonly hint: string | null };
    };

type BackupPayload = Extract<StartPayload, { action: 'backup' }>;
type ProvePayload = Extract<StartPayload, { action: 'prove' }>;
type ReplicatePayload = Extract<StartPayload, { action: 'replicate' }>;

/** Past it the watcher ends a task (`jobs/launch-replicate` has its own). Longer ones would also hold back the next night's run. */
const LIMIT_HOURS = { backup: 6, prove: 12 } as const;
/** Fargate's largest scratch, and what a task has unless told (`lib/cloud/worker-tasks`). */
const LARGEST_SCRATCH_GIB = 200;
const USUAL_SCRATCH_GIB = 50;
/** A loaded database is larger than its dump, by its indexes. */
const LOADED_TO_PLAIN = 2;
const GIB = 2 ** 30;

/**
 * Does what a schedule, another function or a person asks for. What goes wrong is an answer; a run by the schedule that
 * could not be started is also written into the ledger as failed, so that the watcher tells of it and tries again.
 * @throws HoldfastError a run by the schedule could neither be started nor written down: whoever delivered it tries again
 */
export async function start(
  payload: StartPayload,
  ports: LaunchPorts,
  environment: JobEnvironment,
): Promise<StartAnswer> {
  const { action } = payload;
  const source = payload.source ?? null;
  try {
    if (payload.action === 'backup') return await startBackup(payload, ports, environment);
    if (payload.action === 'prove') return await startProof(payload, ports, environment);
    if (payload.action === 'replicate') return await startCopies(payload, ports, environment);
    return { ok: true, action, source, done: await changeCourse(payload, ports, environment) };
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    if (payload.action === 'backup' && isOfSchedule(payload) && !(error instanceof Busy)) {
      const failed = await recorded(payload, error, environment);
      if (!failed) throw error;
    }
    const message = environment.redact(error.message);
    return { ok: false, action, source, error: { code: error.code, message, hint: error.hint } };
  }
}

async function startBackup(
  payload: BackupPayload,
  ports: LaunchPorts,
  environment: JobEnvironment,
): Promise<StartAnswer> {
  const { source, schedule = null } = payload;
  const now = environment.run.clock.now();
  const settings = cloudSource(source, environment);
  if (schedule !== null && !scheduleKeys(settings).includes(schedule))
    throw new UsageError(
      `no schedule of ${source} is "${schedule}" any more, want one of ${scheduleKeys(settings).join(', ')}`,
      { source, hint: 'deploy the stack again: its schedules are of another plan' },
    );
  const scheduledAt = payload.scheduledAt === undefined ? null : new Date(payload.scheduledAt);
  const warnings: string[] = [];
  const paused = await pauseOf(source, environment);
  if (paused !== null) {
    if (isOfSchedule(payload)) return done(payload, `${source} is paused: ${paused}`);
    warnings.push(`${source} is paused: ${paused}; backed up all the same, as somebody asked for it`);
  }
  await refuseWithoutSecrets(
    source,
    variablesOfSource(environment.plan.plan, source, 'no identity'),
    ports.secrets,
    environment,
  );
  const { vaults, warnings: away } = await prepareVaults(source, ports.newVaultId, environment);
  if (schedule !== null && scheduledAt !== null) {
    const { histories } = await knownOf(source, environment);
    if (isAnswered(schedule, scheduledAt, histories, now))
      return done(payload, `the run of ${source} for ${isoTime(scheduledAt)} (${schedule}) was made already`);
  }
  await refuseIfHeld(source, 'backup', vaults, environment);
  const begins = scheduledAt !== null && payload.attempt === undefined ? scheduledAt : now;
  const document = jobFor(environment.plan, {
    job: 'backup',
    source,
    attempt: attemptOf(payload, ports),
    id: null,
    tier: payload.tier ?? null,
    point: payload.point ?? null,
    reason: payload.reason ?? null,
    trigger: {
      by: scheduledAt === null ? 'manual' : payload.catchUp ? 'catch-up' : 'schedule',
      schedule,
      scheduledAt: scheduledAt && isoTime(scheduledAt),
    },
    deadline: deadlineOf('backup', begins),
  });
  return started(document, await ports.launcher.launch(document, null), [...warnings, ...away]);
}

async function startProof(
  payload: ProvePayload,
  ports: LaunchPorts,
  environment: JobEnvironment,
): Promise<StartAnswer> {
  const { source, id = null, scheduledAt } = payload;
  const settings = cloudSource(source, environment);
  if (settings.prove === 'never')
    throw new UsageError(`${source} says prove: never, and so has no task that could`, {
      source,
      hint: 'take the line out of the plan and deploy it, or prove it here: holdfast prove',
    });
  const { vaults, warnings } = await prepareVaults(source, ports.newVaultId, environment);
  const [home] = vaults as [Vault, ...Vault[]];
  const { manifest, proof } =
    id === null
      ? await newestIn(home, source, scheduledAt, environment.run.clock.now())
      : await named(vaults, source, id);
  if (proof === 'proven' && isOfMachinery(payload)) return done(payload, `${manifest.id} is proven already`);
  const scratchGiB = scratchFor(manifest);
  await refuseWithoutSecrets(
    source,
    variablesOfSource(environment.plan.plan, source, 'identity'),
    ports.secrets,
    environment,
  );
  await refuseIfHeld(source, 'prove', vaults, environment);
  const document = jobFor(environment.plan, {
    job: 'prove',
    source,
    attempt: attemptOf(payload, ports),
    id: manifest.id,
    tier: null,
    point: null,
    reason: null,
    trigger: { by: isOfMachinery(payload) ? 'schedule' : 'manual', schedule: null, scheduledAt: scheduledAt ?? null },
    deadline: deadlineOf('prove', environment.run.clock.now()),
  });
  return started(document, await ports.launcher.launch(document, scratchGiB), warnings);
}

async function startCopies(
  payload: ReplicatePayload,
  ports: LaunchPorts,
  environment: JobEnvironment,
): Promise<StartAnswer> {
  const { document, warnings, ...launched } = await launchReplicate(payload, ports, environment);
  return started(document, launched, warnings);
}

async function changeCourse(
  payload: Exclude<StartPayload, BackupPayload | ProvePayload | ReplicatePayload>,
  ports: LaunchPorts,
  environment: JobEnvironment,
): Promise<string> {
  if (payload.action === 'retain') {
    const { source = null, dryRun = false } = payload;
    await ports.invoker.retain({ source, dryRun });
    return `retention of ${source ?? 'every source'} was started${dryRun ? ', only to tell what it would do' : ''}`;
  }
  if (!Object.hasOwn(environment.plan.plan.sources, payload.source)) throw unknown(payload.source, environment);
  const { source, reason } = payload;
  const changed =
    payload.action === 'pause'
      ? await pause(source, payload.reason, payload.until === undefined ? null : new Date(payload.until), environment)
      : await resume(source, reason ?? null, environment);
  const until = changed.until === null ? '' : ` until ${changed.until}`;
  return `${source} is ${changed.paused ? `paused${until}` : 'resumed'}, written in ${changed.vaults.join(', ')}`;
}

/** @throws UsageError no source of the plan, or one whose jobs run on a machine */
function cloudSource(source: string, environment: JobEnvironment): Source {
  const place = placesOfSources(environment.plan.plan).find((one) => one.source === source);
  if (!place) throw unknown(source, environment);
  if (place.where === 'here')
    throw new UsageError(`${source} does not run in the cloud: ${place.why}`, {
      source,
      hint: `holdfast backup ${source}, on its machine`,
    });
  return environment.plan.plan.sources[source] as Source;
}

function unknown(source: string, { plan: { plan } }: JobEnvironment): UsageError {
  const cloud = placesOfSources(plan).filter(({ where }) => where === 'cloud');
  return new UsageError(
    `no source "${source}" in the plan as it was deployed, want one of ${cloud.map((one) => one.source).join(', ')}`,
    { source, hint: 'after a change of the plan: npx cdk deploy --all' },
  );
}

interface Chosen {
  readonly manifest: Manifest;
  readonly proof: ProofState;
}

/** The newest that no proof has decided about; the newest of all when a time of `prove: { cron }` has come. */
async function newestIn(vault: Vault, source: string, scheduledAt: string | undefined, now: Date): Promise<Chosen> {
  const places = await placesAsMade(vault, source, now);
  const outcomes = await outcomesOf(vault, source);
  const states = places.map((place) => ({
    place,
    proof: stateOf((outcomes.get(place.id) ?? []).map(({ outcome }) => outcome)),
  }));
  const open = states.findLast(({ proof }) => proof === 'unproven' || proof === 'inconclusive');
  const chosen = scheduledAt === undefined ? (open ?? states.at(-1)) : states.at(-1);
  if (chosen) return { manifest: await manifestAt(vault, chosen.place), proof: chosen.proof };
  throw new BackupMissing(`no backup of ${source} in vault ${vault.name} (${vault.url})`, {
    source,
    hint: `send {"action":"backup","source":"${source}"}`,
  });
}

async function named(vaults: readonly Vault[], source: string, id: string): Promise<Chosen> {
  let missing: BackupMissing | null = null;
  for (const vault of vaults) {
    try {
      const manifest = await findBackup(vault, source, id);
      const outcomes = (await outcomesOf(vault, source)).get(id) ?? [];
      return { manifest, proof: stateOf(outcomes.map(({ outcome }) => outcome)) };
    } catch (error) {
      if (!(error instanceof BackupMissing)) throw error;
      missing ??= error;
    }
  }
  throw missing ?? new BackupMissing(`no vault of ${source} answers`, { source });
}

/**
 * GiB to ask for; null: a task's usual will do.
 * @throws UsageError the restored copy cannot fit into the largest scratch there is
 */
function scratchFor({ artifacts, source, id }: Manifest): number | null {
  const plain = artifacts.reduce((sum, artifact) => sum + artifact.plain.bytes, 0);
  if (plain > LARGEST_SCRATCH_GIB * GIB)
    throw new UsageError(
      `${id} of ${source} is ${formatBytes(plain)} when it is unsealed, a task has at most ${LARGEST_SCRATCH_GIB} GiB of scratch (${formatBytes(LARGEST_SCRATCH_GIB * GIB)}): it cannot be proven there`,
      { source, hint: `prove it where there is room: holdfast prove ${source} --id ${id}; or prove.with: { url }` },
    );
  const wanted = Math.ceil((plain * LOADED_TO_PLAIN) / GIB) + 5;
  return wanted <= USUAL_SCRATCH_GIB ? null : Math.min(wanted, LARGEST_SCRATCH_GIB);
}

function started(
  document: JobDocument,
  { task, already }: { readonly task: string; readonly already: boolean },
  warnings: readonly string[],
): StartAnswer {
  const { job, source, run, id, plan } = document;
  const stream = `${source}-${job}/worker/${task.split('/').at(-1)}`;
  const log = `aws logs tail ${workerLogGroup(String(plan['name']))} --log-stream-names ${stream} --follow`;
  return { ok: true, action: job, source, id, run, task, already, log, warnings };
}

function done({ action, source }: BackupPayload | ProvePayload, words: string): StartAnswer {
  return { ok: true, action, source, done: words };
}

/** A run for a time of a schedule; else a person asks. */
function isOfSchedule({ schedule, scheduledAt }: BackupPayload): boolean {
  return schedule !== undefined && scheduledAt !== undefined;
}

function isOfMachinery({ attempt, scheduledAt }: ProvePayload): boolean {
  return attempt !== undefined || scheduledAt !== undefined;
}

function attemptOf(payload: BackupPayload | ProvePayload, { requestId }: LaunchPorts): string {
  return payload.attempt ?? (payload.scheduledAt === undefined ? requestId : '0');
}

function deadlineOf(job: keyof typeof LIMIT_HOURS, begins: Date): string {
  return isoTime(new Date(begins.getTime() + LIMIT_HOURS[job] * 3_600_000));
}

/** False: no vault can take it. */
async function recorded(payload: BackupPayload, error: HoldfastError, environment: JobEnvironment): Promise<boolean> {
  const settings = environment.plan.plan.sources[payload.source];
  const schedule = payload.schedule as string;
  // Of a source or schedule that left the plan nobody waits for anything.
  if (!settings || !scheduleKeys(settings).includes(schedule)) return true;
  const trigger = {
    by: payload.catchUp ? ('catch-up' as const) : ('schedule' as const),
    schedule,
    scheduledAt: payload.scheduledAt as string,
  };
  const host = environment.run.host;
  for (const name of new Set(settings.schedule.flatMap(({ to }) => to))) {
    try {
      const failure = { code: error.code, message: `could not be started: ${error.message}`, host, left: null };
      await recordFailure({ source: payload.source, trigger }, failure, environment.vault(name), environment);
      return true;
    } catch (second) {
      if (!(second instanceof HoldfastError)) throw second;
      environment.run.log.warn(`the failure could not be written into the ledger of ${name}: ${second.message}`);
    }
  }
  return false;
}
