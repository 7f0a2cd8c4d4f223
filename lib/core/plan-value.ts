import { sha256Hex } from '#core/manifest';
import { planSchema } from '#core/plan';
import type { LoadedPlan } from '#core/plan-load';

/** Whether it is the plan that its hash names, and not the piece of it that a task was given. */
export function isWhole({ text, sha256 }: LoadedPlan): boolean {
  return sha256Hex(text) === sha256;
}

/**
 * A plan that was read and checked elsewhere: when its stack was synthesised. Spares a function the reading of YAML,
 * which is a seventh of its size. Knows no lines.
 * @param value what the text says, before any default was put in (`LoadedPlan.value`)
 */
export function checkedPlan(value: unknown, text: string, file: string): LoadedPlan {
  return { plan: planSchema.parse(value), value, text, sha256: sha256Hex(text), file, at: () => file };
}
