import { type OpenAlert, PLAN_CHAIN } from '#core/alert';
import { VaultUnreachable } from '#core/errors';
import type { JobEnvironment } from '#jobs/environment';
import { historyOf, whyMissing } from '#jobs/source-history';

export interface SourceAlert extends OpenAlert {
  /** Null: of a vault, or of the plan as a whole. */
  readonly source: string | null;
}

/**
 * What was told and is not over, oldest first, as the ledgers of all vaults say together.
 * @throws VaultUnreachable no vault of a source answers: nobody knows what is open (I14)
 */
export async function openAlerts(
  environment: JobEnvironment,
): Promise<{ readonly alerts: readonly SourceAlert[]; readonly warnings: readonly string[] }> {
  const alerts: SourceAlert[] = [];
  const warnings = new Set<string>();
  for (const chain of [PLAN_CHAIN, ...Object.keys(environment.plan.plan.sources)]) {
    const found = await historyOf(chain, environment);
    const away = whyMissing(found);
    if (found.byVault.size === 0)
      throw new VaultUnreachable(`whether alerts are open cannot be said, as no vault answers: ${away.join('; ')}`, {
        source: chain === PLAN_CHAIN ? null : chain,
        hint: found.missing[0]?.error.hint ?? null,
      });
    for (const line of away) warnings.add(line);
    for (const alert of Object.values(found.history.alerts))
      alerts.push({ source: chain === PLAN_CHAIN ? null : chain, ...alert });
  }
  return {
    alerts: alerts.sort((a, b) => (a.since < b.since ? -1 : a.since > b.since ? 1 : 0)),
    warnings: [...warnings],
  };
}
