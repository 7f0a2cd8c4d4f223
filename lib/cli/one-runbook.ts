import type { Outcome } from '#cli/envelope';
import type { JobEnvironment } from '#jobs/environment';
import { withOneRunbook } from '#jobs/runbook';

/** A command over several sources, and RUNBOOK.md written once at its end; why it was not is a warning of the command. */
export async function thenRunbook(environment: JobEnvironment, act: () => Promise<Outcome>): Promise<Outcome> {
  const { result, warnings } = await withOneRunbook(environment, act);
  return { ...result, warnings: [...(result.warnings ?? []), ...warnings] };
}
