import { parseCron } from '#core/cron';
import { formatSeconds } from '#core/duration';
import { objectivesOf } from '#core/objectives';
import { ENGINE_NAMES, type Plan, type Schedule, type Source, type Tier } from '#core/plan';
import { type PlanPath, type PlanProblem, shown, unknownName } from '#core/plan-problem';
import { archivedAfterSeconds } from '#core/plan-rules-vault';
import { EVERY_ALLOWED, isEvery, longestGapSeconds } from '#core/schedule';
import { CALENDAR_TIERS, periodSeconds, tiersOf } from '#core/tiers';

export function* cronProblems(path: PlanPath, cron: string | undefined): Iterable<PlanProblem> {
  const fields = cron === undefined ? null : parseCron(cron);
  if (typeof fields === 'string') yield { path, got: shown(path, cron), want: fields };
}

/** When a source is captured and proven, into which tiers and vaults, and whether that can keep its promises. */
export function scheduleProblems(plan: Plan, name: string, source: Source): PlanProblem[] {
  const path = ['sources', name];
  const proveCron = typeof source.prove === 'object' ? source.prove.cron : undefined;
  const found = [
    ...source.schedule.flatMap((schedule, index) => [...oneSchedule(plan, schedule, [...path, 'schedule', index])]),
    ...cronProblems([...path, 'prove', 'cron'], proveCron),
    ...cronProblems([...path, 'drill', 'cron'], source.drill?.cron),
  ];
  // Gaps and periods of what does not parse mean nothing.
  if (found.length > 0) return found;
  return [
    ...differentialProblems(plan, source, path),
    ...objectiveProblems(source, proveCron, path),
    ...archiveProblems(plan, source, proveCron, path),
  ];
}

function* oneSchedule(plan: Plan, schedule: Schedule, path: PlanPath): Iterable<PlanProblem> {
  const { cron, every, tier, tiers, to } = schedule;
  if ((cron === undefined) === (every === undefined)) {
    const got = cron === undefined ? 'neither cron nor every' : 'cron and every';
    yield { path, got, want: 'exactly one of cron, every' };
  }
  yield* cronProblems([...path, 'cron'], cron);
  if (every && !isEvery(every)) yield { path: [...path, 'every'], got: every.text, want: EVERY_ALLOWED };
  if ((tier === undefined) === (tiers === undefined)) {
    const got = tier === undefined ? 'neither tier nor tiers' : 'tier and tiers';
    yield { path, got, want: 'exactly one of tier: NAME, tiers: [LOWEST, …, HIGHEST]' };
  }
  if (tier !== undefined) yield* unknownName([...path, 'tier'], tier, plan.tiers, 'tier');
  if (tiers) yield* tierListProblems(plan, tiers, [...path, 'tiers']);
  for (const [index, vault] of to.entries()) {
    const at = [...path, 'to', index];
    yield* unknownName(at, vault, plan.vaults, 'vault');
    if (to.indexOf(vault) < index) yield { path: at, got: `${vault} a second time`, want: 'each vault once' };
  }
}

function* tierListProblems(plan: Plan, tiers: readonly string[], path: PlanPath): Iterable<PlanProblem> {
  let below: { name: string; seconds: number } | null = null;
  for (const [index, name] of tiers.entries()) {
    const at = [...path, index];
    if (!Object.hasOwn(plan.tiers, name)) {
      yield* unknownName(at, name, plan.tiers, 'tier');
      continue;
    }
    const seconds = periodSeconds(name, plan.tiers[name] as Tier);
    if (seconds === null) {
      const got = `${name}, which has no period`;
      yield { path: at, got, want: `every: in tiers.${name}, or one of ${CALENDAR_TIERS.join(', ')}` };
    } else if (tiers.indexOf(name) < index) {
      yield { path: at, got: `${name} a second time`, want: 'each tier once' };
    } else if (below && seconds < below.seconds) {
      yield { path: at, got: `${name} after ${below.name}`, want: 'tiers from the shortest period to the longest' };
    }
    if (seconds !== null) below = { name, seconds };
  }
}

