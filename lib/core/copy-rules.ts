import { scheduleKeys } from '#core/due';
import type { Plan, Schedule } from '#core/plan';
import { tiersOf } from '#core/tiers';

/**
 * Where a backup belongs, by the plan alone: into every vault of the schedule it was made under, and from a vault with
 * `replica: { vault }` into that one, whatever it is and however it came there.
 */

export interface CopyRoute {
  /** The vault that has it first: the first of the schedule's, or the one with the replica. */
  readonly from: string;
  readonly to: string;
  /** How old a missing copy may be (`replica.lag`); null = the plan does not say. */
  readonly limitSeconds: number | null;
  /** Backups copied at one time. */
  readonly concurrent: number;
}

const CONCURRENT = 5;

export function replicaRoutes(plan: Plan): CopyRoute[] {
  return Object.entries(plan.vaults).flatMap(([from, { replica }]) =>
    replica?.vault === undefined
      ? []
      : [
          {
            from,
            to: replica.vault,
            limitSeconds: replica.lag?.seconds ?? null,
            concurrent: replica.concurrent ?? CONCURRENT,
          },
        ],
  );
}

/** All ways that copies of a source may have to go; of one that left the plan, those of the replicas. */
export function routesOf(plan: Plan, source: string): CopyRoute[] {
  const routes = replicaRoutes(plan);
  const add = (from: string, to: string): void => {
    if (from !== to && !routes.some((one) => one.from === from && one.to === to))
      routes.push({ from, to, limitSeconds: null, concurrent: CONCURRENT });
  };
  for (const { to } of schedulesOf(plan, source)) {
    const [first, ...further] = to;
    if (first === undefined) continue;
    for (const other of further) add(first, other);
    // What was stored while the first one was away comes back to it.
    if (further[0] !== undefined) add(further[0], first);
  }
  return routes;
}

/**
 * The ways that a source's backups go by what the plan says of it now, its replicas' included: those a task can know that
 * is told of one source alone. Empty: it has one vault and no replica.
 */
export function ownRoutes(plan: Plan, source: string): CopyRoute[] {
  const vaults = withReplicas(
    plan,
    schedulesOf(plan, source).flatMap(({ to }) => to),
  );
  return routesOf(plan, source).filter(({ from, to }) => vaults.has(from) && vaults.has(to));
}

/**
 * The vaults a backup belongs in.
 * @param schedule key of the schedule it was made under; null = not known, and then any of its tier counts
 * @param present vaults that have it
 */
export function wantedVaults(
  plan: Plan,
  source: string,
  { tier, schedule }: { readonly tier: string; readonly schedule: string | null },
  present: Iterable<string>,
): ReadonlySet<string> {
  const settings = plan.sources[source];
  const keys = settings ? scheduleKeys(settings) : [];
  const all = schedulesOf(plan, source);
  const made = all.filter((_one, index) => schedule !== null && keys[index] === schedule);
  // The plan has changed since: what its tier says now holds.
  const rules = made.length > 0 ? made : all.filter((one) => tiersOf(one).includes(tier));
  return withReplicas(plan, [...present, ...rules.flatMap(({ to }) => to)]);
}

/** The vaults it may belong in whatever its schedule is: where it lies in all of these, nothing is missing. */
export function possibleVaults(
  plan: Plan,
  source: string,
  tier: string,
  present: Iterable<string>,
): ReadonlySet<string> {
  const ofTier = schedulesOf(plan, source).filter((one) => tiersOf(one).includes(tier));
  return withReplicas(plan, [...present, ...ofTier.flatMap(({ to }) => to)]);
}

function schedulesOf(plan: Plan, source: string): readonly Schedule[] {
  return Object.hasOwn(plan.sources, source) ? (plan.sources[source]?.schedule ?? []) : [];
}

/** These vaults, and those that they are copied to. */
export function withReplicas(plan: Plan, vaults: Iterable<string>): ReadonlySet<string> {
  const all = new Set(vaults);
  // A set gives what is added while it is walked: replicas of replicas, and rings end.
  for (const name of all) {
    const next = plan.vaults[name]?.replica?.vault;
    if (next !== undefined) all.add(next);
  }
  return all;
}
