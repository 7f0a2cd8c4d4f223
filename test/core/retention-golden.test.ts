import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { RetentionInput, StoredBackup } from '#core/retention-input';
import {
  afterDays,
  asked,
  DAY,
  HOUR,
  idOf,
  NOW,
  rules,
  scheduled,
  stored,
  tableOf,
  tier,
} from '#test/core/retention-cases';

/** One table a scenario; HOLDFAST_GOLDEN=write writes them anew, to be read before they are kept. */
const WRITE = process.env['HOLDFAST_GOLDEN'] === 'write';

interface Scenario {
  readonly name: string;
  /** The first lines of the table's file. */
  readonly told: readonly string[];
  input(): RetentionInput;
}

const GFS = {
  tiers: { daily: tier('30d'), weekly: tier('90d'), monthly: tier('12mo'), yearly: tier('forever') },
  settings: rules('0 2 * * *', ['daily', 'weekly', 'monthly', 'yearly'], {
    objectives: { rpo: { text: '26h', seconds: 26 * 3600 } },
  }),
  zone: 'UTC',
};

function ago(days: number, change: Partial<StoredBackup> = {}): StoredBackup {
  const day = new Date(NOW.getTime() - days * DAY).toISOString().slice(0, 10);
  return stored(`${day}T02:00:00Z`, change);
}

