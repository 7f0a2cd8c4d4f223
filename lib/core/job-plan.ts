import type { JobDocument } from '#core/job';
import { type LoadedPlan, loadPlan } from '#core/plan-load';

/**
 * The plan that a task works by: the piece in its document, under the hash of the whole. Manifests name the plan that
 * stands in the vault.
 * @throws PlanInvalid function and image are of different versions
 */
export function planOfJob({ plan, planSha256 }: JobDocument): LoadedPlan {
  return { ...loadPlan(JSON.stringify(plan), 'the job document'), sha256: planSha256 };
}
