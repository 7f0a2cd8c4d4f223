import { withReplicas } from '#core/copy-rules';
import { formatSeconds } from '#core/duration';
import { objectivesOf } from '#core/objectives';
import type { Plan, Source } from '#core/plan';

/**
 * A source's settings as retention of one vault needs them. Where only sparser schedules come (the weekly archive of an
 * hourly source) the newest backup may be as old as these leave it: two of their longest gaps, and an hour. By the RPO of
 * the source itself it would be stale there for most of the week, and nothing would ever be given up.
 */
export function settingsIn(plan: Plan, settings: Source, vault: string): Source {
  const coming = settings.schedule.filter(({ to }) => withReplicas(plan, to).has(vault));
  if (coming.length === 0 || coming.length === settings.schedule.length) return settings;
  const seconds = objectivesOf({ schedule: coming }).rpoSeconds;
  if (seconds <= objectivesOf(settings).rpoSeconds) return settings;
  return { ...settings, objectives: { ...settings.objectives, rpo: { text: formatSeconds(seconds), seconds } } };
}
