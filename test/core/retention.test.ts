import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { decide } from '#core/retention';
import { removalOrder } from '#core/retention-chains';
import type { StoredBackup } from '#core/retention-input';
import { Periods } from '#core/retention-periods';
import { periodStart } from '#core/tiers';
import { growth } from '#test/core/growth';
import {
  afterDays,
  asked,
  DAY,
  decisionOn,
  HOUR,
  idOf,
  NOW,
  removedIds,
  rules,
  scheduled,
  stored,
  tier,
} from '#test/core/retention-cases';

function ago(days: number, change: Partial<StoredBackup> = {}): StoredBackup {
  return stored(new Date(NOW.getTime() - days * DAY), change);
}

describe('peers 3C: what retention deleted that it must not', () => {
  test('peers 3C (WAL-G #636): after an upgrade the source is another; order is by time, and neither side of it goes', () => {
    const before = [ago(33), ago(32)];
    const after = [ago(29), ago(1)].map((one) => ({ ...one, identity: { system: '8000', database: 'app' } }));
    const retention = decide(asked([...before, ...after]));
    assert.deepEqual(removedIds(retention), [before[0]?.id], 'only what is neither newest nor last before the change');
    assert.match(decisionOn(retention, before[1] as StoredBackup).reasons.join(), /last one before .*another source/);
    assert.equal(decisionOn(retention, after[1] as StoredBackup).reasons.at(-1), 'newest proven');
    const known = decide(asked([...before, ...after], { acknowledged: [(after[0] as StoredBackup).id] }));
    assert.deepEqual(
      removedIds(known),
      before.map(({ id }) => id),
      'once acknowledged, days decide',
    );
  });

  test('peers 3C (WAL-G #230, Databasus 2026-05): logs that are kept keep their base, and are nothing retention names', () => {
    const [base, newest] = [ago(40), ago(0)];
    const range = { from: base.snapshotAt, to: NOW, until: null };
    const retention = decide(asked([base, newest], { logs: new Map([[base.id, range]]) }));
    assert.deepEqual(removedIds(retention), []);
    assert.match(decisionOn(retention, base).reasons.join(), /base of the logs from/);
    const over = { ...range, until: new Date(NOW.getTime() - 1) };
    assert.deepEqual(removedIds(decide(asked([base, newest], { logs: new Map([[base.id, over]]) }))), [base.id]);
  });

  test('peers 3C (WAL-G #1127, #1768): what is permanent stays: forever, held, or by the plan’s hold', () => {
    const [forever, held] = [ago(900, { tier: 'yearly', expires: null }), ago(800)];
    const asks = asked([forever, held, ago(700), ago(0)], {
      tiers: { daily: tier('30d'), yearly: tier('forever') },
      holds: new Map([[held.id, 'the court asked for it']]),
    });
    const retention = decide(asks);
    assert.deepEqual(removedIds(retention), [ago(700).id]);
    assert.equal(decisionOn(retention, held).action, 'hold');
    assert.match(decisionOn(retention, held).reasons[0] as string, /the court asked for it/);
    const all = decide({ ...asks, settings: rules('0 2 * * *', ['daily'], { hold: true }) });
    assert.deepEqual(new Set(all.decisions.map(({ action }) => action)), new Set(['hold']));
  });

  test('peers 3C (Barman BAR-707): differentials are no versions beside their full: giving up one full leaves a chain', () => {
    const old = ago(3, { tier: 'config', expires: null });
    const full = ago(2, { tier: 'config', expires: null });
    const differentials = [1.5, 1, 0.1].map((days) =>
      ago(days, { tier: 'config', expires: null, kind: 'differential', base: full.id }),
    );
    const retention = decide(asked([old, full, ...differentials], { tiers: { config: tier(2) } }));
    assert.deepEqual(removedIds(retention), [old.id, differentials[0]?.id]);
    assert.match(decisionOn(retention, full).reasons.join(), /full of the differential .* and 1 more/);
  });

  test('peers 3C (Databasus fork): a full that goes takes its differentials first, newest first', () => {
    const full = ago(40);
    const differentials = [39, 38].map((days) => ago(days, { kind: 'differential', base: full.id }));
    const all = [full, ...differentials, ago(0)];
    const gone = removedIds(decide(asked(all)));
    assert.deepEqual(
      gone,
      [full, ...differentials].map(({ id }) => id),
    );
    const order = removalOrder(all.filter(({ id }) => gone.includes(id)));
    assert.deepEqual(
      order.map(({ id }) => id),
      [differentials[1], differentials[0], full].map((one) => one?.id),
    );
  });

  test('peers 3C (Databasus #773): weeklies, monthlies and yearlies survive beside the dailies, not seven dailies alone', () => {
    const plan = {
      tiers: { daily: tier('7d'), weekly: tier('4w'), monthly: tier('6mo'), yearly: tier('forever') },
      settings: rules('0 2 * * *', ['daily', 'weekly', 'monthly', 'yearly']),
      zone: 'Europe/Stockholm',
    };
    const { backups } = afterDays(
      new Date('2026-01-10T01:00:00Z'),
      250,
      (at, present) => [scheduled(at, present, plan)],
      plan,
    );
    const count = (name: string): number => backups.filter((one) => one.tier === name).length;
    assert.deepEqual(
      { daily: count('daily'), weekly: count('weekly'), monthly: count('monthly'), yearly: count('yearly') },
      { daily: 6, weekly: 4, monthly: 6, yearly: 1 },
    );
  });

  test('a wrong plan cannot end everything: with a keep of a minute the newest proven one still stays', () => {
    const short = { daily: tier('1m') };
    const gone = { expires: new Date(0) };
    assert.deepEqual(removedIds(decide(asked([ago(3, gone), ago(2, gone), ago(1, gone)], { tiers: short }))), [
      ago(3).id,
      ago(2).id,
    ]);
  });
});

