import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Cron } from 'croner';
import fc from 'fast-check';
import { parseCron } from '#core/cron';
import { parseDuration } from '#core/duration';
import { isEvery, longestGapSeconds, nextRun, previousRun, type Timing } from '#core/schedule';
import { wallSeconds } from '#core/zone';

const every = (text: string): Timing => ({ every: parseDuration(text) ?? undefined });
const cron = (text: string): Timing => ({ cron: text });

const FROM = Date.parse('2026-11-21T00:00:00Z');
const TWO_YEARS = 2 * 366 * 86_400_000;
/** Summer time by an hour in both hemispheres, by half an hour, and at midnight (skipped in Beirut, twice in Havana). */
const ZONES = [
  'UTC',
  'Europe/Stockholm',
  'America/New_York',
  'Australia/Lord_Howe',
  'Asia/Beirut',
  'America/Havana',
  'Asia/Kathmandu',
];
const zone = fc.constantFrom(...ZONES);
const moment = fc.integer({ min: FROM, max: FROM + TWO_YEARS }).map((at) => new Date(at));
/** Half of the moments lie near a clock change, where the mistakes are. */
const nearChange = fc.tuple(
  fc.constantFrom(
    '2027-03-28T01:00:00Z',
    '2027-10-31T01:00:00Z',
    '2027-03-14T07:00:00Z',
    '2027-11-07T06:00:00Z',
    '2027-04-03T15:00:00Z',
    '2027-10-02T15:30:00Z',
    '2027-03-27T22:00:00Z',
    '2027-10-30T21:00:00Z',
    '2027-03-14T05:00:00Z',
    '2027-11-07T05:00:00Z',
  ),
  fc.integer({ min: -26 * 3600, max: 26 * 3600 }),
);
const when = fc.oneof(
  moment,
  nearChange.map(([at, seconds]) => new Date(Date.parse(at) + seconds * 1000)),
);

const shortEvery = fc.constantFrom('1m', '5m', '15m', '45m', '1h', '90m', '2h', '3h', '4h', '6h', '8h', '12h');
const longEvery = fc.constantFrom('1d', '2d', '3d', '1w', '2w', '1mo', '1y');

const numbers = (low: number, high: number) =>
  fc.oneof(
    fc.constant('*'),
    fc.integer({ min: 2, max: Math.max(2, Math.floor(high / 2)) }).map((step) => `*/${step}`),
    fc.uniqueArray(fc.integer({ min: low, max: high }), { minLength: 1, maxLength: 3 }).map((list) => list.join()),
    fc.tuple(fc.integer({ min: low, max: high }), fc.integer({ min: low, max: high })).map(([a, b]) => {
      return `${Math.min(a, b)}-${Math.max(a, b)}`;
    }),
  );
const anyCron = fc
  .record({
    minute: numbers(0, 59),
    hour: numbers(0, 23),
    day: fc.oneof(
      fc.record({ day: numbers(1, 28), weekday: fc.constant('*') }),
      fc.record({ day: fc.constant('*'), weekday: numbers(0, 7) }),
    ),
    month: fc.oneof({ weight: 3, arbitrary: fc.constant('*') }, { weight: 1, arbitrary: numbers(1, 12) }),
  })
  .map(({ minute, hour, day, month }) => `${minute} ${hour} ${day.day} ${month} ${day.weekday}`);
const anyTiming = fc.oneof(shortEvery.map(every), longEvery.map(every), anyCron.map(cron));

const shown = (timing: Timing): string => timing.cron ?? `every ${timing.every?.text}`;

