import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type DueRun, dueRun, isAnswered, nextDue, scheduleKeys } from '#core/due';
import { parseDuration } from '#core/duration';
import { emptyHistory, fold, mergeHistories, type SourceHistory } from '#core/history';
import type { LedgerEntry } from '#core/ledger';
import type { Schedule, Source } from '#core/plan';
import { nextRun, previousRun } from '#core/schedule';

type Timed = Pick<Source, 'schedule'>;

const FROM = Date.UTC(2026, 10, 21);
const TWO_YEARS = 2 * 365 * 86_400_000;
const ZONES = ['UTC', 'Europe/Stockholm', 'America/New_York', 'Asia/Kathmandu', 'Australia/Lord_Howe', 'Asia/Beirut'];

function schedule(text: string, more: Partial<Schedule> = {}): Schedule {
  const timing = /^\d+(?:mo|[mhdwy])$/.test(text) ? { every: parseDuration(text)! } : { cron: text };
  return { ...timing, tier: 'daily', to: ['here'], ...more };
}

/** A source and its one ledger, to which runs are written as the job writes them. */
class Told {
  readonly history: SourceHistory = emptyHistory();
  readonly source: Timed;
  readonly zone: string;
  readonly since: Date;

  constructor(schedules: readonly Schedule[], zone: string, since: Date) {
    this.source = { schedule: [...schedules] };
    this.zone = zone;
    this.since = since;
  }

  write(event: LedgerEntry['event'], at: Date, details: LedgerEntry['details'] = {}): void {
    fold(this.history, {
      format: 1,
      seq: this.history.seq + 1,
      at: at.toISOString(),
      source: 'x',
      vault: 'here',
      event,
      id: null,
      host: 'h',
      manifest: null,
      details,
      previous: null,
      sha256: '',
    });
  }

  run(due: DueRun, at: Date, event: 'backup' | 'failed' | 'unchanged' = 'backup'): void {
    this.write(event, at, { trigger: due.by, schedule: due.key, scheduledAt: due.scheduledAt.toISOString() });
  }

  due(now: Date): DueRun | null {
    return dueRun(this.source, { zone: this.zone, histories: [this.history], since: this.since }, now);
  }

  next(now: Date): Date | null {
    return nextDue(this.source, { zone: this.zone, histories: [this.history], since: this.since }, now);
  }
}

const after = (date: Date, seconds: number): Date => new Date(date.getTime() + seconds * 1000);
const at = (text: string): Date => new Date(`2026-11-${text}:00Z`);
const shown = (due: DueRun | null): string =>
  due ? `${due.by} ${due.key} ${due.scheduledAt.toISOString().slice(8, 16)}` : 'nothing';

const zone = fc.constantFrom(...ZONES);
const text = fc.constantFrom(
  '15m',
  '1h',
  '4h',
  '1d',
  '7d',
  '30 2 * * *',
  '0 1 * * *',
  '0 */6 * * *',
  '0 3 * * 0',
  '30 1 1 * *',
);
const start = fc
  .integer({ min: FROM / 60_000, max: (FROM + TWO_YEARS) / 60_000 })
  .map((minute) => new Date(minute * 60_000));
/** How long the machine is awake and away in turns, seconds. */
const spans = fc.array(fc.tuple(fc.integer({ min: 1, max: 3 * 86_400 }), fc.integer({ min: 1, max: 10 * 86_400 })), {
  minLength: 1,
  maxLength: 6,
});

