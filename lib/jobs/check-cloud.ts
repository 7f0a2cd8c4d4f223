import type { LoadedPlan } from '#core/plan-load';
import type { CheckLine } from '#core/ports';
import { cloudProblems, placesOfSources } from '#core/where';

/** What `check` says of a plan with `cloud:`: where each source runs and why, and what `cdk synth` would refuse. */
export function* checkCloud({ plan, at }: LoadedPlan): Generator<CheckLine> {
  if (!plan.cloud) return;
  for (const { source, where, why } of placesOfSources(plan))
    yield { name: `${source}: runs`, ok: true, message: `${where}: ${why}`, hint: null };
  for (const { path, message, hint } of cloudProblems(plan))
    yield { name: 'cloud', ok: false, message: `${at(path)} ${message}`, hint };
}
