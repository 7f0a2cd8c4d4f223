import { range } from '#core/on-calendar';
import type { Plan, Source } from '#core/plan';
import { nextRun, type Timing } from '#core/schedule';

/** What timers and cron lines of a plan have to call, and when: the same for both. */
export interface Call {
  /** `backup-events`, `watch`: unique in the plan, and part of a unit's name. */
  readonly name: string;
  readonly title: string;
  /** After the program's name. */
  readonly args: readonly string[];
  readonly timings: readonly Timing[];
  /** Missed while the machine was off: made up for after its start. */
  readonly catchUp: boolean;
  /** At most so many seconds later than the timing says, so that not everything begins at once. */
  readonly spreadSeconds: number;
  /** Exit codes that are no failure of the unit. */
  readonly alsoGood: readonly number[];
  /** Its commands may need what hardening takes away. */
  readonly hooked: boolean;
}

const every = (text: string, seconds: number): Timing => ({ every: { text, seconds } });
const RETAIN_DEFAULT = '0 0 * * *';
const BUSY = 4;
const UNHEALTHY = 3;
const LONGEST_SPREAD_SECONDS = 300;
/** Where no replica says how far behind it may be. */
const DEFAULT_LAG_SECONDS = 900;
/** What a timer can say: the longest of them that keeps a lag. */
const LAGS = [60, 120, 300, 600, 900, 1800, 3600, 4 * 3600, 12 * 3600, 86_400];

/** @param sources those that run on this machine */
export function callsOf(plan: Plan, sources: readonly string[]): readonly Call[] {
  const calls: Call[] = [];
  for (const name of sources) {
    const source = plan.sources[name] as Source;
    const timings = source.schedule.filter(({ kind }) => kind !== 'differential');
    const hooked = (source.before ?? source.after) !== undefined;
    if (timings.length > 0)
      calls.push({
        ...QUIET,
        name: `backup-${name}`,
        title: `backups of ${name}`,
        args: ['backup', '--due', name],
        timings,
        spreadSeconds: spreadOf(timings, plan.timezone),
        hooked,
      });
    const cron = typeof source.prove === 'object' ? source.prove.cron : undefined;
    if (cron !== undefined)
      calls.push({
        ...QUIET,
        name: `prove-${name}`,
        title: `proofs of ${name}`,
        args: ['prove', '--due', name],
        timings: [{ cron }],
        hooked,
      });
  }
  const hooked = sources.some((name) => plan.sources[name]?.before ?? plan.sources[name]?.after);
  calls.push(
    {
      ...QUIET,
      name: 'due',
      title: 'what failed or was missed, again',
      args: ['backup', '--due'],
      // Apart from the minutes that schedules like.
      timings: [{ cron: '7-59/15 * * * *' }],
      catchUp: false,
      hooked,
    },
    {
      ...QUIET,
      name: 'watch',
      title: 'watch',
      args: ['watch'],
      timings: [every('5m', 300)],
      catchUp: false,
      alsoGood: [UNHEALTHY, BUSY],
    },
    {
      ...QUIET,
      name: 'retain',
      title: 'retention',
      args: ['retain'],
      timings: [{ cron: plan.retain?.cron ?? RETAIN_DEFAULT }],
      spreadSeconds: 60,
    },
  );
  const lag = lagSecondsOf(plan);
  if (lag !== null)
    calls.push({
      ...QUIET,
      name: 'replicate',
      title: 'copies that are missing',
      args: ['replicate'],
      timings: [every(`${lag / 60}m`, lag)],
      catchUp: false,
    });
  return calls;
}

const QUIET = { catchUp: true, spreadSeconds: 0, alsoGood: [BUSY], hooked: false } as const;

/** How often copies are made up for; null when no backup of the plan has a second vault. */
export function lagSecondsOf(plan: Plan): number | null {
  const replicas = Object.values(plan.vaults).flatMap(({ replica }) => (replica?.vault === undefined ? [] : [replica]));
  const several = Object.values(plan.sources).some(({ schedule }) => schedule.some(({ to }) => to.length > 1));
  if (replicas.length === 0 && !several) return null;
  const wanted = Math.min(DEFAULT_LAG_SECONDS, ...replicas.flatMap(({ lag }) => (lag ? [lag.seconds] : [])));
  return LAGS.findLast((seconds) => seconds <= wanted) ?? 60;
}

/** Two per cent of the shortest time between two runs. */
function spreadOf(timings: readonly Timing[], zone: string): number {
  const gaps = timings.map((timing) => shortestGapSeconds(timing, zone));
  return Math.min(Math.floor(Math.min(...gaps) * 0.02), LONGEST_SPREAD_SECONDS);
}

/** Of a hundred runs: enough to see the shortest that a timing makes as a rule. */
function shortestGapSeconds(timing: Timing, zone: string): number {
  let at = new Date(Date.UTC(2026, 0, 1));
  const gaps = range(0, 99).map(() => {
    const next = nextRun(timing, zone, at);
    const gap = (next.getTime() - at.getTime()) / 1000;
    at = next;
    return gap;
  });
  return Math.min(...gaps.slice(1));
}
