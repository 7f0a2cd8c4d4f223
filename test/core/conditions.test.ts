import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Condition } from '#core/alert';
import { emptyHistory, type SourceHistory } from '#core/history';
import { missedRuns } from '#core/missed-runs';
import type { Plan } from '#core/plan';
import { loadPlan } from '#core/plan-load';
import { type SourceFacts, sourceConditions } from '#core/source-conditions';
import { type VaultFacts, vaultConditions } from '#core/vault-conditions';

const NOW = new Date('2026-03-10T12:00:00Z');
const hoursAgo = (hours: number): Date => new Date(NOW.getTime() - hours * 3_600_000);

function planOf(alerts = ''): Plan {
  return loadPlan(
    `version: 1
name: p
encryption: none
vaults: { ssd: { disk: /v }, cloud: { disk: /w } }
tiers: { daily: { keep: 30d } }
sources:
  events: { sqlite: { file: a.db }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [ssd, cloud] }] }
${alerts}
`,
    'holdfast.yaml',
  ).plan;
}

function facts(more: Partial<SourceFacts> = {}): SourceFacts {
  return {
    source: 'events',
    history: emptyHistory(),
    findings: [],
    ageSeconds: 36_000,
    rpoSeconds: 26 * 3600,
    firstDue: hoursAgo(1000),
    graceSeconds: 3600,
    newestProven: { id: '20260310T020000Z-7f3a' },
    unproven: [],
    disproven: [],
    invalid: [],
    anomalies: [],
    stampedAhead: [],
    copies: [],
    missed: [],
    running: null,
    ...more,
  };
}

function history(more: Partial<SourceHistory>): SourceHistory {
  return { ...emptyHistory(), ...more };
}

const of = (more: Partial<SourceFacts>, plan = planOf()): Condition[] => sourceConditions(facts(more), plan, NOW);
const keys = (conditions: readonly Condition[]): string[] => conditions.map(({ key }) => key);

