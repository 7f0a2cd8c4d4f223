import { type DueRun, dueRun } from '#core/due';
import { HoldfastError, messageOf } from '#core/errors';
import { type JobDocument, readJob, type StartPayload } from '#core/job';
import { compactTime, isoTime } from '#core/manifest';
import type { Metric } from '#core/metrics';
import type { Source } from '#core/plan';
import type { RunningTask, Tasks } from '#core/ports';
import { jobTextOf, type TaskDetail } from '#core/task-end';
import { placesOfSources } from '#core/where';
import { knownOf } from '#jobs/due-backups';
import { dueProof, proveCron } from '#jobs/due-proofs';
import type { JobEnvironment } from '#jobs/environment';
import { type FinishPorts, finishTask, isFinished } from '#jobs/finish';
import { vaultsOf } from '#jobs/home';
import { identifyVault } from '#jobs/prepare-vaults';
import { proofToRepeat } from '#jobs/repeated-proofs';
import { watch } from '#jobs/watch';
import { watchMetrics } from '#jobs/watch-metrics';

export interface ReconcilePorts extends Omit<FinishPorts, 'telling'> {
  readonly tasks: Tasks;
  newVaultId(): string;
}

export interface Reconciled {
  /** Tasks that were told to stop, as they ran past their deadline. */
  readonly stopped: readonly string[];
  /** Ends of runs that no event had told of. */
  readonly found: readonly string[];
  readonly started: readonly StartPayload[];
  /** Whether everybody was looked at, and told of what changed. */
  readonly warnings: readonly string[];
}

/** What a schedule's own delivery may take: it is spread over five minutes, and a task takes one or two to begin. */
const DELIVERY_MILLISECONDS = 15 * 60_000;
/** Two looks within it start one run: a task that was just started may not be listed yet. */
const SLOT_MILLISECONDS = 15 * 60_000;

/**
 * Everything that should have happened in AWS and did not, made up for; then the watch over everything; then the figures
 * that alarms look at. What one source's vault hinders is said, and hinders no other. Metrics come last: `watched` is
 * the sign that all was done, and its absence rings.
 * @throws HoldfastError ECS, Lambda or CloudWatch does not answer: what can be done without is done before
 */
export async function reconcile(ports: ReconcilePorts, environment: JobEnvironment): Promise<Reconciled> {
  const warnings: string[] = [];
  const failures: HoldfastError[] = [];
  const attempted = async <T>(what: string, act: () => Promise<T>, otherwise: T): Promise<T> => {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      warnings.push(`${what}: ${error.message}`);
      if (error.code === 'cloud-failed') failures.push(error);
      return otherwise;
    }
  };
  for (const name of Object.keys(environment.plan.plan.vaults))
    await attempted(`vault ${name}`, () => identifyVault(environment.vault(name), ports.newVaultId, environment), null);

  const running = await attempted('tasks', () => ports.tasks.running(), null);
  const stopped = running === null ? [] : await stopLate(running, ports, environment, attempted);
  const found: string[] = [];
  for (const detail of await attempted('tasks that ended', () => ports.tasks.ended(), []))
    if (await attempted(detail.taskArn, () => finishIfUnseen(detail, ports, environment), false))
      found.push(detail.taskArn);

  const started: StartPayload[] = [];
  // Whoever does not know what runs starts nothing.
  for (const source of running === null ? [] : cloudSources(environment))
    for (const payload of await attempted(source, () => dueOf(source, running ?? [], environment), [])) {
      await attempted(source, () => ports.invoker.start(payload), undefined);
      started.push(payload);
    }

  let metrics: readonly Metric[] = [];
  const now = environment.run.clock.now();
  const watched = await watch(environment, (looks, vaults) => {
    metrics = watchMetrics(looks, vaults, now);
  });
  await ports.metrics.write([
    ...metrics,
    { metric: 'runsPastDeadline', value: stopped.length, dimensions: {} },
    { metric: 'openAlerts', value: watched.open.length, dimensions: {} },
  ]);
  warnings.push(...watched.warnings);
  for (const warning of warnings) environment.run.log.warn(warning);
  const [failure] = failures;
  if (failure) throw failure;
  await ports.metrics.write([{ metric: 'watched', value: 1, dimensions: {} }]);
  return { stopped, found, started, warnings };
}

