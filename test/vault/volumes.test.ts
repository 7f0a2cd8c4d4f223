import { strict as assert } from 'node:assert';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { PART_BYTES, PARTS_PER_VOLUME, partsOf, VOLUME_BYTES, volumeName } from '#vault/volumes';

const TIB = 2 ** 40;

describe('the cut of an artifact into volumes and parts', () => {
  test('peers 3G (pgBackRest #2679, pghoard #372): five tebibytes need no volume over 10,000 parts and no part over 16 MiB', () => {
    for (const bytes of [48.8 * 2 ** 30, TIB, 5 * TIB, 48.8 * TIB].map(Math.round)) {
      const parts = partsOf(bytes);
      assert.ok(parts.every((count) => count <= 10_000));
      assert.ok(PART_BYTES <= 16 * 2 ** 20);
      assert.equal(parts.length, Math.ceil(bytes / VOLUME_BYTES));
    }
    assert.equal(VOLUME_BYTES, 156.25 * 2 ** 30);
    assert.equal(partsOf(5 * TIB).length, 33);
  });

  test('every size is cut so that the parts hold it, and none of them is empty', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.integer({ min: 1, max: 2 ** 24 }), (size, small) => {
        for (const bytes of [
          size % (60 * TIB),
          small,
          small * PART_BYTES,
          VOLUME_BYTES * (small % 100),
          VOLUME_BYTES + small,
        ]) {
          const parts = partsOf(bytes);
          const all = parts.reduce((sum, count) => sum + count, 0);
          assert.ok(all * PART_BYTES >= bytes);
          assert.ok(bytes === 0 || (all - 1) * PART_BYTES < bytes);
          assert.ok(parts.every((count) => count >= 1 && count <= PARTS_PER_VOLUME));
          assert.ok(parts.slice(0, -1).every((count) => count === PARTS_PER_VOLUME));
        }
      }),
    );
  });

  test('names of volumes are in the order of the shell', () => {
    const names = Array.from({ length: 999 }, (_, index) => volumeName('x.dump.zst.age', index + 1));
    assert.deepEqual(names.slice(0, 3), ['x.dump.zst.age', 'x.dump.zst.age.002', 'x.dump.zst.age.003']);
    assert.deepEqual([...names].sort(), names);
  });
});