describe('what is wrong with a source', () => {
  test('nothing', () => {
    assert.deepEqual(of({}), []);
  });

  test('runs that failed: since when, how often, why, and where the leftovers lie', () => {
    const id = '20260310T020000Z-7f3a';
    const [failed] = of({
      history: history({
        failing: {
          since: hoursAgo(3).toISOString(),
          at: hoursAgo(1).toISOString(),
          count: 2,
          id,
          code: 'space-lacking',
          message: 'no room',
        },
        leftovers: { [id]: `backups/events/daily/${id}` },
      }),
    });
    assert.equal(failed?.title, 'events: backup failed 2 times: no room');
    assert.match(
      failed?.happened ?? '',
      /2 runs in a row .*\(space-lacking\): no room\nWhat it left lies in backups\//,
    );
    assert.deepEqual([failed?.since, failed?.count], [hoursAgo(3), 2]);
    assert.ok(failed?.next.includes(`holdfast ack events --id ${id} --reason "…"`));
  });

  test('one schedule that fails is not made up for by another that ends well', () => {
    const run = { scheduledAt: hoursAgo(10).toISOString(), at: hoursAgo(9).toISOString() };
    const [failed] = of({
      history: history({
        scheduled: { '0 2 * * *': { ...run, outcome: 'failed', failures: 3 }, 'every 1h': { ...run, outcome: 'ok' } },
      }),
    });
    assert.match(failed?.title ?? '', /runs of 0 2 \* \* \* fail, while others end well/);
    assert.equal(failed?.count, 3);
    const gone = history({ scheduled: { '0 3 * * *': { ...run, outcome: 'failed' } } });
    assert.deepEqual(of({ history: gone }), [], 'a schedule that left the plan');
  });

  test('missed runs wait for one that is under way; one that never ends is told itself', () => {
    const missed = [{ schedule: '0 2 * * *', firstAt: hoursAgo(10), count: 1 }];
    const running = (hours: number) => ({ since: hoursAgo(hours), who: 'process 7 on db1' });
    assert.deepEqual(keys(of({ missed })), ['missed/0 2 * * *']);
    assert.deepEqual(keys(of({ missed, running: running(5) })), []);
    const [stuck] = of({ missed, running: running(7) });
    assert.equal(stuck?.title, 'events: a backup has been under way for 7h');
    const day = { ok: 1, failed: 0, stored: 1, fullSeconds: 3 * 3600 };
    assert.deepEqual(keys(of({ running: running(7), history: history({ days: { '2026-03-09': day } }) })), []);
  });

  test('I10: nothing rings for age before the first due run has had its time', () => {
    const none = {
      ageSeconds: null,
      newestProven: null,
      findings: [{ about: 'age', rings: true, message: 'no backup yet' }] as const,
    };
    assert.deepEqual(keys(of({ ...none, firstDue: hoursAgo(0.5) })), []);
    assert.deepEqual(keys(of({ ...none, firstDue: hoursAgo(1.1) })), ['age']);
    assert.deepEqual(keys(of({ ...none, firstDue: hoursAgo(3), running: { since: hoursAgo(3), who: 'x' } })), []);
  });

  test('I4: age is told since the moment the RPO was passed', () => {
    const [age] = of({
      ageSeconds: 30 * 3600,
      findings: [{ about: 'age', rings: true, message: 'newest proven backup is 1d 6h old, older than its RPO 1d 2h' }],
    });
    assert.deepEqual([age?.key, age?.since], ['age', hoursAgo(4)]);
  });

  test('a pause keeps age and missed runs quiet, and nothing else', () => {
    const paused = { since: hoursAgo(30).toISOString(), until: new Date('2026-03-11').toISOString(), reason: 'a move' };
    const failing = {
      since: hoursAgo(40).toISOString(),
      at: hoursAgo(40).toISOString(),
      count: 1,
      id: null,
      code: 'x',
      message: 'y',
    };
    const found = of({
      history: history({ paused, failing }),
      missed: [{ schedule: '0 2 * * *', firstAt: hoursAgo(10), count: 1 }],
      findings: [{ about: 'age', rings: true, message: 'old' }],
    });
    assert.deepEqual(keys(found), ['failed']);
  });

  test('a proof that failed goes by its route, by its probe’s own severity, and lower where it is only inconclusive', () => {
    const tried = { id: '20260310T020000Z-7f3a', snapshotAt: hoursAgo(10), reason: 'r', severity: null } as const;
    const severities = (proof: 'disproven' | 'inconclusive', severity: 'medium' | null, plan = planOf()) =>
      of({ unproven: [{ ...tried, proof, severity }] }, plan).map((one) => one.severity);
    assert.deepEqual(severities('disproven', null), [undefined]);
    assert.deepEqual(severities('disproven', 'medium'), ['medium']);
    assert.deepEqual(severities('inconclusive', null), ['high']);
    assert.deepEqual(severities('inconclusive', null, planOf('alerts: { routes: { proof: medium } }')), [undefined]);
  });

  test('all that is odd about one backup is one trouble', () => {
    const id = '20260310T020000Z-7f3a';
    const at = { id, snapshotAt: hoursAgo(10), endangers: true } as const;
    const found = of({
      anomalies: [
        { ...at, kind: 'emptied', message: 'table a: no rows' },
        { ...at, kind: 'shrunk', message: 'rows 1: under half' },
      ],
    });
    assert.deepEqual(keys(found), [`anomaly/${id}`]);
    assert.equal(found[0]?.title, 'events: table a: no rows; rows 1: under half');
  });

  test('copies are told when they are later than the plan allows, else than an hour', () => {
    const copy = { from: 'ssd', to: 'cloud', missing: 2, oldest: '20260310T020000Z-7f3a', differences: [] };
    assert.deepEqual(of({ copies: [{ ...copy, lagSeconds: 3000, limitSeconds: null }] }), []);
    assert.deepEqual(keys(of({ copies: [{ ...copy, lagSeconds: 4000, limitSeconds: null }] })), ['copies/ssd/cloud']);
    const [late] = of({ copies: [{ ...copy, lagSeconds: 600, limitSeconds: 300 }] });
    assert.equal(late?.title, 'events: 2 backups are missing in cloud, for 10m');
    assert.deepEqual(
      keys(of({ copies: [{ ...copy, missing: 0, lagSeconds: 0, limitSeconds: null, differences: ['x differs'] }] })),
      ['differ/ssd/cloud'],
    );
  });
});