type Attempt = <T>(what: string, act: () => Promise<T>, otherwise: T) => Promise<T>;

/** Their own end is an event like any other, and finish-job writes it down with the reason given here. */
async function stopLate(
  running: readonly RunningTask[],
  { tasks }: ReconcilePorts,
  { run }: JobEnvironment,
  attempted: Attempt,
): Promise<string[]> {
  const stopped: string[] = [];
  for (const { task, document } of running) {
    if (Date.parse(document.deadline) > run.clock.now().getTime()) continue;
    const reason = `${document.job} of ${document.source} ran past its deadline, ${document.deadline}`;
    run.log.warn(`${reason}: ${task} is told to stop`);
    await attempted(task, () => tasks.stop(task, reason), undefined);
    stopped.push(task);
  }
  return stopped;
}

/** Its event was lost, or is still on its way. */
async function finishIfUnseen(
  detail: TaskDetail,
  ports: ReconcilePorts,
  environment: JobEnvironment,
): Promise<boolean> {
  const text = jobTextOf(detail);
  if (text === null) return false;
  const document = readJob(text);
  if (await isSeen(document, environment)) return false;
  // What is to be told is told by the watch that follows.
  const { again } = await finishTask(detail, { ...ports, telling: 'follows' }, environment);
  return !again;
}

async function isSeen(document: JobDocument, environment: JobEnvironment): Promise<boolean> {
  for (const name of vaultsOf(document.source, environment)) {
    try {
      if (await isFinished(document, environment.vault(name))) return true;
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      environment.run.log.debug(`${name} cannot tell whether ${document.run} was seen to: ${messageOf(error)}`);
    }
  }
  return false;
}

function cloudSources({ plan: { plan } }: JobEnvironment): readonly string[] {
  return placesOfSources(plan).flatMap(({ source, where }) => (where === 'cloud' ? [source] : []));
}

/** What is to be started for a source now: a run that failed or was missed, a proof whose time has come or that was lost. */
async function dueOf(
  source: string,
  running: readonly RunningTask[],
  environment: JobEnvironment,
): Promise<readonly StartPayload[]> {
  const isRunning = (job: JobDocument['job']): boolean =>
    running.some(({ document }) => document.source === source && document.job === job);
  const payloads: StartPayload[] = [];
  const backup = isRunning('backup') ? null : await dueBackup(source, environment);
  if (backup) payloads.push(backup);
  const proof = isRunning('prove') ? null : await dueProofOf(source, environment);
  if (proof) payloads.push(proof);
  return payloads;
}

async function dueBackup(source: string, environment: JobEnvironment): Promise<StartPayload | null> {
  const now = environment.run.clock.now();
  const settings = environment.plan.plan.sources[source] as Source;
  const due = dueRun(settings, await knownOf(source, environment), now);
  if (!due || !isLate(due, now)) return null;
  return {
    action: 'backup',
    source,
    schedule: due.key,
    scheduledAt: isoTime(due.scheduledAt),
    ...(due.by === 'catch-up' ? { catchUp: true } : {}),
    attempt: `${due.failures}-${slotOf(now)}`,
  };
}

/** The first attempt is the schedule's own to deliver. */
function isLate({ failures, scheduledAt }: DueRun, now: Date): boolean {
  return failures > 0 || now.getTime() - scheduledAt.getTime() > DELIVERY_MILLISECONDS;
}

async function dueProofOf(source: string, environment: JobEnvironment): Promise<StartPayload | null> {
  const now = environment.run.clock.now();
  const cron = proveCron(environment.plan.plan, source);
  if (cron !== null) {
    const { due } = await dueProof(source, cron, environment);
    return due ? { action: 'prove', source, scheduledAt: isoTime(now), attempt: slotOf(now) } : null;
  }
  const repeated = await proofToRepeat(source, environment);
  return repeated && { action: 'prove', source, id: repeated.id, attempt: `${repeated.attempt}-${slotOf(now)}` };
}

function slotOf(now: Date): string {
  return compactTime(new Date(Math.floor(now.getTime() / SLOT_MILLISECONDS) * SLOT_MILLISECONDS));
}
