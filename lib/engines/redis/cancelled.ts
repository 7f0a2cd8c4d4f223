import { Cancelled } from '#core/errors';
import type { RunContext } from '#core/ports';

/** For loops that no child or sleep would end. @throws Cancelled */
export function stopIfCancelled(run: RunContext): void {
  if (run.signal.aborted) throw new Cancelled('the run was stopped', { cause: run.signal.reason });
}
