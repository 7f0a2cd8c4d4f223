import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type Anomaly, anomaliesOf, COMPARED_WITH, type Measured, unacknowledged } from '#core/anomaly';
import { partMeasures } from '#core/measures';
import { growth } from '#test/core/growth';

const START = Date.parse('2026-03-01T02:00:00Z');

function id(day: number): string {
  const at = new Date(START + day * 86_400_000).toISOString();
  return `${at.slice(0, 19).replace(/[-:]/g, '')}Z-${day.toString(16).padStart(4, '0').slice(-4)}`;
}

/** One proven backup a day. */
function history(days: readonly Partial<Measured>[]): Measured[] {
  return days.map((day, index) => ({
    id: id(index),
    snapshotAt: new Date(START + index * 86_400_000),
    engine: 'postgres',
    identity: { system: '7', database: 'app', oid: '1' },
    measures: {},
    ...day,
  }));
}

const rows = (...counts: number[]): Partial<Measured>[] => counts.map((count) => ({ measures: { rows: count } }));
const times = <T>(count: number, one: T): T[] => Array.from({ length: count }, () => one);
/** `12 shrunk rows 120 …`: the day, the kind, the words. */
const said = (anomalies: readonly Anomaly[]): string[] =>
  anomalies.map(({ id: of, kind, message }) => `${Number.parseInt(of.slice(-4), 16)} ${kind} ${message}`);
const found = (days: readonly Partial<Measured>[]): string[] => said(anomaliesOf(history(days)));

describe('what sets a proven backup apart from those before it', () => {
  test('I5: a database that lost most of its rows, with the figures', () => {
    const usual = [48_100, 48_150, 48_180, 48_200, 48_205, 48_217, 48_250, 48_300, 48_400, 48_500];
    assert.deepEqual(found(rows(...usual, 120)), ['10 shrunk rows 120 (median of the last 10: 48,211): under half']);
  });

  test('I5: an emptied database', () => {
    const [one] = anomaliesOf(history(rows(...times(4, 900), 0)));
    assert.equal(one?.message, 'rows 0 (median of the last 4: 900): nothing is left');
    assert.equal(one?.kind, 'emptied');
    assert.equal(one?.endangers, true);
  });

  test('an emptied database is seen with one backup before it', () => {
    assert.deepEqual(found(rows(5, 0)), ['1 emptied rows 0 (median of the last 1: 5): nothing is left']);
  });

  test('one event is told once: the backups that go on like it are not news', () => {
    const gone = found(rows(...times(10, 10_000), ...times(30, 100)));
    assert.equal(gone.length, 1);
    assert.match(gone[0] ?? '', /^10 shrunk/);
    assert.equal(found(rows(...times(10, 10_000), ...times(30, 0))).length, 1);
    assert.equal(found(rows(...times(10, 10_000), ...times(30, 90_000))).length, 1);
  });

  test('what shrinks again is news again', () => {
    const again = found(rows(...times(10, 10_000), 4000, 4000, 1000, 1000));
    assert.deepEqual(
      again.map((one) => one.split(' ').slice(0, 2).join(' ')),
      ['10 shrunk', '12 shrunk'],
    );
  });

  test('small numbers cry no wolf: of 10 rows 4, of 30 files 12', () => {
    assert.deepEqual(found(rows(...times(8, 10), 4)), []);
    assert.deepEqual(found(times(8, { measures: { files: 30 } }).concat({ measures: { files: 12 } })), []);
    assert.deepEqual(found(times(8, { measures: { bytes: 60_000 } }).concat({ measures: { bytes: 1000 } })), []);
    assert.deepEqual(found(rows(...times(8, 20), 90)), []);
  });

  test('just half is no news, a row less is', () => {
    assert.deepEqual(found(rows(...times(8, 1000), 500)), []);
    assert.equal(found(rows(...times(8, 1000), 499)).length, 1);
  });

  test('two backups say nothing about what is usual', () => {
    assert.deepEqual(found(rows(1000, 1000, 300)), []);
    assert.equal(found(rows(1000, 1000, 1000, 300)).length, 1);
  });

  test('growth is told, and endangers nothing', () => {
    const [one] = anomaliesOf(history(rows(1000, 1010, 1020, 1030, 5000)));
    assert.deepEqual(
      { ...one, id: '' },
      {
        id: '',
        kind: 'grown',
        message: 'rows 5,000 (median of the last 4: 1,015): over twice',
        endangers: false,
      },
    );
  });

  test('a source that always swings widely does not grow', () => {
    const swing = [1000, 4000, 1500, 5000, 1200, 6000, 2000, 5500, 900, 4500];
    const grown = found(rows(...swing, 6500)).filter((one) => one.startsWith('10 '));
    assert.deepEqual(grown, []);
    assert.equal(found(rows(...times(10, 2000), 6500)).length, 1, 'where it is steady, it does');
  });

  test('one odd night among the ten changes nothing', () => {
    assert.deepEqual(found(rows(...times(9, 1000), 0, 1000, 1000)).length, 1);
  });

  test('steady growth and slow decline are no news', () => {
    assert.deepEqual(found(rows(...Array.from({ length: 60 }, (_, day) => Math.round(1000 * 1.08 ** day)))), []);
    assert.deepEqual(found(rows(...Array.from({ length: 60 }, (_, day) => Math.round(90_000 * 0.95 ** day)))), []);
  });
});

