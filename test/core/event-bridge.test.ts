import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { toEventBridge } from '#core/event-bridge';
import { nextRun, type Timing } from '#core/schedule';

const every = (text: string, seconds: number): Timing => ({ every: { text, seconds } });

describe('what EventBridge Scheduler is told', () => {
  const golden: readonly (readonly [string, Timing, readonly string[]])[] = [
    ['0 2 * * *', { cron: '0 2 * * *' }, ['cron(0 2 * * ? *)']],
    ['weekdays count from Sunday = 1: 0 3 * * 0', { cron: '0 3 * * 0' }, ['cron(0 3 ? * 1 *)']],
    ['0 5 * * MON-FRI', { cron: '0 5 * * MON-FRI' }, ['cron(0 5 ? * 2,3,4,5,6 *)']],
    ['0 5 1 * *', { cron: '0 5 1 * *' }, ['cron(0 5 1 * ? *)']],
    ['*/15 * * * *', { cron: '*/15 * * * *' }, ['cron(0/15 * * * ? *)']],
    ['a step that ends early is a list: 0-30/15', { cron: '0-30/15 4 * * *' }, ['cron(0,15,30 4 * * ? *)']],
    ['every 4h', every('4h', 14_400), ['cron(0 0/4 * * ? *)']],
    ['every 15m', every('15m', 900), ['cron(0/15 * * * ? *)']],
    ['every 1d', every('1d', 86_400), ['cron(0 0 * * ? *)']],
    ['every 7d is every Monday', every('7d', 604_800), ['cron(0 0 ? * 2 *)']],
    ['every 90m takes two', every('90m', 5400), ['cron(0 0/3 * * ? *)', 'cron(30 1/3 * * ? *)']],
  ];
  for (const [title, timing, wanted] of golden)
    test(title, () => {
      assert.deepEqual([...toEventBridge(timing)].sort(), [...wanted].sort());
    });

  test('every 3d cannot be said, and a broken cron says what is wanted', () => {
    assert.match(String(toEventBridge(every('3d', 3 * 86_400))), /a cron, 1d or 7d/);
    assert.match(String(toEventBridge({ cron: '0 2 * *' })), /five fields/);
    assert.match(String(toEventBridge({ cron: '0 2 13 * 5' })), /one of them \*/);
  });
});

/** EventBridge's own meaning, written down again here: which wall-clock minutes an expression names. */
function matches(expression: string, wall: Date): boolean {
  const found = /^cron\((\S+) (\S+) (\S+) (\S+) (\S+) \*\)$/.exec(expression);
  assert.ok(found, expression);
  const [, minutes, hours, days, months, weekdays] = found as unknown as string[];
  assert.ok((days === '?') !== (weekdays === '?'), `${expression}: exactly one of the day fields is ?`);
  const has = (field: string | undefined, value: number, low: number, high: number): boolean => {
    if (field === '*' || field === '?') return true;
    return (field ?? '').split(',').some((part) => {
      const [from = '', step] = part.split('/');
      assert.match(from, /^\d+$/, expression);
      assert.ok(Number(from) >= low && Number(from) <= high, `${expression}: ${part} is out of range`);
      return step === undefined
        ? Number(from) === value
        : value >= Number(from) && (value - Number(from)) % Number(step) === 0;
    });
  };
  return (
    has(minutes, wall.getUTCMinutes(), 0, 59) &&
    has(hours, wall.getUTCHours(), 0, 23) &&
    has(days, wall.getUTCDate(), 1, 31) &&
    has(months, wall.getUTCMonth() + 1, 1, 12) &&
    has(weekdays, wall.getUTCDay() + 1, 1, 7)
  );
}

/** Wall-clock time of a zone, as if it were UTC. */
function wallOf(formatter: Intl.DateTimeFormat, moment: Date): Date {
  const part = Object.fromEntries(formatter.formatToParts(moment).map(({ type, value }) => [type, Number(value)]));
  return new Date(
    Date.UTC(
      part['year'] ?? 0,
      (part['month'] ?? 1) - 1,
      part['day'],
      (part['hour'] ?? 0) % 24,
      part['minute'],
      part['second'],
    ),
  );
}

