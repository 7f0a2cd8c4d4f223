import { HoldfastError } from '#core/errors';
import { isWhole } from '#core/plan-value';
import { RUNBOOK_KEY, runbook } from '#core/runbook';
import type { JobEnvironment } from '#jobs/environment';
import { factsFor, gather } from '#jobs/runbook-facts';

/**
 * Writes `RUNBOOK.md` into every vault of the plan.
 * @returns why not, for vaults that did not take it: a page that is old never makes a backup fail
 */
export async function writeRunbooks(environment: JobEnvironment): Promise<readonly string[]> {
  const now = environment.run.clock.now();
  const warnings: string[] = [];
  let gathered: Awaited<ReturnType<typeof gather>>;
  try {
    gathered = await gather(environment);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return [`${RUNBOOK_KEY} could not be written: ${environment.redact(error.message)}`];
  }
  for (const { name, problem } of gathered.vaults) {
    if (problem !== null) {
      warnings.push(`${RUNBOOK_KEY} in vault ${name} is not up to date: ${problem}`);
      continue;
    }
    try {
      await environment.vault(name).putAgain(RUNBOOK_KEY, Buffer.from(runbook(factsFor(gathered, name, now))));
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      warnings.push(`${RUNBOOK_KEY} in vault ${name} is not up to date: ${environment.redact(error.message)}`);
    }
  }
  return warnings;
}

const batches = new WeakMap<JobEnvironment, { due: boolean }>();

/**
 * After a proven backup: at once, or at the end of the batch that is under way. Who knows only a piece of the plan
 * leaves it to who started him: the page names every source.
 */
export async function runbookAfterProof(environment: JobEnvironment): Promise<readonly string[]> {
  if (!isWhole(environment.plan)) return [];
  const batch = batches.get(environment);
  if (!batch) return writeRunbooks(environment);
  batch.due = true;
  return [];
}

/** For a command over several sources: the page names all of them, so it is written once, at the end. */
export async function withOneRunbook<T>(
  environment: JobEnvironment,
  act: () => Promise<T>,
): Promise<{ readonly result: T; readonly warnings: readonly string[] }> {
  const batch = { due: false };
  batches.set(environment, batch);
  try {
    const result = await act();
    return { result, warnings: batch.due ? await writeRunbooks(environment) : [] };
  } finally {
    batches.delete(environment);
  }
}
