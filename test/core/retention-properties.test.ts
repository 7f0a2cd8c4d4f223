import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { anomaliesOf } from '#core/anomaly';
import { objectivesOf } from '#core/objectives';
import type { Tier } from '#core/plan';
import { CLOCK_TOLERANCE_MILLISECONDS, decide } from '#core/retention';
import { removalOrder } from '#core/retention-chains';
import { byTime, countsAsProven, type RetentionInput, type StoredBackup } from '#core/retention-input';
import { expiresAt } from '#core/tiers';
import { asked, DAY, HOUR, idOf, NOW, removedIds, rules, stored, tier } from '#test/core/retention-cases';

/** Over random plans and histories: a property for each clause of I5, and a slow, plain oracle for what may go. */

const RUNS = { numRuns: 400 };
const NAMES = ['hourly', 'daily', 'weekly', 'monthly', 'config'] as const;

const keep = fc.constantFrom<Tier>(
  tier('1d'),
  tier('7d'),
  tier('30d'),
  tier('12mo'),
  tier('forever'),
  tier(2),
  tier(5),
);

/** One backup, before its id and its base are known. */
const draft = fc.record({
  hoursAgo: fc.integer({ min: 0, max: 24 * 120 }),
  tier: fc.constantFrom(...NAMES),
  proof: fc.constantFrom('proven', 'proven', 'proven', 'unproven', 'inconclusive', 'disproven' as const),
  /** What was promised: in hours from then; null = no end. */
  promised: fc.option(fc.integer({ min: 1, max: 24 * 90 }), { freq: 8 }),
  differential: fc.boolean(),
  rows: fc.constantFrom(1000, 1000, 1000, 1000, 1100, 300, 0),
  database: fc.constantFrom('app', 'app', 'app', 'app', 'app', 'app', 'other'),
  held: fc.integer({ min: 0, max: 19 }),
});

const settings = fc.record({
  tiers: fc.constantFrom<readonly string[]>(['daily'], ['hourly', 'daily', 'weekly'], ['daily', 'monthly'], ['config']),
  prove: fc.constantFrom<'always' | 'never' | undefined>('always', undefined, 'never'),
  rpoDays: fc.integer({ min: 1, max: 100 }),
});

function build(
  drafts: readonly (typeof draft extends fc.Arbitrary<infer T> ? T : never)[],
  tiers: Readonly<Record<string, Tier>>,
  chosen: (typeof settings extends fc.Arbitrary<infer T> ? T : never) | null,
  change: Partial<RetentionInput> = {},
): RetentionInput {
  const holds = new Map<string, string>();
  const backups: StoredBackup[] = [];
  let full: string | null = null;
  for (const [index, one] of [...drafts].sort((a, b) => b.hoursAgo - a.hoursAgo).entries()) {
    const at = new Date(NOW.getTime() - one.hoursAgo * HOUR - index);
    const id = idOf(at, index.toString(16).padStart(4, '0'));
    const isFull: boolean = full === null || !one.differential;
    backups.push(
      stored(at, {
        id,
        tier: one.tier,
        proof: one.proof,
        kind: isFull ? 'full' : 'differential',
        base: isFull ? null : full,
        expires: one.promised === null ? null : new Date(at.getTime() + one.promised * HOUR),
        measures: { rows: one.rows, bytes: one.rows * 100 },
        identity: { system: '7000', database: one.database },
      }),
    );
    if (isFull) full = id;
    if (one.held === 0) holds.set(id, 'asked for');
  }
  return asked(backups, {
    tiers,
    holds,
    settings:
      chosen &&
      rules('every 1h', chosen.tiers, {
        ...(chosen.prove ? { prove: chosen.prove } : {}),
        objectives: { rpo: { text: `${chosen.rpoDays}d`, seconds: chosen.rpoDays * 86_400 } },
      }),
    ...change,
  });
}

const input = fc
  .tuple(
    fc.array(draft, { minLength: 8, maxLength: 40 }),
    // A tier may be gone from the plan.
    fc.dictionary(fc.constantFrom(...NAMES), keep, { minKeys: 2 }),
    fc.option(settings, { freq: 6 }),
  )
  .map(([drafts, tiers, chosen]) => build(drafts, tiers, chosen));

function sorted({ backups }: RetentionInput): StoredBackup[] {
  return backups.toSorted(byTime);
}

function provenOf(asks: RetentionInput): StoredBackup[] {
  return sorted(asks).filter((backup) => countsAsProven(backup, asks.settings));
}

