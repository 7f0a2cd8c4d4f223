import type { JobDocument } from '#core/job';
import { type LoadedPlan, loadPlan } from '#core/plan-load';
import { checkedPlan } from '#core/plan-value';

const FILE = 'the job document';

/**
 * The plan that a task works by: the piece in its document, under the hash of the whole. Manifests name the plan that
 * stands in the vault.
 * @throws PlanInvalid function and image are of different versions
 */
export function planOfJob({ job, plan, planSha256 }: JobDocument): LoadedPlan {
  const text = JSON.stringify(plan);
  // Without the schedules of other vaults a piece may break a rule that the whole plan keeps: it says nothing of copies.
  const read = job === 'replicate' ? checkedPlan(plan, text, FILE) : loadPlan(text, FILE);
  return { ...read, sha256: planSha256 };
}
