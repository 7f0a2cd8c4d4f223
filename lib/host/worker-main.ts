import { Cancelled, EXIT, type ExitCode, HoldfastError, messageOf } from '#core/errors';
import { hostOfRun, type JobDocument, readJob, type TaskJob } from '#core/job';
import type { Log } from '#core/ports';
import { readSettings } from '#core/settings';
import { openWorkerWorld, type WorkerWorld } from '#host/worker-world';
import { SecretKeeper } from '#host/world';
import { backup } from '#jobs/backup';
import { findBackup } from '#jobs/catalog';
import { vaultsOf } from '#jobs/home';
import { proveOne } from '#jobs/prove-one';
import { recordFailure } from '#jobs/record-failure';
import { replicate } from '#jobs/replicate';
import { isEndOf, traceOf } from '#jobs/run-trace';

/** ECS kills a task 120 s after it told it to stop: what has not ended well by then ends at once. */
const STOP_MILLISECONDS = 100_000;

type Environment = Readonly<Record<string, string | undefined>>;

/** The part of `process` that is needed. */
interface Host {
  on(signal: 'SIGTERM' | 'SIGINT', told: () => void): unknown;
  exit(code: number): never;
  readonly stdout: { write(line: string): unknown };
}

/**
 * One task: one job document, one job, an exit code (DESIGN section 8). What it did stands in the vaults; its log is
 * for people.
 */
export async function runWorker(environment: Environment, host: Host): Promise<ExitCode> {
  const secrets = new SecretKeeper((name) => environment[name]);
  const stop = new AbortController();
  let run = '';
  const say = (level: string, message: string, more: object = {}): void => {
    const line = JSON.stringify({ time: new Date().toISOString(), level, run, message, ...more });
    host.stdout.write(`${secrets.redact(line)}\n`);
  };
  const log: Log = {
    debug: () => undefined,
    info: (message) => say('info', message),
    warn: (message) => say('warn', message),
  };
  try {
    const settings = readSettings('worker', environment);
    const document = readJob(settings.HOLDFAST_JOB);
    run = document.run;
    const told = (): void => {
      const late = Date.now() >= Date.parse(document.deadline);
      const why = late ? `the run went on past its deadline, ${document.deadline}` : 'the task was told to stop';
      stop.abort(new Cancelled(`${why}, and was ended`, { source: document.source }));
      setTimeout(() => host.exit(EXIT.failed), STOP_MILLISECONDS).unref();
    };
    host.on('SIGTERM', told);
    host.on('SIGINT', told);
    const machine = { environment, scratch: settings.HOLDFAST_SCRATCH, signal: stop.signal, secrets, log };
    const world = await openWorkerWorld(document, machine);
    try {
      log.info(`${document.job} of ${document.source}, deadline ${document.deadline}`);
      return await WORK[document.job](document, world, say);
    } finally {
      await world.close();
    }
  } catch (error) {
    const known = error instanceof HoldfastError;
    say('error', messageOf(error), known ? { code: error.code, hint: error.hint } : { stack: stackOf(error) });
    return known ? error.exit : EXIT.failed;
  }
}

type Say = (level: string, message: string, more?: object) => void;

const WORK: Readonly<Record<TaskJob, (document: JobDocument, world: WorkerWorld, say: Say) => Promise<ExitCode>>> = {
  backup: backUp,
  prove,
  replicate: copy,
};

async function backUp(document: JobDocument, world: WorkerWorld, say: Say): Promise<ExitCode> {
  const { source, tier, point, reason, trigger } = document;
  const startedAt = world.run.clock.now();
  const done = await backup(
    {
      source,
      tier,
      point,
      reason,
      trigger: { ...trigger, scheduledAt: trigger.scheduledAt === null ? null : new Date(trigger.scheduledAt) },
      afterwards: 'elsewhere',
    },
    world,
  );
  const { status, id, bytes, vaults, error, exit, warnings } = done;
  for (const warning of warnings) say('warn', warning);
  if (error) say(status === 'failed' ? 'error' : 'warn', error.message, { code: error.code, hint: error.hint });
  say('info', `${source}: ${status}`, { id, tier: done.tier, bytes, vaults, seconds: done.seconds, exit });
  // What failed before there was a vault to write into is in no ledger yet.
  if (status === 'failed' && error) await recordOnce(document, error, startedAt, world);
  return exit;
}

async function recordOnce(
  document: JobDocument,
  { code, message }: { readonly code: string; readonly message: string },
  startedAt: Date,
  world: WorkerWorld,
): Promise<void> {
  try {
    const { home, entry, left } = await traceOf(document, startedAt, world);
    const failure = { code, message, host: hostOfRun(document), left };
    if (entry === null) await recordFailure(document, failure, home, world, (one) => isEndOf(document, one));
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    // finish-job finds a run that left no word, and writes it down.
    world.run.log.warn(`the failure could not be written into the ledger: ${error.message}`);
  }
}

async function prove(document: JobDocument, world: WorkerWorld, say: Say): Promise<ExitCode> {
  const { source, id } = document;
  const proof = await proveOne({ source, id, from: await holderOf(document, world), stored: false }, world);
  for (const warning of proof.warnings) say('warn', warning);
  for (const difference of proof.differences) say('warn', difference);
  const { error, result, seconds } = proof;
  if (error) say('error', error.message, { code: error.code, hint: error.hint });
  say('info', `${source}: ${proof.id} ${result}`, { id: proof.id, seconds, reason: proof.reason });
  return error?.exit ?? EXIT.done;
}

async function copy({ source }: JobDocument, world: WorkerWorld, say: Say): Promise<ExitCode> {
  const done = await replicate({ sources: [source], from: null, to: null, dryRun: false }, world);
  for (const line of [...done.warnings, ...done.differences]) say('warn', line);
  for (const { id, from, to, status, bytes, seconds, error } of done.copies)
    say(error ? 'error' : 'info', `${source}: ${id} ${from} → ${to} ${status}${error ? `: ${error.message}` : ''}`, {
      id,
      bytes,
      seconds,
    });
  const { error, copies, proofs, exit } = done;
  if (error) say('error', error.message, { code: error.code, hint: error.hint });
  const copied = copies.filter(({ status }) => status === 'copied').length;
  say('info', `${source}: ${copied} of ${copies.length} copied`, { proofs, exit });
  return exit;
}

/** The vault that has it: not always the first, as a night's backup goes where there is room. */
async function holderOf({ source, id }: JobDocument, world: WorkerWorld): Promise<string | null> {
  if (id === null) return null;
  for (const name of vaultsOf(source, world)) {
    try {
      await findBackup(world.vault(name), source, id);
      return name;
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      world.run.log.info(`${id} is not taken from ${name}: ${error.message}`);
    }
  }
  return null;
}

function stackOf(error: unknown): string | null {
  return error instanceof Error ? (error.stack ?? null) : null;
}
