import { EXIT, KeyExists, KeyMissing } from '#core/errors';
import { hostOfRun, type JobDocument, readJob } from '#core/job';
import type { LedgerEntry } from '#core/ledger';
import type { Manifest } from '#core/manifest';
import type { Metric } from '#core/metrics';
import type { Invoker, MetricSink, Notes, Vault } from '#core/ports';
import { provesAtOnce, stateOf } from '#core/proof';
import { workerLogGroup } from '#core/settings';
import { endOf, jobTextOf, type TaskDetail, type TaskEnd } from '#core/task-end';
import { outcomesOf } from '#jobs/catalog';
import type { JobEnvironment } from '#jobs/environment';
import { answeringVault } from '#jobs/home';
import { recordFailure } from '#jobs/record-failure';
import { isEndOf, type RunTrace, traceOf } from '#jobs/run-trace';
import { watch } from '#jobs/watch';
import { appendLedgerOnce } from '#vault/ledger-store';

export interface FinishPorts {
  readonly invoker: Pick<Invoker, 'start'>;
  readonly metrics: MetricSink;
  /** Whether people are told of it here, or by a watch that follows. */
  readonly telling: 'here' | 'follows';
  /** Writes the page that names every source, after a proof: its task knew one source only. Gives warnings. */
  runbook(environment: JobEnvironment): Promise<readonly string[]>;
}

/** What became of a task that ended. */
export interface Finished {
  /** `ignored`: not ended, or no task of this plan. */
  readonly outcome:
    | 'ignored'
    | 'backup'
    | 'unchanged'
    | 'failed'
    | 'busy'
    | 'proven'
    | 'not proven'
    | 'copied'
    | 'not copied';
  readonly run: string | null;
  readonly source: string | null;
  readonly id: string | null;
  /** In words; what is odd about a good end too. */
  readonly words: string | null;
  /** Somebody had seen to this end before: an event came twice, or the watcher was first. */
  readonly again: boolean;
}

/** Where it is noted that a run's end has been seen to: created once, so that of two who find it one tells. */
function endKey({ source, run }: JobDocument): string {
  return `leases/_ends/${source}/${run}.json`;
}

export async function isFinished(document: JobDocument, vault: Vault): Promise<boolean> {
  try {
    await vault.get(endKey(document));
    return true;
  } catch (error) {
    if (error instanceof KeyMissing) return false;
    throw error;
  }
}

/**
 * Sees to the end of one task: what it left is looked up in the vaults, as its exit code is only half of the story. Made
 * to be called for the same end any number of times: everything it does is done once, or harmless twice.
 * @throws VaultMissing nobody can tell now how it ended; whoever calls tries again
 */
export async function finishTask(
  detail: TaskDetail,
  ports: FinishPorts,
  environment: JobEnvironment,
): Promise<Finished> {
  const text = jobTextOf(detail);
  if (detail.lastStatus !== 'STOPPED' || text === null)
    return { outcome: 'ignored', run: null, source: null, id: null, words: null, again: false };
  const document = readJob(text);
  const { home, seen } = await seenTo(document, detail, ports, environment);
  const again = !(await claimed(document, home));
  const finished = { run: document.run, source: document.source, ...seen.finished, again };
  if (again) return finished;
  await ports.metrics.write(seen.metrics);
  if (ports.telling === 'here') await watch(ofOneSource(document.source, environment));
  return finished;
}

interface Seen {
  readonly finished: Pick<Finished, 'outcome' | 'id' | 'words'>;
  readonly metrics: readonly Metric[];
}

async function seenTo(
  document: JobDocument,
  detail: TaskDetail,
  ports: FinishPorts,
  environment: JobEnvironment,
): Promise<{ readonly home: Vault; readonly seen: Seen }> {
  const end = endOf(detail);
  if (document.job === 'replicate') {
    const home = await answeringVault(document.source, environment);
    return { home, seen: finishCopies(document, end, detail, environment) };
  }
  const trace = await traceOf(document, beganAt(detail, document), environment);
  const seen =
    document.job === 'backup'
      ? await finishBackup(document, end, detail, trace, ports, environment)
      : await finishProof(document, end, detail, trace, ports, environment);
  return { home: trace.home, seen };
}

