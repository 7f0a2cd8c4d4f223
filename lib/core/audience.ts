import { SEVERITIES, type Severity } from '#core/alert';
import type { Plan } from '#core/plan';

export type Alerts = NonNullable<Plan['alerts']>;
export type Channel = NonNullable<Alerts[Severity]>[number];

export interface Audience {
  /** Whose list it is; null when the plan names no channel at all: nobody is told. */
  readonly list: Severity | null;
  readonly channels: readonly Channel[];
}

/**
 * Who hears of this severity: the plan's own list for it. Where that is empty or absent the next higher list that has
 * channels, and where there is none above the next lower one: what is worth telling is told to somebody.
 */
export function audienceOf(alerts: Alerts | undefined, severity: Severity): Audience {
  const at = SEVERITIES.indexOf(severity);
  for (const list of [...SEVERITIES.slice(at), ...SEVERITIES.slice(0, at).reverse()]) {
    const channels = alerts?.[list] ?? [];
    if (channels.length > 0) return { list, channels };
  }
  return { list: null, channels: [] };
}
