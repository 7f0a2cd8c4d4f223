import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import { isZone, offsetAt, wallSeconds } from '#core/zone';

test('I8: UTC is told as Intl tells it, and without Intl, whose data would take 8 MiB of a run', () => {
  const instants = [-86_401, 0, 951_782_399, 1_774_749_599, 1_774_749_600, 4_102_444_800];
  // A plan in UTC under another name goes by Intl.
  const byIntl = instants.map((instant) => wallSeconds(instant, 'Etc/UTC'));
  const { DateTimeFormat } = Intl;
  Intl.DateTimeFormat = class {
    constructor() {
      throw new Error('Intl was asked');
    }
  } as unknown as typeof DateTimeFormat;
  try {
    assert.equal(isZone('UTC'), true);
    assert.deepEqual(
      instants.map((instant) => wallSeconds(instant, 'UTC')),
      byIntl,
    );
    assert.equal(offsetAt(0, 'UTC'), 0);
    assert.throws(() => wallSeconds(0, 'Europe/Stockholm'), /Intl was asked/);
  } finally {
    Intl.DateTimeFormat = DateTimeFormat;
  }
});