describe('a table that has gone empty', () => {
  const tables = (parts: Record<string, number>): Partial<Measured> => {
    const listed = Object.entries(parts).map(([name, count]) => ({ name, count }));
    const total = listed.reduce((sum, { count }) => sum + count, 0);
    return { measures: { rows: total, tables: listed.length, ...partMeasures('rows', listed) } };
  };
  const usual = tables({ 'public.events': 90_000, 'public.users': 1200, 'public.flags': 12 });

  test('I5: is found though the total hardly changes', () => {
    const lost = tables({ 'public.events': 90_100, 'public.users': 0, 'public.flags': 12 });
    assert.deepEqual(found([...times(3, usual), lost]), [
      '3 emptied table public.users: no rows, or gone (median of the last 3: 1,200)',
    ]);
  });

  test('I5: is found when it was dropped', () => {
    const dropped = tables({ 'public.events': 90_100, 'public.flags': 12 });
    assert.equal(found([usual, dropped]).length, 1);
  });

  test('I5: one that was truncated by mistake and is filled again by what goes on is found too, once', () => {
    const left = (users: number) => tables({ 'public.events': 90_100, 'public.users': users, 'public.flags': 12 });
    assert.deepEqual(found([...times(3, usual), left(40), left(80), left(120)]), [
      '3 emptied table public.users: 40 rows left (median of the last 3: 1,200)',
    ]);
    assert.deepEqual(found([...times(3, usual), left(60)]), [], 'a twentieth and more is no news');
    assert.deepEqual(found([...times(3, usual), left(30), ...times(9, usual), left(40)]).length, 1, 'a queue is none');
  });

  test('small tables may be emptied', () => {
    assert.deepEqual(found([...times(3, usual), tables({ 'public.events': 90_000, 'public.users': 1200 })]), []);
  });

  test('a queue that is empty now and then is no news', () => {
    const drained = tables({ 'public.events': 90_000, 'public.jobs': 0 });
    const filled = tables({ 'public.events': 90_000, 'public.jobs': 5000 });
    const nights = [filled, drained, filled, filled, drained, filled, drained, drained];
    assert.equal(found(nights).length, 1, 'the first time it cannot be known');
  });

  test('one that is not among the hundred listed is not called gone', () => {
    const many = (count: number, extra: Record<string, number>): Partial<Measured> =>
      tables({
        ...Object.fromEntries(Array.from({ length: count }, (_, n) => [`public.t${n}`, 10_000 + n])),
        ...extra,
      });
    assert.deepEqual(found([...times(4, many(99, { 'public.users': 9999 })), many(120, { 'public.users': 9999 })]), []);
    assert.equal(found([...times(4, many(90, { 'public.users': 9999 })), many(90, {})]).length, 1);
  });

  test('one that cannot be read any more is not called gone', () => {
    const unread = {
      measures: {
        rows: 90_000,
        ...partMeasures('rows', [
          { name: 'events', count: 90_000 },
          { name: 'users', count: null },
        ]),
      },
    };
    const read = tables({ events: 90_000, users: 1200 });
    assert.deepEqual(found([...times(4, read), unread]), []);
  });

  test('backups of a version that listed no tables are not compared table by table', () => {
    assert.deepEqual(found([...rows(90_000, 90_000, 90_000), usual]), []);
    assert.deepEqual(found([usual, usual, usual, ...rows(90_000)]), []);
  });

  test('many tables are named in one message of bounded length', () => {
    const full = tables(Object.fromEntries(Array.from({ length: 60 }, (_, n) => [`t${n}`, 200 + n])));
    const lost = tables({ t0: 200, t1: 201 });
    const [emptied] = anomaliesOf(history([full, lost]));
    assert.match(emptied?.message ?? '', /; and 53 more$/);
  });

  test('a redis database without keys is one', () => {
    const db = (keys: number): Partial<Measured> => ({
      engine: 'redis',
      identity: { address: 'a:6379', replid: 'x' },
      measures: {
        keys: 5000 + keys,
        ...partMeasures('keys', [
          { name: 'db0', count: 5000 },
          { name: 'db3', count: keys },
        ]),
      },
    });
    assert.deepEqual(found([...times(3, db(700)), db(0)]), [
      '3 emptied database db3: no keys (median of the last 3: 700)',
    ]);
  });
});

