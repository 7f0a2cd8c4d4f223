import { type JobDocument, jobFor, type StartPayload } from '#core/job';
import { isoTime } from '#core/manifest';
import { variablesOfVaults } from '#core/plan-variables';
import type { Launcher, SecretNames } from '#core/ports';
import { copiedInAws } from '#core/where';
import type { JobEnvironment } from '#jobs/environment';
import { refuseIfHeld, refuseWithoutSecrets } from '#jobs/launch-refusals';
import { prepareVaults } from '#jobs/prepare-vaults';

/** A terabyte at the rate that a function counts on (`jobs/replicate-in-time`), and as long as any task may take. */
const LIMIT_HOURS = 24;

interface Ports {
  readonly launcher: Launcher;
  readonly secrets: SecretNames;
  readonly requestId: string;
  newVaultId(): string;
}

export interface Launched {
  readonly document: JobDocument;
  readonly task: string;
  readonly already: boolean;
  readonly warnings: readonly string[];
}

/**
 * Starts the task that copies what one source's vaults lack. What that is the task finds out: here nobody has the time.
 * @throws UsageError nothing of the source is copied by a task
 */
export async function launchReplicate(
  { source, attempt }: Extract<StartPayload, { action: 'replicate' }>,
  { launcher, secrets, requestId, newVaultId }: Ports,
  environment: JobEnvironment,
): Promise<Launched> {
  const { plan, run } = environment;
  const document = jobFor(plan, {
    job: 'replicate',
    source,
    attempt: attempt ?? requestId,
    id: null,
    tier: null,
    point: null,
    reason: null,
    trigger: { by: attempt === undefined ? 'manual' : 'schedule', schedule: null, scheduledAt: null },
    deadline: isoTime(new Date(run.clock.now().getTime() + LIMIT_HOURS * 3_600_000)),
  });
  const routes = copiedInAws(plan.plan).get(source) ?? [];
  const names = new Set(routes.flatMap(({ from, to }) => [from, to]));
  await refuseWithoutSecrets(source, variablesOfVaults(plan.plan, names), secrets, environment);
  const { vaults, warnings } = await prepareVaults(source, newVaultId, environment, names);
  const targets = new Set(routes.map(({ to }) => to));
  await refuseIfHeld(
    source,
    'replicate',
    vaults.filter(({ name }) => targets.has(name)),
    environment,
  );
  return { document, warnings, ...(await launcher.launch(document, null)) };
}
