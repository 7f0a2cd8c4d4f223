import { dueByCron } from '#core/due';
import type { Plan } from '#core/plan';
import { nextRun } from '#core/schedule';
import { knownOf } from '#jobs/due-backups';
import type { JobEnvironment } from '#jobs/environment';

/** `prove: { cron }`; null when the source's proofs have no times of their own. */
export function proveCron(plan: Plan, source: string): string | null {
  const prove = plan.sources[source]?.prove;
  return (typeof prove === 'object' && prove.cron) || null;
}

/**
 * Whether the source's newest backup is to be proven now: a time of its cron has come since the last attempt at a proof,
 * and there is a backup. After any number of missed times it is due once.
 * @throws VaultMissing no vault answers
 */
export async function dueProof(
  source: string,
  cron: string,
  environment: JobEnvironment,
): Promise<{ readonly due: boolean; readonly next: Date }> {
  const zone = environment.plan.plan.timezone;
  const now = environment.run.clock.now();
  const { histories, since } = await knownOf(source, environment);
  const attempts = histories.flatMap(({ proof }) => (proof ? [Date.parse(proof.at)] : []));
  // An attempt of a clock that was ahead says nothing about today.
  const last = new Date(Math.max(since.getTime(), ...attempts.filter((at) => at <= now.getTime())));
  const stored = histories.some(({ lastOk }) => lastOk !== null);
  return { due: stored && dueByCron(cron, zone, last, now) !== null, next: nextRun({ cron }, zone, now) };
}
