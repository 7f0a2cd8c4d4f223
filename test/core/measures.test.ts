import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { partMeasures, partName } from '#core/measures';

const parts = (count: number, name = (n: number): string => `t${n}`) =>
  Array.from({ length: count }, (_, n) => ({ name: name(n), count: n }));

describe('sizes of tables in a manifest', () => {
  test('the hundred largest that are not empty; how many are not listed is said', () => {
    const measures = partMeasures('rows', parts(151));
    assert.equal(Object.keys(measures).length, 101);
    assert.deepEqual([measures['rows:t150'], measures['rows:t51'], measures['rows:t50']], [150, 51, undefined]);
    assert.equal(measures['unlisted'], 50);
  });

  test('empty ones are not listed, and not counted: what is not there and not unlisted is empty', () => {
    assert.deepEqual(partMeasures('keys', parts(2)), { 'keys:t1': 1, unlisted: 0 });
  });

  test('one that could not be read may be anything', () => {
    assert.deepEqual(partMeasures('rows', [{ name: 'a', count: null }]), { unlisted: 1 });
  });

  test('names of the worst sort do not fill the manifest', () => {
    const wild = partMeasures(
      'rows',
      parts(101, (n) => `${'\u0001'.repeat(180)}${n}`),
    );
    assert.ok(JSON.stringify(wild).length < 20_000);
    assert.equal(Object.keys(wild).length - 1 + (wild['unlisted'] ?? 0), 100);
  });

  test('names of parts are found again, totals have none', () => {
    assert.equal(partName('rows:public.events'), 'public.events');
    assert.equal(partName('rows'), null);
  });
});
