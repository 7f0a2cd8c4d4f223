import { type AlertKind, DEFAULT_ROUTES, SEVERITIES, type Severity } from '#core/alert';
import type { Plan } from '#core/plan';

/** As the plan's `alerts.routes` says, else the default. */
export function routeOf(kind: AlertKind, plan: Pick<Plan, 'alerts'>): Severity {
  return plan.alerts?.routes?.[kind] ?? DEFAULT_ROUTES[kind];
}

/** Of none: the lowest. */
export function worstOf(severities: readonly Severity[]): Severity {
  return SEVERITIES.findLast((one) => severities.includes(one)) ?? SEVERITIES[0];
}