function without(asks: RetentionInput, gone: readonly string[]): RetentionInput {
  return { ...asks, backups: asks.backups.filter(({ id }) => !gone.includes(id)) };
}

function holds(name: string, check: (asks: RetentionInput, removed: readonly string[]) => void): void {
  test(name, () => {
    let removedSome = 0;
    fc.assert(
      fc.property(input, (asks) => {
        const removed = removedIds(decide(asks));
        if (removed.length > 0) removedSome++;
        check(asks, removed);
      }),
      RUNS,
    );
    assert.ok(
      removedSome > RUNS.numRuns / 10,
      `only ${removedSome} of ${RUNS.numRuns} histories had anything to remove`,
    );
  });
}

describe('over random plans and histories', () => {
  holds('I5: the newest proven backup of a source is never removed', (asks, removed) => {
    const newest = provenOf(asks).at(-1);
    if (newest) assert.ok(!removed.includes(newest.id));
  });

  holds('I5: nothing that is not proven and newer than the newest proven is removed', (asks, removed) => {
    const newest = provenOf(asks).at(-1);
    for (const backup of asks.backups)
      if (!newest || byTime(backup, newest) >= 0) assert.ok(!removed.includes(backup.id));
  });

  holds('I5: where nothing is proven, nothing is removed; and it never removes everything', (asks, removed) => {
    if (provenOf(asks).length === 0) assert.deepEqual(removed, []);
    if (asks.backups.length > 0) assert.ok(removed.length < asks.backups.length);
  });

  holds(
    'I5: nothing that a kept one needs is removed: a full lives as long as its last kept differential',
    (asks, removed) => {
      for (const { id, base } of asks.backups)
        if (base !== null && !removed.includes(id)) assert.ok(!removed.includes(base));
    },
  );

  holds('I5: the last proven one before an anomaly that nobody acknowledged is kept', (asks, removed) => {
    const proven = provenOf(asks);
    for (const { id, endangers } of anomaliesOf(proven)) {
      const before = proven[proven.findIndex((one) => one.id === id) - 1];
      if (endangers && before) assert.ok(!removed.includes(before.id), `${before.id} before ${id}`);
    }
  });

  holds('I5: … and stays so at each later run, whatever else goes, until somebody acknowledges it', (asks, removed) => {
    const proven = provenOf(asks);
    const guarded = anomaliesOf(proven).flatMap(({ id, endangers }) => {
      const before = proven[proven.findIndex((one) => one.id === id) - 1];
      return endangers && before ? [before.id] : [];
    });
    let rest = without(asks, removed);
    for (let run = 1; run <= 4; run++) {
      rest = { ...rest, now: new Date(NOW.getTime() + run * 40 * DAY), assumeFresh: true };
      const gone = removedIds(decide(rest));
      for (const id of guarded) assert.ok(!gone.includes(id), `${id} goes at run ${run}`);
      rest = without(rest, gone);
    }
  });

  test('I5: an acknowledged anomaly holds nothing back any more', () => {
    fc.assert(
      fc.property(input, (asks) => {
        const acknowledged = anomaliesOf(provenOf(asks)).map(({ id }) => id);
        const before = new Set(removedIds(decide(asks)));
        const { decisions, ...rest } = decide({ ...asks, acknowledged });
        assert.ok(before.isSubsetOf(new Set(removedIds({ decisions, ...rest }))));
        for (const { reasons } of decisions)
          assert.ok(!reasons.some((reason) => reason.includes('nobody acknowledged')));
      }),
      RUNS,
    );
  });

  holds('I5: a source whose newest proven backup is older than its RPO loses nothing', (asks, removed) => {
    const newest = provenOf(asks).at(-1);
    if (!asks.settings || !newest) return;
    const age = (asks.now.getTime() - newest.snapshotAt.getTime()) / 1000;
    if (age > objectivesOf(asks.settings).rpoSeconds) assert.deepEqual(removed, []);
  });

  test('I5: with a backup more than five minutes in the future nothing is removed: a clock is wrong', () => {
    fc.assert(
      fc.property(input, fc.integer({ min: 1, max: 400 * DAY }), (asks, ahead) => {
        const at = new Date(asks.now.getTime() + CLOCK_TOLERANCE_MILLISECONDS + ahead);
        const { stop, ...rest } = decide({ ...asks, backups: [...asks.backups, stored(at)] });
        assert.deepEqual(removedIds({ stop, ...rest }), []);
        assert.equal(stop?.why, 'clock');
      }),
      RUNS,
    );
  });

  test('I5: a clock that jumps ahead makes every source stale, and takes nothing', () => {
    fc.assert(
      fc.property(input, (asks) => {
        const jumped = { ...asks, now: new Date(asks.now.getTime() + 365 * DAY) };
        if (jumped.settings) assert.deepEqual(removedIds(decide(jumped)), []);
      }),
      RUNS,
    );
  });

  holds('I5: what a person or the plan holds is never removed, nor what it needs', (asks, removed) => {
    for (const backup of asks.backups)
      if (asks.holds.has(backup.id)) assert.ok(!removed.includes(backup.id) && !removed.includes(backup.base ?? ''));
    if (asks.settings)
      assert.deepEqual(removedIds(decide({ ...asks, settings: { ...asks.settings, hold: true } })), []);
  });

  holds('I5: before both promises are over, the manifest’s and the plan’s, nothing is removed', (asks, removed) => {
    for (const backup of asks.backups.filter(({ id }) => removed.includes(id))) {
      assert.ok(backup.expires === null || backup.expires <= asks.now);
      const now = asks.tiers[backup.tier];
      const versions = now && 'versions' in now.keep ? now.keep.versions : null;
      if (versions !== null) {
        const newer = provenOf(asks).filter((one) => one.tier === backup.tier && byTime(one, backup) > 0);
        assert.ok(newer.length >= versions, `${newer.length} newer of ${versions}`);
      } else {
        assert.notEqual(backup.expires, null, 'promised without an end');
        const end = now && expiresAt(now, backup.snapshotAt);
        if (now) assert.ok(end && end <= asks.now);
      }
    }
  });

  test('I5: { versions: n } keeps the newest n proven of its tier, and the tier that is forever all', () => {
    fc.assert(
      fc.property(input, fc.integer({ min: 1, max: 9 }), (asks, n) => {
        const removed = removedIds(
          decide({ ...asks, tiers: { ...asks.tiers, config: tier(n), weekly: tier('forever') } }),
        );
        const config = provenOf(asks).filter((one) => one.tier === 'config');
        for (const { id } of config.slice(-n)) assert.ok(!removed.includes(id));
        for (const one of asks.backups) if (one.tier === 'weekly') assert.ok(!removed.includes(one.id));
      }),
      RUNS,
    );
  });

  test('I5: a longer keep counts at once, and lets nothing go that a shorter one kept', () => {
    fc.assert(
      fc.property(input, fc.constantFrom(...NAMES), (asks, name) => {
        // Like each other: what an anomaly is judged by may go when more of it is kept anyway.
        const alike = { ...asks, backups: asks.backups.map((one) => ({ ...one, measures: {}, identity: {} })) };
        const short = { ...alike, tiers: { ...asks.tiers, [name]: tier('7d') } };
        const long = { ...alike, tiers: { ...asks.tiers, [name]: tier('90d') } };
        assert.ok(new Set(removedIds(decide(long))).isSubsetOf(new Set(removedIds(decide(short)))));
      }),
      RUNS,
    );
  });

  test('I5: where a tier has only disproven ones in a period, or none, a proven one of a lower tier stands in for it', () => {
    let stoodIn = 0;
    fc.assert(
      fc.property(
        fc.array(draft, { minLength: 5, maxLength: 40 }),
        fc.constantFrom('90d', 'forever'),
        (drafts, monthly) => {
          const tiers = { hourly: tier('1d'), daily: tier('7d'), monthly: tier(monthly) };
          const chosen = { tiers: ['hourly', 'daily', 'monthly'], prove: undefined, rpoDays: 400 };
          const asks = build(drafts, tiers, chosen);
          const kept = decide(asks).decisions.filter(({ action }) => action !== 'remove');
          const months = Map.groupBy(sorted(asks), ({ snapshotAt }) => snapshotAt.toISOString().slice(0, 7));
          for (const all of months.values()) {
            const own = all.filter((one) => one.tier === 'monthly');
            const lower = all.filter(
              (one) => (one.tier === 'hourly' || one.tier === 'daily') && one.proof === 'proven',
            );
            const within = lower.filter(
              (one) => (expiresAt(tier(monthly), one.snapshotAt) ?? new Date(9e15)) > asks.now,
            );
            if (own.some((one) => one.proof !== 'disproven') || within.length < lower.length || lower.length === 0)
              continue;
            stoodIn++;
            assert.ok(lower.some(({ id }) => kept.some((one) => one.id === id)));
            assert.ok(kept.some(({ reasons }) => reasons.some((reason) => reason.startsWith('stands in for monthly'))));
          }
        },
      ),
      RUNS,
    );
    assert.ok(stoodIn > RUNS.numRuns / 8, `${stoodIn}`);
  });

  test('I5: with `prove: never` the newest stored one that is not disproven takes the part of the newest proven', () => {
    fc.assert(
      fc.property(fc.array(draft, { minLength: 1, maxLength: 30 }), (drafts) => {
        const asks = build(drafts, { daily: tier('1d') }, { tiers: ['daily'], prove: 'never', rpoDays: 400 });
        const newest = sorted(asks).findLast(({ proof }) => proof !== 'disproven');
        const removed = removedIds(decide(asks));
        if (!newest) assert.deepEqual(removed, []);
        else assert.ok(!removed.includes(newest.id));
      }),
      RUNS,
    );
  });

  test('what is kept is kept: asked again of what is left, nothing more goes', () => {
    fc.assert(
      fc.property(input, (drawn) => {
        // What an anomaly is judged by is chosen anew each time; that the judgement stays is tested above.
        const asks = { ...drawn, acknowledged: drawn.backups.map(({ id }) => id) };
        const removed = removedIds(decide(asks));
        assert.deepEqual(removedIds(decide(without(asks, removed))), []);
      }),
      RUNS,
    );
  });

  holds('the order in which it is asked changes nothing, and each backup has its reasons', (asks, removed) => {
    const { decisions } = decide({ ...asks, backups: asks.backups.toReversed() });
    assert.deepEqual(removedIds({ decisions, stop: null, heldBack: 0 }), removed);
    assert.equal(decisions.length, asks.backups.length);
    for (const { reasons } of decisions) assert.ok(reasons.length > 0 && reasons.every((one) => one.length > 5));
  });

  holds('removing goes newest first, and nothing before all that needs it', (asks, removed) => {
    const order = removalOrder(asks.backups.filter(({ id }) => removed.includes(id)));
    assert.deepEqual(order.map(({ id }) => id).toSorted(), removed.toSorted());
    for (const [position, { base }] of order.entries())
      if (base !== null) assert.ok(!order.slice(0, position).some(({ id }) => id === base));
  });

  test('peers 3D: retention does not stop silently: what no clause keeps goes, exactly', () => {
    let removedSome = 0;
    fc.assert(
      fc.property(
        fc.array(draft, { maxLength: 40 }),
        fc.dictionary(fc.constantFrom(...NAMES), keep),
        (drafts, tiers) => {
          // One tier a schedule and nothing unusual in the data: no stand-ins, no anomalies.
          const built = build(drafts, tiers, { tiers: ['daily'], prove: 'always', rpoDays: 400 });
          const asks = { ...built, backups: built.backups.map((one) => ({ ...one, measures: {}, identity: {} })) };
          const expected = plainly(asks);
          if (expected.length > 0) removedSome++;
          assert.deepEqual(removedIds(decide(asks)).toSorted(), expected.toSorted());
        },
      ),
      RUNS,
    );
    assert.ok(removedSome > RUNS.numRuns / 4);
  });
});

/** The rules once more, slowly: a backup at a time, no clause knowing of another. */
function plainly(asks: RetentionInput): string[] {
  const all = sorted(asks);
  const proven = all.filter(({ proof }) => proof === 'proven');
  const newest = proven.at(-1);
  if (!newest) return [];
  const stays = new Set(
    all
      .filter((one) => {
        if (asks.holds.has(one.id) || byTime(one, newest) >= 0) return true;
        if (one.expires !== null && one.expires > asks.now) return true;
        const { keep: says } = asks.tiers[one.tier] ?? {};
        if (!says) return one.expires === null;
        if ('versions' in says)
          return proven.filter((other) => other.tier === one.tier && byTime(other, one) > 0).length < says.versions;
        return one.expires === null || one.snapshotAt.getTime() + says.seconds * 1000 > asks.now.getTime();
      })
      .map(({ id }) => id),
  );
  for (const { id, base } of all) if (base !== null && stays.has(id)) stays.add(base);
  return all.flatMap(({ id }) => (stays.has(id) ? [] : [id]));
}
