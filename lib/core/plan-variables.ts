import type { Severity } from '#core/alert';
import type { Plan, Source } from '#core/plan';
import { references } from '#core/secrets';

/** Texts with a `$` of their own, which nobody puts values into: SQL, and commands, whose shell has its own variables. */
const FOREIGN = new Set(['probes', 'before', 'after', 'afterRestore', 'drill']);

/** Names of the `${NAME}`s of the whole plan, and of the variable its identity comes from; sorted, each once. */
export function variablesOf(plan: Plan): readonly string[] {
  return named([plan.vaults, plan.alerts, plan.serve, ...Object.values(plan.sources).map(ofSource)], identityOf(plan));
}

/** Those that a run of one source needs: its own and its vaults'; the identity's is only for who proves. */
export function variablesOfSource(plan: Plan, source: string, reads: 'identity' | 'no identity'): readonly string[] {
  const settings = plan.sources[source];
  const vaults = new Set(settings?.schedule.flatMap(({ to }) => to));
  const parts = [ofSource(settings), Object.entries(plan.vaults).filter(([name]) => vaults.has(name))];
  return named(parts, reads === 'identity' ? identityOf(plan) : []);
}

/**
 * Those that opening the vaults takes: keys of other providers' stores.
 * @param only of these alone
 */
export function variablesOfVaults(plan: Plan, only?: ReadonlySet<string>): readonly string[] {
  return named([Object.entries(plan.vaults).filter(([name]) => only?.has(name) ?? true)], []);
}

/** Those of one severity's channels that a function carries messages to. */
export function variablesOfChannels(plan: Plan, severity: Severity): readonly string[] {
  return named([(plan.alerts?.[severity] ?? []).filter((one) => 'slack' in one || 'webhook' in one)], []);
}

export function variablesOfHeartbeat(plan: Plan): readonly string[] {
  return named([plan.alerts?.heartbeat], []);
}

function ofSource(source: Source | undefined): unknown {
  return Object.entries(source ?? {}).filter(([key]) => !FOREIGN.has(key));
}

function identityOf({ encryption }: Plan): readonly string[] {
  if (encryption === 'none' || !encryption.identity || !('env' in encryption.identity)) return [];
  return [encryption.identity.env];
}

function named(parts: readonly unknown[], more: readonly string[]): readonly string[] {
  return [...new Set([...parts.flatMap(namesIn), ...more])].sort();
}

function namesIn(value: unknown): string[] {
  if (typeof value === 'string') return references(value).flatMap((one) => (one.kind === 'variable' ? [one.name] : []));
  return value !== null && typeof value === 'object' ? Object.values(value).flatMap(namesIn) : [];
}
