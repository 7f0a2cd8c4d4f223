import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseDuration } from '#core/duration';
import { type KpiFacts, kpisOf } from '#core/kpi';

const NOW = new Date('2026-03-31T12:00:00Z');
const kpi = { success: 0.999, full: parseDuration('30s')!, lag: parseDuration('5m')!, recovery: parseDuration('15m')! };
const day = (ok: number, failed: number, seconds: number) => ({ ok, failed, stored: ok, fullSeconds: ok * seconds });

function said(facts: Partial<KpiFacts>): string[] {
  return kpisOf(kpi, { histories: [], lagSeconds: null, recoverySeconds: null, ...facts }, NOW).map(
    ({ message }) => message,
  );
}

describe('the plan’s kpi', () => {
  test('met, with figures', () => {
    const histories = [{ days: { '2026-03-30': day(24, 0, 10) } }, { days: { '2026-03-29': day(24, 0, 40) } }];
    assert.deepEqual(said({ histories, lagSeconds: 0, recoverySeconds: 61 }), [
      'success met: 48 of 48 runs in 30 days (100%), want 99.9%',
      'full met: a backup takes on average 25s, want 30s',
      'lag met: the oldest missing copy waits for 0.0s, want 5m',
      'recovery met: the slowest restore, as last measured, takes 1m 1s, want 15m',
    ]);
  });

  test('missed: nearly all is not all', () => {
    const histories = [{ days: { '2026-03-30': day(9989, 11, 31) } }];
    assert.deepEqual(said({ histories, lagSeconds: 301, recoverySeconds: 1000 }), [
      'success missed: 9989 of 10000 runs in 30 days (99.89%), want 99.9%',
      'full missed: a backup takes on average 31s, want 30s',
      'lag missed: the oldest missing copy waits for 5m 1s, want 5m',
      'recovery missed: the slowest restore, as last measured, takes 16m 40s, want 15m',
    ]);
  });

  test('what nobody measured is neither met nor missed, and what the plan does not name is not shown', () => {
    assert.match(said({}).join('\n'), /^success unknown: no runs.*\nfull unknown: .*: not measured/);
    assert.deepEqual(kpisOf(undefined, { histories: [], lagSeconds: 0, recoverySeconds: 0 }, NOW), []);
  });

  test('days older than thirty do not count', () => {
    const histories = [{ days: { '2026-03-01': day(0, 5, 0), '2026-03-02': day(1, 0, 1) } }];
    assert.match(said({ histories })[0] ?? '', /1 of 1 runs/);
  });
});