const WITH_DIFFERENTIALS = ['redis', 'sqlite', 'files', 'git'] as const;

/** A differential is of no use without its full, so that one has to lie in the same vault, and as long. */
function* differentialProblems(plan: Plan, source: Source, path: PlanPath): Iterable<PlanProblem> {
  const fulls = source.schedule.filter(({ kind }) => kind !== 'differential');
  const shortest = fulls
    .flatMap(tiersOf)
    .map((name) => ({ name, keep: plan.tiers[name]?.keep }))
    .flatMap(({ name, keep }) => (keep && 'seconds' in keep ? [{ name, keep }] : []))
    .sort((a, b) => a.keep.seconds - b.keep.seconds)[0];
  for (const [index, schedule] of source.schedule.entries()) {
    if (schedule.kind !== 'differential') continue;
    const at = [...path, 'schedule', index];
    const engine = ENGINE_NAMES.find((name) => source[name] !== undefined);
    if (!WITH_DIFFERENTIALS.some((name) => name === engine)) {
      yield {
        path: [...at, 'kind'],
        got: `differential of ${engine}`,
        want: `full, or one of ${WITH_DIFFERENTIALS.join(', ')}`,
      };
    }
    if (fulls.length === 0) {
      yield { path: [...at, 'kind'], got: 'differential alone', want: 'a schedule of fulls beside it' };
      continue;
    }
    for (const [place, vault] of schedule.to.entries()) {
      if (fulls.some(({ to }) => to.includes(vault))) continue;
      yield { path: [...at, 'to', place], got: `${vault}, where no full goes`, want: 'a vault of a schedule of fulls' };
    }
    for (const name of tiersOf(schedule)) {
      const keep = plan.tiers[name]?.keep;
      if (!keep || !('seconds' in keep) || !shortest || keep.seconds <= shortest.keep.seconds) continue;
      const got = `${name}, kept ${keep.text}, where a full may be ${shortest.name}, kept ${shortest.keep.text}`;
      yield {
        path: [...at, schedule.tier === undefined ? 'tiers' : 'tier'],
        got,
        want: 'a tier kept no longer than its full',
      };
    }
  }
}

function* objectiveProblems(source: Source, proveCron: string | undefined, path: PlanPath): Iterable<PlanProblem> {
  const { rpoSeconds, rpoIsDefault } = objectivesOf(source);
  const gap = longestGapSeconds(source.schedule);
  const rpo = source.objectives?.rpo;
  if (rpo && gap > rpo.seconds) {
    const want = `at least ${formatSeconds(gap)}, the longest time between two runs, or a denser schedule`;
    yield { path: [...path, 'objectives', 'rpo'], got: rpo.text, want };
  }
  if (proveCron === undefined) return;
  const proveGap = longestGapSeconds([{ cron: proveCron }]);
  if (proveGap > rpoSeconds) {
    const at = [...path, 'prove', 'cron'];
    const ours = `${formatSeconds(rpoSeconds)}${rpoIsDefault ? ' (default: objectives.rpo sets it)' : ''}`;
    yield {
      path: at,
      got: `${shown(at, proveCron)}, ${formatSeconds(proveGap)} between two proofs`,
      want: `no more than the RPO ${ours}`,
    };
  }
}

function* archiveProblems(
  plan: Plan,
  source: Source,
  proveCron: string | undefined,
  path: PlanPath,
): Iterable<PlanProblem> {
  if (proveCron === undefined) return;
  const proveGap = longestGapSeconds([{ cron: proveCron }]);
  for (const name of new Set(source.schedule.flatMap(tiersOf))) {
    const tier = plan.tiers[name];
    const archived = tier ? archivedAfterSeconds(tier) : null;
    if (!tier || archived === null || proveGap <= archived) continue;
    const at = [...path, 'prove', 'cron'];
    const got = `${shown(at, proveCron)}, ${formatSeconds(proveGap)} between two proofs`;
    yield {
      path: at,
      got,
      want: `a proof before tier ${name} moves to ${tier.class} after ${tier.after?.text ?? '30d'}`,
    };
  }
}