describe('peers 3D: where retention silently stopped', () => {
  test('peers 3D (WAL-G #1152, #440): one permanent backup blocks none but what it needs', () => {
    const [full, held] = [ago(60), ago(59, { kind: 'differential', base: ago(60).id })];
    const others = [ago(61), ago(58), ago(57)];
    const asks = asked([...others, full, held, ago(0)], { holds: new Map([[held.id, 'kept']]) });
    assert.deepEqual(removedIds(decide(asks)).toSorted(), others.map(({ id }) => id).toSorted());
  });

  test('peers 3D (CNPG #4170, #8599, #9681): what stops it is said, with how much waits for it', () => {
    const { stop, heldBack, decisions } = decide(asked([ago(60), ago(50), ago(9)]));
    assert.equal(stop?.why, 'stale');
    assert.match(stop?.reason ?? '', /newest proven backup is 9d old, older than its RPO 2d 1h/);
    assert.equal(heldBack, 2);
    assert.match(decisions[0]?.reasons.join() ?? '', /nothing is removed now: its newest proven backup/);
  });

  test('peers 3D (Databasus #423): tiers that left the plan, and sources that did, end as they were promised', () => {
    const asks = asked([ago(60, { tier: 'hourly' }), ago(50), ago(40)], { settings: null });
    assert.deepEqual(removedIds(decide(asks)), [ago(60).id, ago(50).id]);
  });
});

