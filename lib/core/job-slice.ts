import type * as z from 'zod';
import { UsageError } from '#core/errors';
import { ENGINE_NAMES } from '#core/plan';
import type { LoadedPlan } from '#core/plan-load';
import { copiedInAws } from '#core/where';

/** Pieces of a plan that a task is told: one source with everything it names, cut out of what the file says. */

const KEPT = ['version', 'name', 'timezone', 'encryption', 'cloud'] as const;

/** @throws UsageError no such source */
export function sliceOf(plan: LoadedPlan, source: string): Record<string, z.core.util.JSONType> {
  const whole = plan.value as Record<string, Record<string, unknown>>;
  const settings = plan.plan.sources[source];
  if (!settings || !whole['sources'])
    throw new UsageError(
      `no source "${source}" in the plan, want one of ${Object.keys(plan.plan.sources).join(', ')}`,
      {
        source,
      },
    );
  const vaults = new Set(settings.schedule.flatMap(({ to }) => to));
  const tiers = new Set(settings.schedule.flatMap((one) => one.tiers ?? (one.tier === undefined ? [] : [one.tier])));
  const kept = {
    ...Object.fromEntries(KEPT.flatMap((key) => (whole[key] === undefined ? [] : [[key, whole[key]]]))),
    vaults: picked(whole['vaults'], vaults),
    tiers: picked(whole['tiers'], tiers),
    sources: picked(whole['sources'], new Set([source])),
  };
  return JSON.parse(JSON.stringify(withoutReplicas(kept)));
}

/**
 * What copying one source takes: the vaults its backups go between, and which of them belong where. Not how it is
 * captured, probed or proven; but all tiers, as backups lie there of those that no schedule names any more.
 * @throws UsageError there is nothing of it to copy
 */
export function sliceToCopy(plan: LoadedPlan, source: string): Record<string, z.core.util.JSONType> {
  const whole = plan.value as Record<string, Record<string, unknown>>;
  const copied = copiedInAws(plan.plan);
  const routes = copied.get(source);
  if (!routes)
    throw new UsageError(
      `nothing of "${source}" is copied from one bucket to another by a task, want one of ${[...copied.keys()].join(', ') || 'none: no source is'}`,
      {
        source,
        hint: 'copies are made for replica: { vault }, and between the buckets of one to:, in a plan with cloud:',
      },
    );
  const vaults = new Set(routes.flatMap(({ from, to }) => [from, to]));
  const settings = whole['sources']?.[source] as Record<string, unknown> & { schedule: { to: string[] }[] };
  const engine = new Set<string>(ENGINE_NAMES);
  const kept = {
    ...Object.fromEntries(KEPT.flatMap((key) => (whole[key] === undefined ? [] : [[key, whole[key]]]))),
    vaults: withReplicasAmong(picked(whole['vaults'], vaults), vaults),
    tiers: whole['tiers'],
    sources: {
      [source]: {
        ...picked(settings, engine),
        schedule: settings.schedule
          .map((one) => ({ ...one, to: one.to.filter((vault) => vaults.has(vault)) }))
          .filter(({ to }) => to.length > 0),
      },
    },
  };
  return JSON.parse(JSON.stringify(kept));
}

/** S3's own replication into another region is none of a task's business either. */
function withReplicasAmong(all: Record<string, unknown>, names: ReadonlySet<string>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(all).map(([key, vault]) => {
      const { replica, ...rest } = vault as { readonly replica?: { readonly vault?: string } };
      return [key, names.has(replica?.vault ?? '') ? vault : rest];
    }),
  );
}

/** A replica names a vault that the source itself may not know, and is none of the task's business. */
function withoutReplicas(kept: { vaults: Record<string, unknown> }): unknown {
  const vaults = Object.entries(kept.vaults).map(([key, vault]) => {
    const { replica: _replica, ...rest } = vault as Record<string, unknown>;
    return [key, rest];
  });
  return { ...kept, vaults: Object.fromEntries(vaults) };
}

function picked(all: Record<string, unknown> | undefined, names: ReadonlySet<string>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(all ?? {}).filter(([key]) => names.has(key)));
}
