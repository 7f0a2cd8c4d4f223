import { type DueRun, dueRun, type Known } from '#core/due';
import { VaultMissing } from '#core/errors';
import type { SourceHistory } from '#core/history';
import { isoTime } from '#core/manifest';
import type { Source } from '#core/plan';
import { backup } from '#jobs/backup';
import type { BackupRun } from '#jobs/backup-run';
import type { JobEnvironment } from '#jobs/environment';
import { historyOf, whyMissing } from '#jobs/source-history';
import { readVaultIdentity } from '#vault/identity';

/**
 * What is known of a source's runs, from every vault that answers.
 * @param memory runs that left no trace in any vault, because none could be written
 * @throws VaultMissing none answers: then nobody can know what is due (I14)
 */
export async function knownOf(
  source: string,
  environment: JobEnvironment,
  memory: readonly SourceHistory[] = [],
): Promise<Known> {
  const { plan } = environment.plan;
  const found = await historyOf(source, environment);
  if (found.byVault.size === 0)
    throw new VaultMissing(`what is due for ${source} is not known: ${whyMissing(found).join('; ')}`, {
      source,
      hint: 'mount or reach one of its vaults; holdfast check',
    });
  const times: number[] = [];
  for (const name of found.byVault.keys())
    times.push(Date.parse((await readVaultIdentity(environment.vault(name), plan.name)).created));
  if (found.history.firstAt !== null) times.push(Date.parse(found.history.firstAt));
  return {
    zone: plan.timezone,
    histories: [...found.byVault.values(), ...memory],
    since: new Date(Math.min(...times)),
  };
}

/** Makes one run that is due. */
export async function makeDueRun(source: string, due: DueRun, environment: JobEnvironment): Promise<BackupRun> {
  const { by, key, scheduledAt } = due;
  return backup(
    { source, tier: null, point: null, reason: null, trigger: { by, schedule: key, scheduledAt } },
    environment,
  );
}

export interface DueOutcome {
  readonly source: string;
  /** Why it was made, in words. */
  readonly why: string;
  readonly run: BackupRun;
}

/** Makes every run of a source that is due, one after the other; none is tried twice. */
export async function runDueBackups(source: string, environment: JobEnvironment): Promise<readonly DueOutcome[]> {
  const outcomes: DueOutcome[] = [];
  const settings = environment.plan.plan.sources[source] as Source;
  let last: DueRun | null = null;
  while (!environment.run.signal.aborted) {
    const due = dueRun(settings, await knownOf(source, environment), environment.run.clock.now());
    if (!due || (due.key === last?.key && due.scheduledAt.getTime() === last.scheduledAt.getTime())) break;
    const why = whyDue(due);
    environment.run.log.info(`${source}: ${why}`);
    const run = await makeDueRun(source, due, environment);
    outcomes.push({ source, why, run });
    // What cannot be done now is not done better at once, and the next run of another schedule may be due just as well.
    if (run.status === 'busy') break;
    last = due;
  }
  return outcomes;
}

/** `due since 2026-11-21T02:00:00.000Z (0 2 * * *), catch-up of a missed run`. */
export function whyDue({ key, scheduledAt, by, failures }: DueRun): string {
  const again = failures > 0 ? `, tried again after ${failures} failed` : by === 'catch-up' ? ', catch-up' : '';
  return `due since ${isoTime(scheduledAt)} (${key})${again}`;
}
