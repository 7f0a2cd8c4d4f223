import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { endOf, type TaskDetail, taskStateChange } from '#core/task-end';

const detail = (over: Partial<TaskDetail>): TaskDetail => ({
  taskArn: 'arn:aws:ecs:eu-north-1:111122223333:task/shop/0123',
  clusterArn: 'arn:aws:ecs:eu-north-1:111122223333:cluster/shop',
  lastStatus: 'STOPPED',
  stopCode: 'EssentialContainerExited',
  containers: [{ name: 'worker', exitCode: 0 }],
  ...over,
});

describe('how a task ended', () => {
  test('well: the ordinary end with exit 0', () => {
    assert.deepEqual(endOf(detail({})), { ok: true, reason: null, retryable: false, hint: null });
  });

  const table: readonly (readonly [string, Partial<TaskDetail>, RegExp, boolean])[] = [
    [
      'killed for its memory',
      { containers: [{ name: 'worker', exitCode: 137, reason: 'OutOfMemoryError' }] },
      /memory \(exit 137, OutOfMemoryError\)/,
      true,
    ],
    ['told to stop', { containers: [{ name: 'worker', exitCode: 143 }] }, /told to stop/, true],
    ['the worker failed', { containers: [{ name: 'worker', exitCode: 1 }] }, /the worker failed \(exit 1\)/, true],
    ['a wrong plan is not tried again', { containers: [{ name: 'worker', exitCode: 2 }] }, /exit 2/, false],
    ['a disproof is not tried again', { containers: [{ name: 'worker', exitCode: 5 }] }, /exit 5/, false],
    [
      'no exit code at all',
      { containers: [{ name: 'worker' }], stoppedReason: 'CannotPullContainerError' },
      /without an exit code: CannotPull/,
      true,
    ],
    ['no container at all', { containers: [] }, /without an exit code/, true],
    [
      'never started: a secret without a value',
      {
        stopCode: 'TaskFailedToStart',
        stoppedReason: 'ResourceInitializationError: unable to pull secrets',
        containers: [{ name: 'worker' }],
      },
      /never started: ResourceInit/,
      true,
    ],
    ['the host went away', { stopCode: 'InfrastructureHealth', containers: [{ name: 'worker' }] }, /host failed/, true],
    ['a code AWS adds later', { stopCode: 'SomethingNew', containers: [{ name: 'worker' }] }, /SomethingNew/, true],
    ['stopped by somebody, although the container said 0', { stopCode: 'UserInitiated' }, /stopped by somebody/, true],
  ];
  for (const [title, over, reason, retryable] of table)
    test(title, () => {
      const end = endOf(detail(over));
      assert.equal(end.ok, false);
      assert.match(end.reason ?? '', reason);
      assert.equal(end.retryable, retryable);
    });

  test('an event with fields nobody knows yet is read', () => {
    const event = {
      source: 'aws.ecs',
      'detail-type': 'ECS Task State Change',
      time: '2026-11-21T02:10:00Z',
      detail: { ...detail({}), newField: 1 },
      id: 'x',
    };
    assert.equal(taskStateChange.parse(event).detail.lastStatus, 'STOPPED');
  });
});