describe('runs that were missed', () => {
  const source = planOf().sources['events'] as Plan['sources'][string];
  const missed = (histories: SourceHistory[], since = hoursAgo(1000), now = NOW) =>
    missedRuns(source, 'UTC', histories, () => since, now);
  const answered = (scheduledAt: string, outcome: 'ok' | 'failed' = 'ok') =>
    history({ scheduled: { '0 2 * * *': { scheduledAt, at: scheduledAt, outcome } } });

  test('are counted from the last that anything answered, well or not', () => {
    assert.deepEqual(missed([answered('2026-03-10T02:00:00Z')]), []);
    assert.deepEqual(missed([answered('2026-03-10T02:00:00Z', 'failed')]), []);
    assert.deepEqual(missed([answered('2026-03-07T02:00:00Z')]), [
      { schedule: '0 2 * * *', firstAt: new Date('2026-03-08T02:00:00Z'), count: 3 },
    ]);
    assert.equal(missed([answered('2026-03-07T02:00:00Z'), answered('2026-03-10T02:00:00Z')]).length, 0);
  });

  test('have an hour to end', () => {
    const last = answered('2026-03-09T02:00:00Z');
    assert.deepEqual(missed([last], hoursAgo(1000), new Date('2026-03-10T02:59:00Z')), []);
    assert.equal(missed([last], hoursAgo(1000), new Date('2026-03-10T03:01:00Z')).length, 1);
  });

  test('I10: nothing is missed before the schedule was there', () => {
    assert.deepEqual(missed([], new Date('2026-03-10T02:00:00Z')), []);
    assert.equal(missed([], new Date('2026-03-10T01:59:00Z')).length, 1);
  });

  test('one that was made by hand answers for what came before it', () => {
    assert.deepEqual(missed([history({ lastOk: { at: '2026-03-10T02:00:07Z', id: null } })]), []);
  });

  test('a run of another schedule does not', () => {
    const at = '2026-03-10T11:00:00Z';
    const other = history({
      scheduled: { 'every 1h': { scheduledAt: at, at, outcome: 'ok' } },
      lastOk: { at, id: null },
    });
    assert.equal(missed([other]).length, 1);
  });

  test('an answer from the future, of a clock that was ahead, answers nothing', () => {
    assert.equal(missed([answered('2027-03-10T02:00:00Z')]).length, 1);
  });
});

describe('what is wrong with the vaults', () => {
  const vault = (more: Partial<VaultFacts> = {}): VaultFacts => ({
    name: 'ssd',
    url: '/v',
    problem: null,
    clockAheadSeconds: 0,
    capacity: 1000e9,
    free: 500e9,
    newest: { source: 'events', bytes: 10e9 },
    ...more,
  });
  const wrong = (vaults: VaultFacts[], open: string[] = [], above?: number) =>
    vaultConditions(vaults, above, new Set(open), NOW);

  test('I14: one that is away is not an empty one', () => {
    const [away] = wrong([
      vault({ problem: { message: 'not mounted', hint: 'mount it' }, capacity: null, free: null }),
    ]);
    assert.equal(away?.key, 'vault/ssd');
    assert.match(away?.happened ?? '', /not known, which is not the same as nothing/);
    assert.deepEqual(away?.next, ['mount it', 'holdfast check']);
  });

  test('fuller than its line, which is 80% unless the plan says else', () => {
    assert.deepEqual(wrong([vault({ free: 201e9 })]), []);
    const [full] = wrong([vault({ free: 150e9 })]);
    assert.equal(full?.title, 'vault ssd is 85% full, the line is 80%');
    assert.equal(full?.happened, '850 GB of 1000.0 GB are in use, 150 GB are free.'.replace('1000.0 GB', '1.0 TB'));
    assert.deepEqual(wrong([vault({ free: 150e9 })], [], 0.9), []);
  });

  test('an alert that is open does not end on the very line', () => {
    const justBelow = vault({ free: 205e9 });
    assert.deepEqual(wrong([justBelow]), []);
    assert.deepEqual(keys(wrong([justBelow], ['storage/ssd'])), ['storage/ssd']);
    assert.deepEqual(wrong([vault({ free: 230e9 })], ['storage/ssd']), []);
  });

  test('room for fewer than two more backups', () => {
    const [space] = wrong([vault({ capacity: null, free: 19e9 })]);
    assert.equal(space?.title, 'vault ssd has room for fewer than two more backups of events');
    assert.equal(space?.severity, 'high');
    assert.deepEqual(wrong([vault({ capacity: null, free: null })]), [], 'a bucket has no end');
  });

  test('I5: a bucket whose rules end what nobody gave up is critical, whatever its kind’s route', () => {
    assert.deepEqual(wrong([vault({ endingRules: [] }), vault({ endingRules: null })]), []);
    const [ending, ...more] = wrong([
      vault({ name: 'cloud', url: 's3://x/prod', endingRules: ['rule "tidy" (prod/)'] }),
    ]);
    assert.deepEqual([ending?.key, ending?.severity, more], ['ending/cloud', 'critical', []]);
    assert.match(ending?.happened ?? '', /^s3:\/\/x\/prod: rule "tidy" \(prod\/\)\./);
  });

  test('a clock that differs from the vaults’ by more than five minutes, told once for all of them', () => {
    assert.deepEqual(wrong([vault({ clockAheadSeconds: 299 })]), []);
    const [clock, ...more] = wrong([
      vault({ clockAheadSeconds: 86_400 }),
      vault({ name: 'cloud', clockAheadSeconds: 86_390 }),
    ]);
    assert.equal(
      clock?.title,
      "this machine's clock is 1d ahead of that of vault ssd, 23h 59m ahead of that of vault cloud",
    );
    assert.deepEqual(more, []);
    assert.match(wrong([vault({ clockAheadSeconds: -3600 })])[0]?.title ?? '', /1h behind/);
  });
});