/**
 * No run of the source: whatever became of it, no ledger says that a backup failed, no figure counts it, nothing is proven.
 * What is still missing is found by the next look of `replicate`, and rings by its lag.
 */
function finishCopies(
  { source }: JobDocument,
  end: TaskEnd,
  { taskArn, containers }: TaskDetail,
  { run, plan: { plan } }: JobEnvironment,
): Seen {
  if (end.ok) return { finished: { outcome: 'copied', id: null, words: null }, metrics: [] };
  const exit = containers.find(({ exitCode }) => exitCode !== undefined)?.exitCode;
  if (exit === EXIT.busy)
    return { finished: { outcome: 'busy', id: null, words: 'another run copies the source' }, metrics: [] };
  const words =
    exit === EXIT.partly ? 'not all of it could be copied; the task’s log says why' : (end.reason as string);
  const stream = `${source}-replicate/worker/${taskArn.split('/').at(-1)}`;
  run.log.warn(
    `replicate of ${source}: ${words}: aws logs tail ${workerLogGroup(plan.name)} --log-stream-names ${stream}`,
  );
  return { finished: { outcome: 'not copied', id: null, words }, metrics: [] };
}

async function finishBackup(
  document: JobDocument,
  end: TaskEnd,
  detail: TaskDetail,
  trace: RunTrace,
  { invoker }: FinishPorts,
  environment: JobEnvironment,
): Promise<Seen> {
  const { source } = document;
  const { manifest, at, entry } = trace;
  const dimensions = { source };
  const ran: Metric[] = [{ metric: 'runSeconds', value: secondsOf(detail), dimensions }];
  const well: Metric[] = [...ran, { metric: 'runFailed', value: 0, dimensions }];
  if (manifest && at) {
    const words = end.ok ? null : `${manifest.id} is stored and whole, but ${end.reason}`;
    if (words !== null) environment.run.log.warn(words);
    if (entry?.event !== 'backup') await adopt(manifest, at, document, words, environment);
    const settings = environment.plan.plan.sources[source];
    if (settings && provesAtOnce(settings) && !(await isTried(manifest, at)))
      await invoker.start({ action: 'prove', source, id: manifest.id, attempt: '0' });
    return { finished: { outcome: 'backup', id: manifest.id, words }, metrics: well };
  }
  if (entry?.event === 'unchanged') {
    return { finished: { outcome: 'unchanged', id: entry.id, words: null }, metrics: well };
  }
  const reason = `${end.reason ?? 'the task ended well, and there is no backup of it'}`;
  const busy = !entry && detail.containers.some(({ exitCode }) => exitCode === EXIT.busy);
  if (busy) return { finished: { outcome: 'busy', id: null, words: 'another run held the source' }, metrics: [] };
  if (!entry) {
    const message = end.hint === null ? reason : `${reason}; ${end.hint}`;
    const failure = { code: 'task-ended', message, host: hostOfRun(document), left: trace.left };
    await recordFailure(document, failure, trace.home, environment, (one) => isEndOf(document, one));
  }
  return {
    finished: { outcome: 'failed', id: entry?.id ?? trace.left?.id ?? null, words: wordsOf(entry) ?? reason },
    metrics: [...ran, { metric: 'runFailed', value: 1, dimensions }],
  };
}

async function finishProof(
  document: JobDocument,
  end: TaskEnd,
  detail: TaskDetail,
  { entry }: RunTrace,
  ports: FinishPorts,
  environment: JobEnvironment,
): Promise<Seen> {
  const { source, id } = document;
  const dimensions = { source };
  if (entry?.details['outcome'] === 'proven') {
    for (const warning of await ports.runbook(environment)) environment.run.log.warn(warning);
    const { seconds } = entry.details;
    return {
      finished: { outcome: 'proven', id, words: null },
      metrics: [
        { metric: 'proofFailed', value: 0, dimensions },
        ...(typeof seconds === 'number' ? [{ metric: 'restoreSeconds' as const, value: seconds, dimensions }] : []),
      ],
    };
  }
  if (!entry && detail.containers.some(({ exitCode }) => exitCode === EXIT.busy))
    return { finished: { outcome: 'busy', id, words: 'another proof held the source' }, metrics: [] };
  const reason = entry?.details['reason'];
  const words = typeof reason === 'string' ? reason : (end.reason ?? 'the task ended well, and left no proof');
  return {
    finished: { outcome: 'not proven', id, words: entry ? `${entry.details['outcome']}: ${words}` : words },
    // What lies in an archive class was not tried at all (`prove-archived`), and rings nobody.
    metrics: entry?.details['archived'] === true ? [] : [{ metric: 'proofFailed', value: 1, dimensions }],
  };
}

