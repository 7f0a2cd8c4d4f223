import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseDuration } from '#core/duration';
import type { Tier } from '#core/plan';
import type { ProofState } from '#core/proof';
import { dueTier, expiresAt, type TierEntry } from '#core/tiers';

const tier = (keep: string, every?: string): Tier => ({
  keep: parseDuration(keep)!,
  ...(every ? { every: parseDuration(every)! } : {}),
});
const tiers: Record<string, Tier> = {
  hourly: tier('7d'),
  daily: tier('30d'),
  weekly: tier('90d'),
  monthly: tier('12mo'),
  yearly: tier('forever'),
  config: { keep: { versions: 10 }, every: parseDuration('1h')! },
  quarterly: tier('2y', '90d'),
  loose: tier('5d'),
};
const GRANDFATHER = ['daily', 'weekly', 'monthly', 'yearly'];

/** Runs at these moments, one after the other, each seeing those before it. */
function runs(names: readonly string[], zone: string, moments: readonly string[]): string[] {
  const existing: TierEntry[] = [];
  for (const moment of moments) {
    const at = new Date(moment);
    existing.push({ tier: dueTier(names, tiers, zone, at, existing).tier, at, proof: 'proven' });
  }
  return existing.map((entry) => entry.tier);
}

function nightly(from: string, nights: number): string[] {
  return Array.from({ length: nights }, (_, night) => new Date(Date.parse(from) + night * 86_400_000).toISOString());
}

describe('the tier a run belongs to', () => {
  test('the first days of a plan, as a table: the highest tiers come first', () => {
    // Saturday 21 November 2026. Monday the 23rd begins a week, Tuesday 1 December a month.
    assert.deepEqual(runs(GRANDFATHER, 'UTC', nightly('2026-11-21T02:00:00Z', 14)), [
      'yearly', // Sat 21
      'monthly', // Sun 22
      'weekly', // Mon 23
      'daily', // Tue 24
      'daily', // Wed 25
      'daily', // Thu 26
      'daily', // Fri 27
      'daily', // Sat 28
      'daily', // Sun 29
      'weekly', // Mon 30
      'monthly', // Tue 1 December
      'daily', // Wed 2
      'daily', // Thu 3
      'daily', // Fri 4
    ]);
  });

  test('new year: one yearly; the ISO week that spans it has one weekly', () => {
    const before = nightly('2026-11-21T02:00:00Z', 38);
    const around = nightly('2026-12-29T02:00:00Z', 8);
    const found = runs(GRANDFATHER, 'UTC', [...before, ...around]).slice(before.length);
    assert.deepEqual(found, [
      'daily', // Tue 29 December, its week has the weekly of Monday 28
      'daily', // Wed 30
      'daily', // Thu 31
      'yearly', // Fri 1 January 2027, still the same ISO week
      'monthly', // Sat 2: January has none yet
      'daily', // Sun 3
      'weekly', // Mon 4
      'daily', // Tue 5
    ]);
  });

  test('periods are those of the plan’s zone, not of UTC', () => {
    const late = ['2026-11-24T22:30:00Z', '2026-11-24T23:30:00Z'];
    const names = ['hourly', 'daily'];
    assert.deepEqual(runs(names, 'UTC', late), ['daily', 'hourly']);
    assert.deepEqual(runs(names, 'Europe/Stockholm', late), ['daily', 'daily']);
  });

  test('both of the hours that a clock change repeats are hours', () => {
    const found = runs(['loose', 'hourly'], 'Europe/Stockholm', [
      '2027-10-31T00:10:00Z',
      '2027-10-31T00:40:00Z',
      '2027-10-31T01:10:00Z',
    ]);
    // `loose` has no period, so it is what a run falls back to.
    assert.deepEqual(found, ['hourly', 'loose', 'hourly']);
  });

  test('a disproven backup does not count: the next run makes up for it; an unproven or inconclusive one does', () => {
    const at = new Date('2026-11-24T02:00:00Z');
    const table: [ProofState, string][] = [
      ['disproven', 'daily'],
      ['unproven', 'hourly'],
      ['inconclusive', 'hourly'],
      ['proven', 'hourly'],
    ];
    for (const [proof, expected] of table) {
      const existing = [{ tier: 'daily', at: new Date('2026-11-24T01:00:00Z'), proof }];
      assert.equal(dueTier(['hourly', 'daily'], tiers, 'UTC', at, existing).tier, expected, proof);
    }
  });

  test('when no tier is due, a run belongs to the lowest and may end as unchanged', () => {
    const at = new Date('2026-11-24T02:30:00Z');
    const existing: TierEntry[] = ['hourly', 'daily'].map((name) => ({ tier: name, at, proof: 'proven' }));
    assert.deepEqual(dueTier(['hourly', 'daily'], tiers, 'UTC', at, existing), {
      tier: 'hourly',
      due: false,
      mustStore: false,
    });
  });

  test('a tier that is due is stored although nothing changed, unless it counts versions or has no period', () => {
    const at = new Date('2026-11-24T02:30:00Z');
    assert.deepEqual(dueTier(['daily'], tiers, 'UTC', at, []), { tier: 'daily', due: true, mustStore: true });
    assert.deepEqual(dueTier(['config'], tiers, 'UTC', at, []), { tier: 'config', due: true, mustStore: false });
    assert.deepEqual(dueTier(['loose'], tiers, 'UTC', at, []), { tier: 'loose', due: true, mustStore: false });
  });

  test('own tiers take their period from every:', () => {
    const days = nightly('2026-11-21T02:00:00Z', 200);
    const found = runs(['daily', 'quarterly'], 'UTC', days);
    const quarterlies = found.flatMap((name, day) => (name === 'quarterly' ? [day] : []));
    assert.equal(quarterlies[0], 0);
    for (const [index, day] of quarterlies.slice(2).entries()) {
      assert.equal(day - (quarterlies[index + 1] as number), 90);
    }
  });

  test('it is always one of those named, and each tier has at most one sound backup a period while runs go on', () => {
    const names = fc.subarray(['hourly', 'daily', 'weekly', 'monthly', 'yearly'], { minLength: 1 });
    const zone = fc.constantFrom('UTC', 'Europe/Stockholm', 'America/New_York', 'Australia/Lord_Howe');
    const steps = fc.array(fc.integer({ min: 600, max: 20 * 86_400 }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(names, zone, steps, (list, where, gaps) => {
        const existing: TierEntry[] = [];
        let second = Date.parse('2026-11-21T00:00:00Z') / 1000;
        for (const gap of gaps) {
          second += gap;
          const at = new Date(second * 1000);
          const { tier: chosen, due } = dueTier(list, tiers, where, at, existing);
          assert.ok(list.includes(chosen));
          if (!due) assert.equal(chosen, list[0]);
          existing.push({ tier: chosen, at, proof: 'proven' });
          // What was just stored is not due again at the same moment.
          const again = dueTier(list, tiers, where, at, existing);
          assert.ok(!again.due || list.indexOf(again.tier) < list.indexOf(chosen));
        }
      }),
      { numRuns: 150 },
    );
  });
});

test('a backup expires when its tier’s time is over; never for ever, and not by time where versions count', () => {
  const at = new Date('2026-11-21T02:00:00Z');
  assert.equal(expiresAt(tier('7d'), at)?.toISOString(), '2026-11-28T02:00:00.000Z');
  assert.equal(expiresAt(tier('forever'), at), null);
  assert.equal(expiresAt({ keep: { versions: 10 } }, at), null);
});