describe('what is due', () => {
  test('never two runs for one time, and never a time that passed without its run or a catch-up, with machines that sleep', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(text, { minLength: 1, maxLength: 3 }),
        zone,
        start,
        spans,
        (texts, where, since, awake) => {
          const told = new Told(
            texts.map((one) => schedule(one)),
            where,
            since,
          );
          const made = new Map<string, number[]>();
          let now = since;
          for (const [up, away] of awake) {
            const end = after(now, up);
            for (let turns = 0; ; turns++) {
              assert.ok(turns < 3000, 'it comes to an end');
              const due = told.due(now);
              if (due) {
                assert.ok(due.scheduledAt <= now && due.scheduledAt > since, shown(due));
                const times = made.get(due.key) ?? [];
                assert.ok(!times.includes(due.scheduledAt.getTime()), `a second run for ${shown(due)}`);
                made.set(due.key, [...times, due.scheduledAt.getTime()]);
                told.run(due, now);
                continue;
              }
              // Nothing is due: the newest time of each schedule has been answered.
              for (const [index, key] of scheduleKeys(told.source).entries()) {
                const newest = previousRun(told.source.schedule[index]!, where, now);
                if (newest && newest > since)
                  assert.equal(made.get(key)?.at(-1), newest.getTime(), `${key} at ${now.toISOString()}`);
              }
              const next = told.next(now);
              assert.ok(next && next > now, 'the next one lies ahead');
              if (next > end) break;
              now = next;
            }
            now = after(end, away);
          }
        },
      ),
      { numRuns: 120 },
    );
  });

  test('a whole machine year in each zone: as many runs as the schedule has times, clock changes included', () => {
    for (const where of ZONES) {
      for (const one of ['30 2 * * *', '6h', '1d']) {
        const told = new Told([schedule(one)], where, new Date(FROM));
        let runs = 0;
        for (let now = new Date(FROM); now.getTime() < FROM + TWO_YEARS / 2; now = told.next(now)!) {
          const due = told.due(now);
          if (!due) continue;
          assert.equal(due.by, 'schedule');
          assert.deepEqual(due.scheduledAt, now);
          told.run(due, now);
          runs++;
        }
        let times = 0;
        for (let time = new Date(FROM); ; times++) {
          time = nextRun(schedule(one), where, time);
          if (time.getTime() >= FROM + TWO_YEARS / 2) break;
        }
        assert.equal(runs, times, `${one} in ${where}`);
      }
    }
  });

  test('I10: nothing is due before the first time after the source came into the plan', () => {
    const told = new Told([schedule('0 2 * * *')], 'UTC', at('21T02:00'));
    assert.equal(shown(told.due(at('21T02:00'))), 'nothing');
    assert.equal(shown(told.due(at('22T01:59'))), 'nothing');
    assert.deepEqual(told.next(at('21T02:00')), at('22T02:00'));
    assert.equal(shown(told.due(at('22T02:00'))), 'schedule 0 2 * * * 22T02:00');
  });

  test('after five missed nights there is one catch-up, for the newest of them', () => {
    const told = new Told([schedule('0 2 * * *')], 'UTC', at('01T00:00'));
    assert.equal(shown(told.due(at('06T09:00'))), 'catch-up 0 2 * * * 06T02:00');
    told.run(told.due(at('06T09:00'))!, at('06T09:05'));
    assert.equal(shown(told.due(at('07T01:59'))), 'nothing');
    assert.equal(shown(told.due(at('07T02:00'))), 'schedule 0 2 * * * 07T02:00');
  });

  test('a run that waited in a queue is not a catch-up; one that comes hours late is', () => {
    const told = new Told([schedule('0 2 * * *')], 'UTC', at('01T00:00'));
    assert.equal(told.due(at('02T02:59'))?.by, 'schedule');
    assert.equal(told.due(at('02T03:01'))?.by, 'catch-up');
    const often = new Told([schedule('15m')], 'UTC', at('01T00:00'));
    assert.equal(often.due(after(at('02T02:15'), 200))?.by, 'schedule');
    assert.equal(often.due(after(at('02T02:15'), 240))?.by, 'catch-up');
  });

  test('a failed run is made again after 15, 30, 60 minutes, never beyond its next time, which counts anew', () => {
    const told = new Told([schedule('4h')], 'UTC', at('01T00:00'));
    const tried: string[] = [];
    let now = at('02T04:00');
    while (now < at('02T09:00')) {
      const due = told.due(now);
      if (due) {
        tried.push(`${now.toISOString().slice(11, 16)} ${due.failures}`);
        told.run(due, now, 'failed');
      }
      now = told.next(now)!;
    }
    assert.deepEqual(tried, ['04:00 0', '04:15 1', '04:45 2', '05:45 3', '07:45 4', '08:00 0', '08:15 1', '08:45 2']);
  });

  test('repetitions of a weekly run are four hours apart at most', () => {
    const told = new Told([schedule('0 3 * * 0')], 'UTC', at('01T00:00'));
    const waits: number[] = [];
    let now = at('08T03:00');
    for (let turn = 0; turn < 8; turn++) {
      told.run(told.due(now)!, now, 'failed');
      const next = told.next(now)!;
      waits.push((next.getTime() - now.getTime()) / 60_000);
      now = next;
    }
    assert.deepEqual(waits, [15, 30, 60, 120, 240, 240, 240, 240]);
  });

  test('what was found unchanged answers its time like a backup', () => {
    const told = new Told([schedule('1h')], 'UTC', at('01T00:00'));
    told.run(told.due(at('02T05:00'))!, at('02T05:00'), 'unchanged');
    assert.equal(shown(told.due(at('02T05:59'))), 'nothing');
  });

  test('a backup by hand answers no schedule', () => {
    const told = new Told([schedule('0 2 * * *')], 'UTC', at('01T00:00'));
    told.write('backup', at('02T01:59'), { trigger: 'manual', schedule: '0 2 * * *', scheduledAt: null });
    assert.equal(shown(told.due(at('02T02:00'))), 'schedule 0 2 * * * 02T02:00');
  });

  test('while a source is paused nothing is due; its end makes one catch-up, however it comes', () => {
    for (const end of ['by itself', 'by resume']) {
      const told = new Told([schedule('0 2 * * *')], 'UTC', at('01T00:00'));
      told.run(told.due(at('02T02:00'))!, at('02T02:00'));
      const until = end === 'by itself' ? at('06T12:00').toISOString() : null;
      told.write('pause', at('02T12:00'), { reason: 'moving house', until });
      assert.equal(shown(told.due(at('04T02:00'))), 'nothing');
      assert.deepEqual(told.next(at('04T02:00')), end === 'by itself' ? at('06T12:00') : null);
      if (end === 'by resume') told.write('resume', at('06T12:00'), { reason: null });
      assert.equal(shown(told.due(at('06T12:00'))), 'catch-up 0 2 * * * 06T02:00', end);
      told.run(told.due(at('06T12:00'))!, at('06T12:10'));
      assert.equal(shown(told.due(at('07T01:00'))), 'nothing');
    }
  });

  test('a pause in which no time fell leaves nothing to catch up', () => {
    const told = new Told([schedule('0 2 * * *')], 'UTC', at('01T00:00'));
    told.run(told.due(at('02T02:00'))!, at('02T02:00'));
    told.write('pause', at('02T12:00'), { reason: 'a deploy', until: at('02T13:00').toISOString() });
    assert.equal(shown(told.due(at('02T13:00'))), 'nothing');
    assert.deepEqual(told.next(at('02T12:30')), at('03T02:00'));
  });

  test('each schedule is answered by itself, the oldest time first; two of one timing have two names', () => {
    const told = new Told(
      [schedule('0 2 * * *'), schedule('0 3 * * 0', { tier: 'weekly' }), schedule('0 2 * * *', { to: ['far'] })],
      'UTC',
      at('07T00:00'),
    );
    assert.deepEqual(scheduleKeys(told.source), ['0 2 * * *', '0 3 * * 0', '0 2 * * * #2']);
    const made: string[] = [];
    for (let due = told.due(at('08T09:00')); due; due = told.due(at('08T09:00'))) {
      made.push(shown(due));
      told.run(due, at('08T09:00'));
    }
    assert.deepEqual(made, [
      'catch-up 0 2 * * * 08T02:00',
      'catch-up 0 2 * * * #2 08T02:00',
      'catch-up 0 3 * * 0 08T03:00',
    ]);
  });

  test('differentials, which are not there yet, are never due', () => {
    const told = new Told([schedule('4h'), schedule('5m', { kind: 'differential' })], 'UTC', at('01T00:00'));
    told.run(told.due(at('02T04:05'))!, at('02T04:05'));
    assert.equal(shown(told.due(at('02T04:20'))), 'nothing');
    assert.deepEqual(told.next(at('02T04:20')), at('02T08:00'));
  });

  test('a time that any vault knows to be answered is answered, though another vault saw it fail', () => {
    const first = new Told([schedule('0 2 * * *')], 'UTC', at('01T00:00'));
    const second = new Told([schedule('0 2 * * *')], 'UTC', at('01T00:00'));
    const due = first.due(at('02T02:00'))!;
    first.run(due, at('02T02:00'), 'failed');
    second.run(due, at('02T02:01'));
    const histories = [first.history, second.history];
    assert.equal(dueRun(first.source, { zone: 'UTC', histories, since: at('01T00:00') }, at('02T12:00')), null);
    assert.ok(isAnswered('0 2 * * *', at('02T02:00'), histories, at('02T12:00')));
    assert.ok(!isAnswered('0 2 * * *', at('03T02:00'), histories, at('03T12:00')));
    assert.equal(mergeHistories(histories).scheduled['0 2 * * *']?.outcome, 'ok');
  });

  test('a run that a clock a year ahead wrote down does not stop the schedule for a year', () => {
    const told = new Told([schedule('0 2 * * *')], 'UTC', at('01T00:00'));
    const ahead = new Date('2027-11-02T02:00:00Z');
    told.run(told.due(ahead)!, ahead);
    const due = told.due(at('03T02:00'));
    assert.equal(shown(due), 'schedule 0 2 * * * 03T02:00');
    told.run(due!, at('03T02:00'));
    assert.equal(shown(told.due(at('03T02:30'))), 'nothing', 'and it is answered when it was made');
    assert.deepEqual(told.next(at('03T02:30')), at('04T02:00'));
  });
});
