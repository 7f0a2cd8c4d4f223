import { scheduleKeys } from '#core/due';
import { newBackupId } from '#core/manifest';
import type { Plan, Source } from '#core/plan';
import type { ProofState } from '#core/proof';
import { nextRun } from '#core/schedule';
import { dueTier, type TierEntry, tiersOf } from '#core/tiers';

/** What a plan's own schedules ask for in the course of time, worked out by the same functions as the real runs. */

export const DAY = 86_400_000;

/** A run that stored a backup. */
export interface YearRun {
  readonly source: string;
  readonly schedule: string;
  readonly at: Date;
  readonly id: string;
  readonly tier: string;
  readonly vaults: readonly string[];
  readonly proof: ProofState;
}

export interface Year {
  readonly from: Date;
  readonly until: Date;
  /** How a proof begun at this time ends. */
  proofAt(at: Date): ProofState;
}

/** How often what is stored on change becomes another, in days. */
const CHANGES: Readonly<Record<string, number>> = { config: 9, checkpoints: 0.25, models: 30 };

/** All runs of a source that store something, in order; of two at one time the first schedule's first. */
export function* runsOf(plan: Plan, source: string, { from, until, proofAt }: Year): Generator<YearRun> {
  const settings = plan.sources[source] as Source;
  const { timezone: zone, tiers } = plan;
  const keys = scheduleKeys(settings);
  const schedules = settings.schedule.filter(({ kind }) => kind !== 'differential');
  const next = schedules.map((schedule) => nextRun(schedule, zone, new Date(from.getTime() - 1000)));
  // Time goes on only forwards: of each tier the newest backup is enough to tell what is due.
  const newest = new Map<string, Map<string, TierEntry>>();
  const stored = new Map<string, number>();
  for (let lease = 1; ; lease++) {
    const first = next.reduce((least, at, index) => (at < (next[least] as Date) ? index : least), 0);
    const schedule = schedules[first] as (typeof schedules)[number];
    const at = next[first] as Date;
    if (at >= until) return;
    next[first] = nextRun(schedule, zone, at);

    const home = schedule.to[0] as string;
    const known = newest.get(home) ?? new Map<string, TierEntry>();
    newest.set(home, known);
    const due = dueTier(tiersOf(schedule), tiers, zone, at, [...known.values()]);
    const version = Math.floor((at.getTime() - from.getTime()) / ((CHANGES[source] ?? 0) * DAY));
    if (settings.files?.onChange && !due.mustStore && stored.get(home) === version) continue;
    stored.set(home, version);

    const proof = proofAt(at);
    known.set(due.tier, { tier: due.tier, at, proof });
    const text = keys[settings.schedule.indexOf(schedule)] as string;
    const id = newBackupId({ source, schedule: text, scheduledAt: at, lease });
    yield { source, schedule: text, at, id, tier: due.tier, vaults: schedule.to, proof };
  }
}

/** The runs of a whole year are the same for each way its proofs may end, as long as none is disproven. */
export function yearOf(plan: Plan, source: string, year: Omit<Year, 'proofAt'>): readonly YearRun[] {
  return [...runsOf(plan, source, { ...year, proofAt: () => 'proven' })];
}

/** Every midnight of the plan's zone, by its own `retain:`. */
export function* midnights(plan: Plan, { from, until }: Pick<Year, 'from' | 'until'>): Generator<Date> {
  const cron = plan.retain?.cron;
  if (cron === undefined) throw new Error(`${plan.name} says nothing about retain`);
  for (let at = nextRun({ cron }, plan.timezone, from); at <= until; at = nextRun({ cron }, plan.timezone, at))
    yield at;
}
