import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { UsageError } from '#core/errors';
import { hostOfRun, type JobDocument } from '#core/job';
import { planOfJob } from '#core/job-plan';
import { engineOf } from '#core/plan';
import type { Log, RunContext, Vault } from '#core/ports';
import { machineClock } from '#host/clock';
import { engineNamed } from '#host/engines';
import { silentMessenger } from '#host/function-world';
import { isGone, thisHolder } from '#host/holder';
import { fileIntents } from '#host/intents';
import { createProcesses } from '#host/processes';
import { openScratch } from '#host/scratch';
import type { SecretKeeper } from '#host/world';
import type { JobEnvironment } from '#jobs/environment';
import { findIdentity } from '#vault/identity-file';
import { openVault } from '#vault/open';

export interface WorkerMachine {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Below it everything is written that is written here: the rest of a task's disk is read-only. */
  readonly scratch: string;
  readonly signal: AbortSignal;
  readonly secrets: SecretKeeper;
  readonly log: Log;
}

export interface WorkerWorld extends JobEnvironment {
  close(): Promise<void>;
}

/**
 * What a task gives its one job: the plan is the piece that stands in its document, variables are what ECS put into its
 * environment. It tells nobody: finish-job and the watcher read what it wrote.
 */
export async function openWorkerWorld(
  document: JobDocument,
  { environment, scratch, signal, secrets, log }: WorkerMachine,
): Promise<WorkerWorld> {
  const plan = planOfJob(document);
  const opened = await openScratch({ ...environment, HOLDFAST_SCRATCH: scratch });
  for (const line of opened.swept) log.info(line);
  const temporary = join(opened.path, 'tmp');
  await mkdir(temporary, { mode: 0o700 });
  // Children's own temporary files and settings, too.
  const children = { ...environment, TMPDIR: temporary, HOME: temporary, HOLDFAST_STATE: join(opened.path, 'state') };
  const processes = createProcesses(children, signal, opened.path);
  const host = hostOfRun(document);
  const run: RunContext = {
    processes,
    clock: machineClock,
    log,
    progress: { stage: (name) => log.info(name), advance: () => undefined },
    scratch: opened.path,
    signal,
    reveal: (text) => secrets.reveal(text),
    host,
  };
  const vaults = new Map<string, Vault>();
  const settings = plan.plan.sources[document.source];
  if (!settings) throw new UsageError(`the job document is of ${document.source}, and its plan does not have it`);
  let identity: ReturnType<typeof findIdentity> | null = null;
  return {
    plan,
    run,
    vault(name) {
      const known = vaults.get(name);
      if (known) return known;
      const place = plan.plan.vaults[name];
      if (!place)
        throw new UsageError(
          `no vault "${name}" in the job document, want one of ${Object.keys(plan.plan.vaults).join(', ')}`,
        );
      const vault = openVault(name, place, { reveal: run.reveal, processes, baseDirectory: opened.path });
      vaults.set(name, vault);
      return vault;
    },
    source(name) {
      if (name !== document.source) throw new UsageError(`the job document is of ${document.source}, not of ${name}`);
      return { name, settings };
    },
    engine: (source) => engineNamed(engineOf(source.settings)),
    identity: () => {
      identity ??= findIdentity(plan.plan.encryption, {
        planFolder: opened.path,
        scratch: opened.path,
        reveal: run.reveal,
      });
      return identity;
    },
    holder: { ...thisHolder(), host },
    isGone,
    intents: fileIntents(children, plan.plan.name, opened.path),
    messenger: silentMessenger,
    notes: { read: async () => null, write: async () => undefined },
    redact: (text) => secrets.redact(text),
    close: () => opened.close(),
  };
}