describe('another source', () => {
  const all = (engine: Measured['engine'], ...identities: Record<string, string>[]): string[] =>
    found(identities.map((identity) => ({ engine, identity })));

  test('I5: another PostgreSQL server or database; an unknown system id says nothing', () => {
    const here = { system: '7', database: 'app', oid: '1' };
    assert.deepEqual(all('postgres', here, here, { ...here, database: 'test' }), [
      '2 identity another source: database test; before: database app',
    ]);
    assert.equal(all('postgres', here, { ...here, system: '8' }).length, 1);
    assert.deepEqual(all('postgres', here, { ...here, system: 'unknown' }), []);
    assert.deepEqual(all('postgres', here, { ...here, oid: '2' }), [], 'restored in place');
  });

  test('I5: a Redis with another history at another address; not after a restart, a move or a failover', () => {
    const here = { address: 'a:6379', replid: 'x' };
    assert.equal(all('redis', here, { address: 'b:6379', replid: 'y' }).length, 1);
    assert.deepEqual(all('redis', here, { address: 'a:6379', replid: 'y' }), []);
    assert.deepEqual(all('redis', here, { address: 'b:6379', replid: 'x' }), []);
    assert.deepEqual(all('redis', here, { address: 'b:6379', replid: 'y', formerReplid: 'x' }), []);
  });

  test('I5: another SQLite file, other paths, another engine', () => {
    assert.equal(all('sqlite', { path: '/a.db', schema: 's' }, { path: '/b.db', schema: 's' }).length, 1);
    assert.deepEqual(all('sqlite', { path: '/a.db', schema: 's' }, { path: '/a.db', schema: 't' }), []);
    assert.equal(all('files', { paths: '/a' }, { paths: '/a, /b' }).length, 1);
    assert.deepEqual(found([{}, {}, { engine: 'sqlite', identity: { path: '/a.db' } }]), [
      '2 identity another engine: sqlite, before postgres',
    ]);
  });

  test('the way back after one odd night is no second anomaly', () => {
    const [here, there] = [{ path: '/a.db' }, { path: '/b.db' }];
    assert.equal(all('sqlite', here, here, here, there, here, here).length, 1);
  });

  test('what is acknowledged is left out', () => {
    const anomalies = anomaliesOf(history(rows(...times(5, 1000), 10)));
    assert.equal(unacknowledged(anomalies, []).length, 1);
    assert.deepEqual(unacknowledged(anomalies, [id(5)]), []);
  });
});

describe('of any history', () => {
  const measured = fc.record(
    {
      rows: fc.nat(2000),
      bytes: fc.nat(10_000_000),
      'rows:t': fc.nat(2000),
      unlisted: fc.constantFrom(0, 3),
    },
    { requiredKeys: [] },
  );
  const any = fc
    .array(measured, { maxLength: 60 })
    .map((days) => history(days.map((measures) => ({ measures: measures as Record<string, number> }))));

  test('only what comes before is compared with: later backups change no judgement', () => {
    fc.assert(
      fc.property(any, fc.nat(60), (all, cut) => {
        const some = all.slice(0, cut);
        const ids = new Set(some.map((one) => one.id));
        assert.deepEqual(
          anomaliesOf(some),
          anomaliesOf(all).filter((one) => ids.has(one.id)),
        );
      }),
    );
  });

  test('a backup equal to all those before it is no anomaly, and each is one of a kind at most once', () => {
    fc.assert(
      fc.property(any, measured, (all, last) => {
        const same = history([...all, ...times(COMPARED_WITH + 1, { measures: last as Record<string, number> })]);
        assert.ok(!anomaliesOf(same).some((one) => one.id === same.at(-1)?.id));
        const kinds = anomaliesOf(all).map((one) => `${one.id} ${one.kind}`);
        assert.equal(new Set(kinds).size, kinds.length);
      }),
    );
  });

  test('I5: nothing that comes to less than half of steady numbers goes by unseen', () => {
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 1e9 }), fc.double({ min: 0, max: 0.49, noNaN: true }), (usual, part) => {
        const steady = Array.from({ length: 12 }, (_, n) => usual + (n % 3));
        const kinds = anomaliesOf(history(rows(...steady, Math.floor(usual * part))));
        assert.equal(kinds.length, 1);
        assert.ok(kinds[0]?.endangers);
      }),
    );
  });

  test('eight times as many backups are judged in about eight times the time, not sixty-four', () => {
    const parts = partMeasures(
      'rows',
      Array.from({ length: 20 }, (_, n) => ({ name: `public.table_${n}`, count: 1000 * (n + 1) })),
    );
    const many = (count: number) =>
      history(
        Array.from({ length: count }, (_, n) => ({
          measures: { rows: n % 997 === 0 ? 10 : 50_000 + (n % 40) * 100, tables: 20, ...parts },
        })),
      );
    assert.ok(anomaliesOf(many(32_000)).length > 30);
    // In quadratic time it would be 64.
    assert.ok(growth(many, (some) => void anomaliesOf(some), 4_000, 32_000) < 24);
  });
});