const CONFIG = { tiers: { config: tier(3, '1h') }, settings: rules('every 1h', ['config']) };
const HOURLY = {
  tiers: { hourly: tier('1d'), daily: tier('30d') },
  settings: rules('every 1h', ['hourly', 'daily']),
};

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'eighteen-months',
    told: [
      'Every night at 02:00 for eighteen months, retention each noon; the table is what is left at the end.',
      'daily 30d, weekly 90d, monthly 12mo, yearly forever.',
    ],
    input: () =>
      afterDays(new Date('2025-05-31T02:00:00Z'), 540, (at, present) => [scheduled(at, present, GFS)], GFS).last,
  },
  {
    name: 'proofs-broken',
    told: [
      'The same tiers. A hundred good days, then forty on which no proof succeeds: this is the fortieth.',
      'Nothing that was there when it began has gone: with no proven backup within the RPO nothing is removed at all.',
    ],
    input: () => {
      const from = new Date('2026-05-05T02:00:00Z');
      return afterDays(
        from,
        140,
        (at, present) => {
          const day = Math.round((at.getTime() - from.getTime()) / DAY);
          return [scheduled(at, present, GFS, { proof: day >= 100 ? 'inconclusive' : 'proven' })];
        },
        GFS,
      ).last;
    },
  },
  {
    name: 'versions',
    told: ['config: { versions: 3 }. Only proven ones push others out; what is newer than the newest proven stays.'],
    input: () =>
      asked(
        [9, 8, 7, 6, 5, 4, 3, 2, 1].map((hours) =>
          stored(new Date(NOW.getTime() - hours * HOUR), {
            tier: 'config',
            expires: null,
            proof: hours === 6 || hours === 4 ? 'disproven' : hours === 1 ? 'inconclusive' : 'proven',
          }),
        ),
        CONFIG,
      ),
  },
  {
    name: 'changed-keep',
    told: [
      'The plan was changed: daily from 30d to 60d, weekly from 90d to 30d, hourly is gone from it, monthly was forever.',
      'A longer keep counts at once, a shorter one for backups made from now on; what was promised holds.',
    ],
    input: () =>
      asked(
        [
          ago(400, { tier: 'monthly', expires: null }),
          ago(80, { tier: 'weekly', expires: new Date('2026-12-01T02:00:00Z') }),
          ago(70),
          ago(50),
          ago(40, { tier: 'weekly', expires: new Date('2026-11-11T02:00:00Z') }),
          ago(10, { tier: 'hourly', expires: new Date('2026-11-18T02:00:00Z') }),
          ago(2, { tier: 'hourly', expires: new Date('2026-11-26T02:00:00Z') }),
          ago(0),
        ],
        { tiers: { daily: tier('60d'), weekly: tier('30d'), monthly: tier('12mo') } },
      ),
  },
  {
    name: 'differentials',
    told: ['A full lives as long as its last kept differential; a log as long as its base. hourly 1d.'],
    input: () => {
      const at = (hours: number) => new Date(NOW.getTime() - hours * HOUR);
      const gone = new Date(NOW.getTime() - HOUR);
      const full = (hours: number) => stored(at(hours), { tier: 'hourly', expires: gone });
      const diff = (hours: number, of: number, expires: Date) =>
        stored(at(hours), { tier: 'hourly', kind: 'differential', base: idOf(at(of)), expires });
      const later = new Date(NOW.getTime() + HOUR);
      return asked(
        [
          full(80),
          diff(79, 80, gone),
          full(60),
          diff(59, 60, gone),
          diff(58, 60, later),
          full(50),
          full(40),
          diff(30, 40, gone),
          full(2),
        ],
        { ...HOURLY, logs: new Map([[idOf(at(50)), { from: at(50), to: at(30), until: later }]]) },
      );
    },
  },
  {
    name: 'stand-ins',
    told: [
      'The monthlies of August and September are disproven, October had none: the best proven one of a lower tier stands in.',
      'July’s is proven: nothing stands in for it.',
    ],
    input: () =>
      asked(
        [
          stored('2026-07-01T02:00:00Z', { tier: 'monthly', expires: new Date('2027-06-26T02:00:00Z') }),
          stored('2026-07-06T02:00:00Z', { tier: 'weekly' }),
          stored('2026-08-01T02:00:00Z', {
            tier: 'monthly',
            proof: 'disproven',
            expires: new Date('2027-07-27T02:00:00Z'),
          }),
          stored('2026-08-03T02:00:00Z', { tier: 'weekly', proof: 'disproven' }),
          stored('2026-08-10T02:00:00Z', { tier: 'weekly' }),
          stored('2026-08-12T02:00:00Z'),
          stored('2026-09-01T02:00:00Z', {
            tier: 'monthly',
            proof: 'disproven',
            expires: new Date('2027-08-27T02:00:00Z'),
          }),
          stored('2026-09-02T02:00:00Z'),
          stored('2026-09-03T02:00:00Z'),
          stored('2026-10-05T02:00:00Z', { tier: 'weekly' }),
          ago(0, { tier: 'monthly', expires: new Date('2027-11-16T02:00:00Z') }),
        ],
        { ...GFS, tiers: { ...GFS.tiers, weekly: tier('20d') } },
      ),
  },
  {
    name: 'emptied',
    told: [
      'On 2 October the database was emptied, restored perfectly ever since, and nobody acknowledged it: the last backup',
      'with rows in it is kept, and so is what shows that something happened.',
    ],
    input: () => {
      const from = new Date('2026-08-01T02:00:00Z');
      return afterDays(
        from,
        100,
        (at, present) => [
          scheduled(
            at,
            present,
            { ...GFS, settings: rules('0 2 * * *', ['daily']) },
            {
              measures:
                at < new Date('2026-10-02T00:00:00Z') ? { rows: 5000, bytes: 2_000_000 } : { rows: 0, bytes: 9000 },
            },
          ),
        ],
        { tiers: { daily: tier('14d') }, settings: rules('0 2 * * *', ['daily']) },
      ).last;
    },
  },
  {
    name: 'held',
    told: ['A person holds one, and with it the full it needs; points are kept as their tier says.'],
    input: () => {
      const differential = ago(60, { kind: 'differential', base: idOf('2026-09-20T02:00:00Z') });
      return asked(
        [ago(62), differential, ago(61, { point: 'before the migration' }), ago(5, { point: 'v2' }), ago(0)],
        {
          holds: new Map([[differential.id, 'audit 2026']]),
        },
      );
    },
  },
  {
    name: 'unproven-by-choice',
    told: ['prove: never. The newest that is not disproven takes the part of the newest proven.'],
    input: () =>
      asked(
        [
          ago(40, { proof: 'unproven' }),
          ago(39, { proof: 'disproven' }),
          ago(3, { proof: 'unproven' }),
          ago(1, { proof: 'unproven' }),
          ago(0, { proof: 'disproven' }),
        ],
        { settings: rules('0 2 * * *', ['daily'], { prove: 'never' }) },
      ),
  },
  {
    name: 'stale',
    told: ['No proven backup for four days, the RPO is 26h: nothing at all is removed, and it says so.'],
    input: () =>
      asked([ago(60), ago(33), ago(20), ago(4), ago(3, { proof: 'disproven' }), ago(1, { proof: 'unproven' })], GFS),
  },
  {
    name: 'clock-behind',
    told: ['The clock was set back by two days: backups lie in its future.'],
    input: () => asked([ago(60), ago(33), ago(20), stored('2026-11-23T02:00:00Z')]),
  },
  {
    name: 'nothing-proven',
    told: ['Not one of them was ever proven: nothing is removed.'],
    input: () =>
      asked([ago(60, { proof: 'unproven' }), ago(33, { proof: 'inconclusive' }), ago(0, { proof: 'disproven' })]),
  },
  {
    name: 'orphan',
    told: ['The source has left the plan: promises hold, and the newest proven one stays for good.'],
    input: () =>
      asked([ago(400), ago(200, { tier: 'weekly' }), ago(150), ago(140, { proof: 'unproven' })], {
        settings: null,
        tiers: { daily: tier('30d') },
      }),
  },
];

describe('what is kept, in tables people can read', () => {
  for (const { name, told, input } of SCENARIOS)
    test(`I5: ${name}: ${told[0]}`, () => {
      const file = join(import.meta.dirname, 'golden', `retention-${name}.txt`);
      const asks = input();
      const table = `${[...told, `Now: ${asks.now.toISOString()}`].join('\n')}\n\n${tableOf(asks)}`;
      if (WRITE) writeFileSync(file, table);
      assert.equal(table, readFileSync(file, 'utf8'));
    });
});
