import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { matchesPattern } from '#test/cloud/event-pattern';

const EVENT = { source: 'aws.ecs', detail: { lastStatus: 'STOPPED', code: 137, group: null, kinds: ['a', 'b'] } };

describe('what EventBridge lets through', () => {
  const rows: readonly (readonly [string, object, boolean])[] = [
    ['a value of the list', { source: ['aws.s3', 'aws.ecs'] }, true],
    ['another value', { source: ['aws.s3'] }, false],
    ['values at every depth', { source: ['aws.ecs'], detail: { lastStatus: ['STOPPED'] } }, true],
    ['one of two that differs', { source: ['aws.ecs'], detail: { lastStatus: ['RUNNING'] } }, false],
    ['a field that is not there', { detail: { stopCode: ['UserInitiated'] } }, false],
    ['a field below one that is not there', { more: { inside: ['x'] } }, false],
    ['a number is not its text', { detail: { code: ['137'] } }, false],
    ['a number', { detail: { code: [137] } }, true],
    ['null', { detail: { group: [null] } }, true],
    ['null where nothing is', { detail: { nothing: [null] } }, false],
    ['one of a list in the event', { detail: { kinds: ['b'] } }, true],
    ['a prefix', { source: [{ prefix: 'aws.' }] }, true],
    ['a suffix', { source: [{ suffix: '.s3' }] }, false],
    ['anything but', { detail: { lastStatus: [{ 'anything-but': ['STOPPED'] }] } }, false],
    ['exists', { detail: { lastStatus: [{ exists: true }] } }, true],
    ['exists not', { detail: { nothing: [{ exists: false }] } }, true],
  ];
  for (const [title, pattern, wanted] of rows)
    test(title, () => {
      assert.equal(matchesPattern(pattern, EVENT), wanted);
    });

  test('what it has never been told of is an error', () => {
    assert.throws(() => matchesPattern({ detail: { code: [{ numeric: ['>', 1] }] } }, EVENT), /not known here/);
    assert.throws(() => matchesPattern({ $or: [{ source: ['aws.ecs'] }] }, EVENT), /not known here/);
    assert.throws(() => matchesPattern({ source: 'aws.ecs' }, EVENT), /wants a list/);
  });
});