function formatterOf(zone: string): Intl.DateTimeFormat {
  const two = '2-digit';
  return new Intl.DateTimeFormat('en-GB', {
    timeZone: zone,
    year: 'numeric',
    month: two,
    day: two,
    hour: two,
    minute: two,
    second: two,
    hourCycle: 'h23',
  });
}

const anyTiming: fc.Arbitrary<Timing> = fc.oneof(
  fc
    .constantFrom(15, 20, 30, 45, 60, 90, 120, 160, 240, 480, 720, 1440, 7 * 1440)
    .map((minutes) => every(`${minutes}m`, minutes * 60)),
  fc
    .record({
      minute: fc.constantFrom('0', '30', '*/15', '5,50', '10-40/10'),
      hour: fc.constantFrom('2', '*', '*/6', '0-8/4', '1,13', '3'),
      days: fc.constantFrom(['*', '*'], ['1', '*'], ['*', '0'], ['*', '1-5'], ['29', '*'], ['*', 'SAT,7']),
      month: fc.constantFrom('*', '3,10', '*/2'),
    })
    .map(({ minute, hour, days, month }) => ({ cron: `${minute} ${hour} ${days[0]} ${month} ${days[1]}` })),
);

test('over two years, each time of core/schedule is one that EventBridge names, save those a clock change skips', () => {
  fc.assert(
    fc.property(
      anyTiming,
      fc.constantFrom('UTC', 'Europe/Stockholm', 'America/New_York', 'Australia/Lord_Howe'),
      fc.integer({ min: Date.UTC(2026, 0, 1), max: Date.UTC(2027, 11, 20) }),
      (timing, zone, from) => {
        const expressions = toEventBridge(timing);
        assert.notEqual(typeof expressions, 'string', String(expressions));
        const formatter = formatterOf(zone);
        const offset = (moment: Date): number => wallOf(formatter, moment).getTime() - moment.getTime();
        let at = new Date(Math.floor(from / 60_000) * 60_000);
        const end = at.getTime() + 10 * 86_400_000;
        const named = (moment: Date): boolean =>
          [...expressions].some((expression) => matches(expression, wallOf(formatter, moment)));
        while (at.getTime() < end) {
          const next = nextRun(timing, zone, at);
          // A time on or right after a change is the catching up of what the clock skipped.
          const changed = offset(new Date(next.getTime() - 1000)) !== offset(next);
          if (!changed) assert.ok(named(next), `${next.toISOString()} in ${zone}`);
          at = next;
        }
      },
    ),
    { numRuns: 150 },
  );
});

test('over two years, EventBridge names no time that core/schedule does not have, save the second of a repeated hour', () => {
  fc.assert(
    fc.property(
      anyTiming,
      fc.constantFrom('UTC', 'Europe/Stockholm', 'America/New_York'),
      fc.integer({ min: Date.UTC(2026, 0, 1), max: Date.UTC(2027, 11, 20) }),
      (timing, zone, from) => {
        const expressions = [...toEventBridge(timing)];
        const formatter = formatterOf(zone);
        const start = Math.floor(from / 60_000) * 60_000;
        for (let minute = start; minute < start + 3 * 86_400_000; minute += 5 * 60_000) {
          const moment = new Date(Math.ceil(minute / 300_000) * 300_000);
          if (!expressions.some((expression) => matches(expression, wallOf(formatter, moment)))) continue;
          const wall = wallOf(formatter, moment).getTime();
          const repeated = wallOf(formatter, new Date(moment.getTime() - 3_600_000)).getTime() === wall;
          if (repeated) continue;
          const next = nextRun(timing, zone, new Date(moment.getTime() - 1000));
          assert.equal(next.toISOString(), moment.toISOString(), `${expressions.join(' ')} in ${zone}`);
        }
      },
    ),
    { numRuns: 60 },
  );
});