/** A run that died between its manifest and its ledger entry has made a backup all the same (I1). */
async function adopt(
  manifest: Manifest,
  vault: Vault,
  document: JobDocument,
  warning: string | null,
  environment: JobEnvironment,
): Promise<void> {
  const { source, id, sha256, tier, snapshotAt, startedAt, finishedAt, host } = manifest;
  const bytes = manifest.artifacts.flatMap(({ volumes }) => volumes).reduce((sum, volume) => sum + volume.bytes, 0);
  const details = {
    tier,
    bytes,
    snapshotAt,
    seconds: (Date.parse(finishedAt) - Date.parse(startedAt)) / 1000,
    trigger: document.trigger.by,
    schedule: manifest.trigger.schedule,
    scheduledAt: manifest.trigger.scheduledAt,
    adopted: warning ?? 'its run wrote no entry',
  };
  const fields = { event: 'backup', id, manifest: sha256, host, details } as const;
  // Its event may come twice, at one moment.
  const isSame = (one: LedgerEntry): boolean => one.event === 'backup' && one.id === id;
  await appendLedgerOnce(vault, source, fields, isSame, environment.run.clock);
}

async function isTried({ source, id }: Manifest, vault: Vault): Promise<boolean> {
  const outcomes = (await outcomesOf(vault, source)).get(id) ?? [];
  return stateOf(outcomes.map(({ outcome }) => outcome)) !== 'unproven';
}

/** False: somebody had noted it before. */
async function claimed(document: JobDocument, home: Vault): Promise<boolean> {
  try {
    await home.putOnce(endKey(document), Buffer.from(`${JSON.stringify({ job: document.job })}\n`));
    return true;
  } catch (error) {
    if (!(error instanceof KeyExists)) throw error;
    return false;
  }
}

/**
 * Only what concerns this source is looked at, and told; what the watcher has noted of the others stays. Its heartbeat
 * is its own: the end of a run does not mean that the watcher lives.
 */
function ofOneSource(source: string, environment: JobEnvironment): JobEnvironment {
  const { plan, notes, messenger } = environment;
  const settings = plan.plan.sources[source];
  const kept: Notes = {
    read: (name) => notes.read(name),
    async write(name, value) {
      const before = await notes.read(name);
      await notes.write(name, { ...(value as object), seen: { ...seenIn(before), ...seenIn(value) } });
    },
  };
  return {
    ...environment,
    plan: { ...plan, plan: { ...plan.plan, sources: settings ? { [source]: settings } : {} } },
    notes: kept,
    messenger: { tell: (telling) => messenger.tell(telling), heartbeat: async () => null },
  };
}

function seenIn(note: unknown): object {
  const seen = (note as { seen?: unknown } | null)?.seen;
  return typeof seen === 'object' && seen !== null ? seen : {};
}

function beganAt({ createdAt, startedAt }: TaskDetail, { trigger, deadline }: JobDocument): Date {
  // ECS says when it made a task; without its word the longest a run may take must do.
  const known = createdAt ?? startedAt ?? trigger.scheduledAt;
  return new Date(known === null ? Date.parse(deadline) - 24 * 3_600_000 : Date.parse(known));
}

/** From the making of the task to its end: what a run costs, the image included. */
function secondsOf({ createdAt, startedAt, stoppedAt }: TaskDetail): number {
  const from = createdAt ?? startedAt;
  if (from === undefined || stoppedAt === undefined) return 0;
  return Math.max(0, (Date.parse(stoppedAt) - Date.parse(from)) / 1000);
}

function wordsOf(entry: RunTrace['entry']): string | null {
  const message = entry?.details['message'];
  return typeof message === 'string' ? message : null;
}
