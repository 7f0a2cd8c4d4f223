import type { Plan } from '#core/plan';
import { loadPlan } from '#core/plan-load';
import { memoryYear, type Night } from '#test/examples/memory-year';
import { DAY, midnights, runsOf, type Year, type YearRun } from '#test/examples/year';

/** What happens in a year of a bucket, and what `core/retention` makes of it. */

export const VAULT = 'cloud';
export const PREFIX = 'prod';
/** The shortest that the gateway can be told. */
export const GATEWAY_DAY_MILLISECONDS = 1000;
export const START = new Date('2027-01-01T00:00:00Z');

/**
 * A source of which two backups are made, and marked by somebody who must not, at the midnight after: one of a tier that
 * is kept for ever, one of a tier whose days are more than the seconds of a round.
 */
export const THIEF = { source: 'stolen', night: 3 } as const;

interface Length {
  readonly days: number;
  readonly tiers: string;
  /** Nights between which no proof is conclusive. */
  readonly broken: readonly [number, number];
  /** The night at which the second hold ends. */
  readonly released: number;
  /** How often the gateway comes round. AWS does about once a day, and promises nothing: what is marked may lie for days. */
  readonly roundNights: number;
  /**
   * How many rounds something may wait for its end where the bucket's listing has more than one page. At the edge of one
   * this gateway passes an entry over, or takes the marker of a version that it still has, which is listed once more; and
   * what lies there moves by a few entries from round to round.
   */
  readonly edgeRounds: number;
}

/**
 * 365 days are for a run by hand: the gateway's day lasts a second at least, and a round of its rules three. The short one
 * has the same rules, with tiers so short that each of them ends, and begins again, within five weeks.
 */
export const LENGTHS: Readonly<Record<'short' | 'whole', Length>> = {
  short: {
    days: 34,
    tiers: `{ daily: { keep: 3d }, weekly: { keep: 10d }, monthly: { keep: 13d, class: archive, after: 5d },
  yearly: { keep: forever, class: deep-archive, after: 7d }, versions: { keep: { versions: 3 } } }`,
    broken: [12, 20],
    released: 26,
    roundNights: 4,
    edgeRounds: 0,
  },
  whole: {
    days: 365,
    tiers: `{ daily: { keep: 14d }, weekly: { keep: 8w }, monthly: { keep: 6mo, class: archive, after: 30d },
  yearly: { keep: forever, class: deep-archive, after: 30d }, versions: { keep: { versions: 10 } } }`,
    broken: [150, 190],
    released: 280,
    roundNights: 7,
    edgeRounds: 8,
  },
};

export interface Hold {
  readonly run: YearRun;
  readonly from: Date;
  /** Null: to the end. */
  readonly until: Date | null;
}

export interface Scenario {
  readonly plan: Plan;
  readonly midnights: readonly Date[];
  /** The gateway goes through its rules after each so many of them, and after the last. */
  readonly roundNights: number;
  readonly edgeRounds: number;
  /** Of all sources, in order. */
  readonly runs: readonly YearRun[];
  readonly holds: readonly Hold[];
  /** An upload that nobody ends: before which night it is begun, and how many days it may lie there. */
  readonly half: { readonly night: number; readonly days: number; readonly key: string };
  /** What `core/retention` decided at a midnight about each source that has backups by schedule. */
  nightsAt(at: Date): readonly Night[];
  /** Null: for ever. */
  daysOf(tier: string): number | null;
  coldOf(tier: string): { readonly days: number; readonly storageClass: string } | null;
}

export function planText({ tiers }: Length): string {
  return `version: 1
name: year
encryption:
  recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
  identity: { env: HOLDFAST_IDENTITY }
vaults: { ${VAULT}: { s3: year-backups, region: eu-north-1, prefix: ${PREFIX} } }
tiers: ${tiers}
sources:
  events:
    sqlite: { file: data/events.db }
    schedule: [{ cron: "0 2 * * *", tiers: [daily, weekly, monthly, yearly], to: [${VAULT}] }]
    objectives: { rpo: 26h }
  config:
    files: { paths: [data/config] }
    schedule: [{ cron: "30 3 */2 * *", tier: versions, to: [${VAULT}] }]
    objectives: { rpo: 49h }
  ${THIEF.source}:
    sqlite: { file: data/stolen.db }
    schedule: [{ cron: "0 5 * * *", tiers: [weekly, yearly], to: [${VAULT}] }]
retain: { cron: "0 0 * * *" }
`;
}

export function scenarioOf(length: Length): Scenario {
  const { plan } = loadPlan(planText(length), 'holdfast.yaml');
  const night = (number: number): Date => new Date(START.getTime() + number * DAY);
  const [from, until] = length.broken.map(night) as [Date, Date];
  const year: Year = {
    from: START,
    until: night(length.days),
    proofAt: (at) => (at >= from && at < until ? 'inconclusive' : 'proven'),
  };
  const scheduled = new Map(['events', 'config'].map((source) => [source, [...runsOf(plan, source, year)]]));
  const stolen = runsOf(plan, THIEF.source, { ...year, from: night(THIEF.night - 1), until: night(THIEF.night + 1) });
  const at = [...midnights(plan, year)];
  const events = scheduled.get('events') ?? [];
  const held = (tier: string): YearRun => events.find((run) => run.tier === tier) as YearRun;
  const holds: Hold[] = [
    { run: held('daily'), from: night(7), until: null },
    { run: held('weekly'), from: night(7), until: night(length.released) },
  ];
  const heldAt = (source: string) => (moment: Date) =>
    new Map(
      holds
        .filter((one) => one.run.source === source && one.from <= moment && (one.until === null || moment < one.until))
        .map(({ run }) => [run.id, 'an auditor asks']),
    );
  const nights = [...scheduled].flatMap(([source, runs]) => [
    ...memoryYear(plan, source, year, runs, [], heldAt(source)),
  ]);
  return {
    plan,
    midnights: at,
    roundNights: length.roundNights,
    edgeRounds: length.edgeRounds,
    runs: [...[...scheduled.values()].flat(), ...stolen].sort((a, b) => a.at.getTime() - b.at.getTime()),
    holds,
    half: { night: 2, days: 7, key: 'backups/events/daily/20270103T020000Z-0000/app.db.zst' },
    nightsAt: (moment) => nights.filter((one) => one.at.getTime() === moment.getTime()),
    daysOf: (tier) => daysOf(plan, tier),
    coldOf: (tier) => coldOf(plan, tier),
  };
}

function daysOf({ tiers }: Plan, name: string): number | null {
  const keep = tiers[name]?.keep;
  if (!keep) throw new Error(`no tier ${name}`);
  if ('versions' in keep) return 1;
  return Number.isFinite(keep.seconds) ? (keep.seconds * 1000) / DAY : null;
}

function coldOf({ tiers }: Plan, name: string): { readonly days: number; readonly storageClass: string } | null {
  const { class: storageClass, after } = tiers[name] ?? {};
  if (!after) return null;
  return { days: (after.seconds * 1000) / DAY, storageClass: storageClass === 'archive' ? 'GLACIER' : 'DEEP_ARCHIVE' };
}