describe('what else decides', () => {
  test('who acknowledged a change acknowledged what goes on like it, and nothing that comes after', () => {
    const full = [60, 50, 40].map((days) => ago(days, { measures: { rows: 5000 } }));
    const [emptied, alike] = [31, 1].map((days) => ago(days, { measures: { rows: 900 } })) as [
      StoredBackup,
      StoredBackup,
    ];
    const last = full[2] as StoredBackup;
    const ids = (backups: readonly StoredBackup[], acknowledged: readonly string[]) =>
      removedIds(decide(asked(backups, { acknowledged })));
    assert.ok(!ids([...full, emptied, alike], []).includes(last.id));
    assert.ok(!ids([...full, emptied, alike], []).includes(emptied.id), 'what shows it is kept too');
    assert.deepEqual(
      ids([...full, emptied, alike], [emptied.id]),
      [...full, emptied].map(({ id }) => id),
    );
    assert.deepEqual(
      ids([...full, alike], [emptied.id]),
      full.map(({ id }) => id),
      'the one that showed it is gone',
    );
    const worse = ago(0, { measures: { rows: 0 } });
    assert.match(
      decisionOn(decide(asked([...full, emptied, alike, worse], { acknowledged: [emptied.id] })), alike).reasons.join(),
      /the last one before 20261121T120000Z-0000/,
    );
  });

  test('I4: a source found unchanged is as young as that: its old backups may go', () => {
    const newest = ago(20);
    const asks = asked([ago(60), newest]);
    assert.deepEqual(removedIds(decide(asks)), []);
    const unchanged = new Map([[newest.id, new Date(NOW.getTime() - HOUR)]]);
    assert.deepEqual(removedIds(decide({ ...asks, unchanged })), [ago(60).id]);
    assert.deepEqual(
      removedIds(decide({ ...asks, unchanged: new Map([[idOf(NOW), new Date(NOW.getTime() - HOUR)]]) })),
      [],
      'of another',
    );
    const ahead = new Map([[newest.id, new Date(NOW.getTime() + DAY)]]);
    assert.deepEqual(removedIds(decide({ ...asks, unchanged: ahead })), [], 'written by a clock that was ahead');
  });

  test('a vault that no schedule writes any more is judged by those that are written', () => {
    const asks = asked([ago(60), ago(50)]);
    assert.deepEqual(removedIds(decide(asks)), []);
    assert.deepEqual(removedIds(decide({ ...asks, provenElsewhere: ago(0).snapshotAt })), [ago(60).id]);
  });

  test('what cannot be read may be a differential: the full before it stays', () => {
    const asks = asked([ago(61), ago(60), ago(0)], { unreadable: [idOf(new Date(NOW.getTime() - 59 * DAY))] });
    const retention = decide(asks);
    assert.deepEqual(removedIds(retention), [ago(61).id]);
    assert.match(decisionOn(retention, ago(60)).reasons.join(), /may be the full of 20260923T120000Z-0000/);
  });

  test('a look into the future takes the newest for fresh, and says what is over by then', () => {
    const asks = asked([ago(20), ago(10), ago(0)], { now: new Date('2033-01-01T00:00:00Z'), assumeFresh: true });
    const retention = decide(asks);
    assert.deepEqual(removedIds(retention), [ago(20).id, ago(10).id]);
    assert.deepEqual(decisionOn(retention, ago(0)).reasons, [
      'daily, kept 30d until 2026-12-21: over',
      'newest proven',
    ]);
  });

  test('a reason of the caller’s stops everything', () => {
    const { stop, heldBack, decisions } = decide(asked([ago(60), ago(0)], { stop: 'no source of the plan is fresh' }));
    assert.deepEqual([stop?.why, heldBack, decisions[0]?.action], ['known', 1, 'keep']);
  });

  test('own tiers have periods too, and disproven ones in them are stood in for', () => {
    const plan = {
      tiers: { hourly: tier('1d'), shift: tier('30d', '8h') },
      settings: rules('every 1h', ['hourly', 'shift']),
    };
    const of = (at: string, change: Partial<StoredBackup>) => stored(at, { expires: new Date(at), ...change });
    const bad = of('2026-11-18T08:00:00Z', { tier: 'shift', proof: 'disproven' });
    const good = of('2026-11-18T11:00:00Z', { tier: 'hourly' });
    const outside = of('2026-11-18T16:00:00Z', { tier: 'hourly' });
    const shift = of('2026-11-18T17:00:00Z', { tier: 'shift' });
    const retention = decide(asked([bad, good, outside, shift, ago(0, { tier: 'shift' })], plan));
    assert.deepEqual(removedIds(retention), [outside.id]);
    assert.match(
      decisionOn(retention, good).reasons.at(-1) as string,
      /^stands in for shift 2026-11-18 08:00Z, which is disproven/,
    );
  });

  test('periods are the calendar’s own, as a run finds its tier due by, in every zone and over clock changes', () => {
    const zones = [
      'UTC',
      'Europe/Stockholm',
      'America/St_Johns',
      'Australia/Lord_Howe',
      'Pacific/Apia',
      'Asia/Kathmandu',
    ];
    const moment = fc.date({ min: new Date('2024-01-01'), max: new Date('2029-01-01'), noInvalidDate: true });
    const names = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'];
    fc.assert(
      fc.property(
        fc.constantFrom(...zones),
        fc.constantFrom(...names),
        moment,
        fc.integer({ max: 40 * 86_400 }),
        (zone, name, at, apart) => {
          const other = new Date(at.getTime() + apart * 1000);
          const periods = new Periods(zone);
          const start = (one: Date) => periodStart(name, undefined, zone, one)?.getTime();
          const same = periods.of(name, undefined, at)?.key === periods.of(name, undefined, other)?.key;
          assert.equal(same, start(at) === start(other));
        },
      ),
      { numRuns: 500 },
    );
    assert.equal(new Periods('UTC').of('weekly', undefined, new Date('2027-01-03T23:00:00Z'))?.label, '2026-W53');
    assert.equal(new Periods('UTC').of('weekly', undefined, new Date('2027-01-04T01:00:00Z'))?.label, '2027-W01');
  });

  test('eight times as many backups take about eight times as long, not sixty-four', () => {
    const plan = {
      tiers: { hourly: tier('7d'), daily: tier('30d'), monthly: tier('12mo') },
      settings: rules('every 1h', ['hourly', 'daily', 'monthly']),
      zone: 'Europe/Stockholm',
    };
    const backups = (count: number) =>
      Array.from({ length: count }, (_, n) =>
        stored(new Date(NOW.getTime() - n * HOUR), {
          id: idOf(NOW, n.toString(16)),
          tier: n % 24 === 0 ? 'daily' : 'hourly',
        }),
      );
    const decided = (count: number): number => removedIds(decide(asked(backups(count), plan))).length;
    assert.ok(decided(32_000) > 24_000);
    // In quadratic time it would be 64.
    assert.ok(growth(backups, (some) => void decide(asked(some, plan)), 4_000, 32_000) < 24);
  });
});
