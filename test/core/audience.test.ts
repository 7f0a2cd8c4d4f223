import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SEVERITIES, type Severity } from '#core/alert';
import { audienceOf } from '#core/audience';
import { planWith } from '#test/notify/tellings';

function lists(alerts: string): (Severity | null)[] {
  return SEVERITIES.map((severity) => audienceOf(planWith(alerts).alerts, severity).list);
}

describe('who hears of a severity', () => {
  test('each has the plan’s own list', () => {
    const plan = planWith('{ critical: [{ email: a@x.se }], high: [{ email: b@x.se }], medium: [{ email: c@x.se }] }');
    assert.deepEqual(
      SEVERITIES.map((severity) => audienceOf(plan.alerts, severity)),
      [
        { list: 'medium', channels: [{ email: 'c@x.se' }] },
        { list: 'high', channels: [{ email: 'b@x.se' }] },
        { list: 'critical', channels: [{ email: 'a@x.se' }] },
      ],
    );
  });

  test('one without a list goes to the next higher one, and else to the next lower: never to nobody', () => {
    assert.deepEqual(lists('{ critical: [{ email: a@x.se }] }'), ['critical', 'critical', 'critical']);
    assert.deepEqual(lists('{ critical: [{ email: a@x.se }], medium: [{ email: c@x.se }] }'), [
      'medium',
      'critical',
      'critical',
    ]);
    assert.deepEqual(lists('{ medium: [{ email: c@x.se }], high: [] }'), ['medium', 'medium', 'medium']);
    assert.deepEqual(lists('{ high: [{ email: c@x.se }] }'), ['high', 'high', 'high']);
  });

  test('a plan without channels has nobody to tell', () => {
    assert.deepEqual(lists('{ critical: [] }'), [null, null, null]);
    assert.deepEqual(audienceOf(undefined, 'critical'), { list: null, channels: [] });
  });
});