describe('schedules', () => {
  test('the next run is always later, and it is the previous run of itself and of every moment before the one after', () => {
    fc.assert(
      fc.property(anyTiming, zone, when, fc.nat(86_399), (timing, where, after, within) => {
        const next = nextRun(timing, where, after);
        assert.ok(next > after, `${shown(timing)}: ${next.toISOString()} is not after ${after.toISOString()}`);
        assert.deepEqual(previousRun(timing, where, next), next, shown(timing));
        const following = nextRun(timing, where, next);
        assert.ok(following > next);
        const between = new Date(Math.min(next.getTime() + within * 1000, following.getTime() - 1));
        assert.deepEqual(previousRun(timing, where, between), next, shown(timing));
        assert.deepEqual(nextRun(timing, where, between), following, shown(timing));
        const before = previousRun(timing, where, new Date(next.getTime() - 1000));
        if (before) assert.deepEqual(nextRun(timing, where, before), next, shown(timing));
      }),
      { numRuns: 1500 },
    );
  });

  test('cron agrees with croner wherever one starts', () => {
    fc.assert(
      fc.property(anyCron, zone, when, (text, where, after) => {
        const theirs = new Cron(text, { timezone: where, mode: '5-part', fixedTimeRule: 'no-wildcard' });
        assert.deepEqual(nextRun(cron(text), where, after), theirs.nextRun(after));
      }),
      { numRuns: 300 },
    );
  });

  test('a cron run shows minute, hour, day, month and weekday of its fields on the wall clock, but for skipped times', () => {
    fc.assert(
      fc.property(anyCron, fc.constantFrom('UTC', 'Asia/Kathmandu'), when, (text, where, after) => {
        const fields = parseCron(text);
        assert.ok(typeof fields !== 'string');
        const wall = new Date(wallSeconds(nextRun(cron(text), where, after).getTime() / 1000, where) * 1000);
        assert.ok(fields.minutes.includes(wall.getUTCMinutes()));
        assert.ok(fields.hours.includes(wall.getUTCHours()));
        assert.ok(fields.days.includes(wall.getUTCDate()));
        assert.ok(fields.months.includes(wall.getUTCMonth() + 1));
        assert.ok(fields.weekdays.includes(wall.getUTCDay()));
      }),
      { numRuns: 300 },
    );
  });

  test('every, below a day, is aligned to local midnight on all days without a clock change', () => {
    fc.assert(
      fc.property(shortEvery, zone, when, (text, where, after) => {
        const timing = every(text);
        const seconds = timing.every?.seconds ?? 0;
        const next = nextRun(timing, where, after).getTime() / 1000;
        const aligned = wallSeconds(next, where) % seconds === 0;
        const changesHere = wallSeconds(next, where) - next !== wallSeconds(next - 1, where) - (next - 1);
        assert.ok(aligned || changesHere);
        const gap = next - after.getTime() / 1000;
        assert.ok(gap <= seconds + 3600, `${text} in ${where}: nothing for ${gap} s`);
      }),
      { numRuns: 1000 },
    );
  });

  test('every day has exactly one run of `every: 1d`, also where midnight is skipped or comes twice', () => {
    for (const where of ZONES) {
      let at = new Date(FROM);
      let day: number | null = null;
      while (at.getTime() < FROM + TWO_YEARS) {
        at = nextRun(every('1d'), where, at);
        const today = Math.floor(wallSeconds(at.getTime() / 1000, where) / 86_400);
        if (day !== null) assert.equal(today, day + 1, `${where} ${at.toISOString()}`);
        day = today;
      }
    }
  });

  test('the summer-time table: what runs around a change', () => {
    const stockholm = 'Europe/Stockholm';
    const runs = (timing: Timing, where: string, from: string, count: number): string[] => {
      const found: string[] = [];
      for (let at = new Date(from); found.length < count; ) {
        at = nextRun(timing, where, at);
        found.push(at.toISOString().slice(5, 16));
      }
      return found;
    };
    // Skipped hour (01:00Z, the clock jumps from 02:00 to 03:00).
    assert.deepEqual(runs(cron('30 2 * * *'), stockholm, '2027-03-27T12:00:00Z', 2), ['03-28T01:00', '03-29T00:30']);
    assert.deepEqual(runs(cron('30 2,14 * * *'), stockholm, '2027-03-28T00:00:00Z', 2), ['03-28T01:00', '03-28T12:30']);
    assert.deepEqual(runs(every('2h'), stockholm, '2027-03-27T22:00:00Z', 4), [
      '03-27T23:00',
      '03-28T01:00',
      '03-28T02:00',
      '03-28T04:00',
    ]);
    // Repeated hour (01:00Z, the clock falls from 03:00 to 02:00).
    assert.deepEqual(runs(cron('30 2 * * *'), stockholm, '2027-10-30T12:00:00Z', 2), ['10-31T00:30', '11-01T01:30']);
    assert.deepEqual(runs(every('30m'), stockholm, '2027-10-30T23:30:00Z', 4), [
      '10-31T00:00',
      '10-31T00:30',
      '10-31T01:00',
      '10-31T01:30',
    ]);
    // No midnight in Beirut on 28 March, two of them in Havana on 7 November.
    assert.deepEqual(runs(every('1d'), 'Asia/Beirut', '2027-03-26T23:00:00Z', 2), ['03-27T22:00', '03-28T21:00']);
    assert.deepEqual(runs(every('1d'), 'America/Havana', '2027-11-07T03:00:00Z', 2), ['11-07T04:00', '11-08T05:00']);
    // Weeks begin on Monday.
    assert.deepEqual(runs(every('1w'), 'UTC', '2026-11-21T00:00:00Z', 2), ['11-23T00:00', '11-30T00:00']);
  });

  test('every has to divide a day or be whole days', () => {
    for (const good of ['1m', '15m', '45m', '4h', '1d', '7d', '4w', '1y'])
      assert.ok(isEvery(parseDuration(good)!), good);
    for (const bad of ['30s', '7m', '5h', '36h', '25h', '2y', 'forever']) assert.ok(!isEvery(parseDuration(bad)!), bad);
  });

  test('the longest gap, as a table', () => {
    const day = 86_400;
    const table: [readonly Timing[], number][] = [
      [[every('15m')], 900],
      [[every('1d')], day],
      [[every('1w')], 7 * day],
      [[every('1y')], 365 * day],
      [[cron('0 2 * * *')], day],
      [[cron('* * * * *')], 60],
      [[cron('*/15 * * * *')], 900],
      [[cron('0 8-18/2 * * *')], 14 * 3600],
      [[cron('0 2 * * 1-5')], 3 * day],
      [[cron('0 2 * * MON')], 7 * day],
      [[cron('0 5 1 * *')], 31 * day],
      [[cron('0 5 31 * *')], 61 * day],
      [[cron('0 0 29 2 *')], 1461 * day],
      [[cron('0 2 * * *'), cron('0 14 * * *')], 12 * 3600],
      [[every('4h'), every('5m')], 300],
      [[cron('0 2 * * 1-5'), cron('0 2 * * 6,7')], day],
    ];
    for (const [timings, seconds] of table) {
      assert.equal(longestGapSeconds(timings), seconds, timings.map(shown).join(' + '));
    }
  });

  test('no two runs in UTC are further apart than the longest gap says', () => {
    fc.assert(
      fc.property(anyTiming, moment, (timing, after) => {
        const first = nextRun(timing, 'UTC', after);
        const second = nextRun(timing, 'UTC', first);
        assert.ok(second.getTime() - first.getTime() <= longestGapSeconds([timing]) * 1000, shown(timing));
      }),
      { numRuns: 200 },
    );
  });

  test('cron texts that schedulers read differently, or that never happen, are refused with what is wanted', () => {
    const table: [string, RegExp][] = [
      ['* * * *', /five fields/],
      ['0 0 2 * * *', /five fields/],
      ['@daily', /five fields/],
      ['0 25 * * *', /hour 0-23/],
      ['60 * * * *', /minute 0-59/],
      ['0 0 0 * *', /day-of-month 1-31/],
      ['0 0 * 13 *', /month 1-12/],
      ['0 0 * * 8', /day-of-week 0-7/],
      ['0 0 L * *', /numbers 1-31/],
      ['0 0 ? * 1', /numbers/],
      ['0 0 * * FRI#2', /numbers/],
      ['5/10 * * * *', /\*\/10/],
      ['0 5-2 * * *', /upwards/],
      ['*/0 * * * *', /at least 1/],
      ['*/61 * * * *', /at most 60/],
      ['0 0 * * */8', /at most 7/],
      ['0 0 31 2 *', /a date that exists/],
      ['0 0 31 4,6 *', /a date that exists/],
      ['0 0 13 * 5', /one of them \*/],
    ];
    for (const [text, want] of table) assert.match(String(parseCron(text)), want, text);
    assert.equal(typeof parseCron('0 0 29 FEB *'), 'object');
    assert.equal(typeof parseCron('15,45 8-18/2 * jan-mar mon-fri'), 'object');
    assert.equal(typeof parseCron('0 0 * * 7'), 'object');
  });
});
