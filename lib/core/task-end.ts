import * as z from 'zod';
import { JOB_VARIABLE } from '#core/settings';

/** The part of an "ECS Task State Change" event that tells how a task ended. AWS adds fields over time. */
export const taskDetail = z.looseObject({
  taskArn: z.string(),
  clusterArn: z.string(),
  lastStatus: z.string(),
  stopCode: z.string().optional(),
  stoppedReason: z.string().optional(),
  /** Counts the changes of one task: events may come late, twice and out of order. */
  version: z.number().optional(),
  createdAt: z.string().optional(),
  startedAt: z.string().optional(),
  stoppedAt: z.string().optional(),
  startedBy: z.string().optional(),
  group: z.string().optional(),
  containers: z
    .array(z.looseObject({ name: z.string(), exitCode: z.number().optional(), reason: z.string().optional() }))
    .default([]),
  overrides: z
    .looseObject({
      containerOverrides: z
        .array(
          z.looseObject({
            name: z.string().optional(),
            environment: z.array(z.looseObject({ name: z.string(), value: z.string() })).optional(),
          }),
        )
        .optional(),
    })
    .optional(),
});
export type TaskDetail = z.output<typeof taskDetail>;

export const taskStateChange = z.looseObject({
  source: z.literal('aws.ecs'),
  'detail-type': z.literal('ECS Task State Change'),
  time: z.string(),
  detail: taskDetail,
});

/** The job document that a task was started with; null when it is none of ours. */
export function jobTextOf({ overrides }: Pick<TaskDetail, 'overrides'>): string | null {
  const variables = (overrides?.containerOverrides ?? []).flatMap(({ environment }) => environment ?? []);
  return variables.find(({ name }) => name === JOB_VARIABLE)?.value ?? null;
}

export interface TaskEnd {
  readonly ok: boolean;
  /** In words: `the task was killed for its memory (exit 137)`; null when it ended well. */
  readonly reason: string | null;
  /** Whether the same run may succeed without anything being changed. */
  readonly retryable: boolean;
  /** What the person who reads it does first. */
  readonly hint: string | null;
}

/** 128 + SIGKILL, and 128 + SIGTERM. */
const KILLED = 137;
const TERMINATED = 143;

/** AWS's `stopCode`s; `EssentialContainerExited` is the ordinary end, and is told by exit codes. */
const STOPPED: Readonly<Record<string, { reason: string; retryable: boolean; hint: string | null }>> = {
  TaskFailedToStart: {
    reason: 'the task never started',
    retryable: true,
    hint: 'look at its image, its secrets (each needs a value: aws secretsmanager put-secret-value) and its subnets’ way out',
  },
  UserInitiated: {
    reason: 'the task was stopped by somebody, or by the watcher past its deadline',
    retryable: true,
    hint: null,
  },
  SpotInterruption: { reason: 'AWS took the task’s capacity away', retryable: true, hint: null },
  TerminationNotice: { reason: 'AWS took the task’s host away', retryable: true, hint: null },
  InfrastructureHealth: { reason: 'the task’s host failed', retryable: true, hint: null },
  ServiceSchedulerInitiated: { reason: 'ECS stopped the task', retryable: true, hint: null },
};

/** The worker's own exit codes (DESIGN section 8) that a second try cannot change. */
const FINAL_EXITS = new Set([2, 5, 6]);

/**
 * How a task ended. A container that never started has no exit code, so that "exit code other than 0" is not the
 * question. Whether there is a backup is not asked here: its manifest alone says that (I1).
 */
export function endOf(detail: TaskDetail): TaskEnd {
  const why = detail.stoppedReason ? `: ${detail.stoppedReason}` : '';
  const exits = detail.containers.map(({ exitCode }) => exitCode);
  if (detail.stopCode === 'EssentialContainerExited' || detail.stopCode === undefined) {
    const failed = detail.containers.find(({ exitCode }) => exitCode !== 0);
    if (exits.length > 0 && !failed) return { ok: true, reason: null, retryable: false, hint: null };
    return { ok: false, ...exitOf(failed?.exitCode, failed?.reason, why) };
  }
  const known = STOPPED[detail.stopCode] ?? {
    reason: `the task was stopped (${detail.stopCode})`,
    retryable: true,
    hint: null,
  };
  return { ok: false, ...known, reason: `${known.reason}${why}` };
}

function exitOf(exit: number | undefined, reason: string | undefined, why: string): Omit<TaskEnd, 'ok'> {
  if (exit === undefined)
    return { reason: `the task ended without an exit code${why}`, retryable: true, hint: 'look at the task’s log' };
  if (exit === KILLED)
    return {
      reason: `the task was killed, most likely for its memory (exit ${KILLED}${reason ? `, ${reason}` : ''})`,
      retryable: true,
      hint: 'give the source a larger worker in the plan’s cloud: section',
    };
  if (exit === TERMINATED)
    return { reason: `the task was told to stop (exit ${TERMINATED})${why}`, retryable: true, hint: null };
  return {
    reason: `the worker failed (exit ${exit}); its log says why`,
    retryable: !FINAL_EXITS.has(exit),
    hint: null,
  };
}
