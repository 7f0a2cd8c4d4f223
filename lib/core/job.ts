import * as z from 'zod';
import { PlanInvalid, UsageError } from '#core/errors';
import { sliceOf, sliceToCopy } from '#core/job-slice';
import { backupId, sha256Hex } from '#core/manifest';
import type { LoadedPlan } from '#core/plan-load';

/** What both sides of a deployment must agree on: what starts a job, and what a job is told. */

const time = z.iso.datetime({ offset: true });
const name = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, { error: 'want a source of the plan' });
const words = z.string().min(1).max(500);
/** Tells the attempts at one time apart; two launches with the same one are one. */
const attempt = z.string().regex(/^[A-Za-z0-9-]{1,64}$/, { error: 'want letters, digits and dashes, at most 64' });

/** RunTask takes 8192 characters of overrides, the JSON around the document included. */
const JOB_LIMIT = 6 * 1024;

/**
 * What start-job accepts: from a schedule, from finish-job and watch, or from a person's `aws lambda invoke`.
 * Strict, so that a typing error is an answer and not a backup of everything.
 */
export const startPayload = z.discriminatedUnion(
  'action',
  [
    z.strictObject({
      action: z.literal('backup'),
      source: name,
      /** The schedule's text (`0 2 * * *`) and the time it stands for; absent when a person asks. */
      schedule: z.string().optional(),
      scheduledAt: time.optional(),
      catchUp: z.boolean().optional(),
      attempt: attempt.optional(),
      tier: name.optional(),
      point: words.optional(),
      reason: words.optional(),
    }),
    z.strictObject({
      action: z.literal('prove'),
      source: name,
      id: backupId.optional(),
      scheduledAt: time.optional(),
      attempt: attempt.optional(),
    }),
    z.strictObject({ action: z.literal('retain'), source: name.optional(), dryRun: z.boolean().optional() }),
    z.strictObject({ action: z.literal('replicate'), source: name, attempt: attempt.optional() }),
    z.strictObject({ action: z.literal('pause'), source: name, reason: words, until: time.optional() }),
    z.strictObject({ action: z.literal('resume'), source: name, reason: words.optional() }),
  ],
  { error: 'want action: backup, prove, retain, pause, resume or replicate' },
);
export type StartPayload = z.output<typeof startPayload>;

/** @throws UsageError says what is allowed */
export function readStartPayload(payload: unknown): StartPayload {
  const parsed = startPayload.safeParse(payload);
  if (parsed.success) return parsed.data;
  throw new UsageError(
    `the payload is not one that start-job knows: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`,
    {
      hint: 'send {"action":"backup","source":"NAME"}; actions: backup, prove, retain, pause, resume, replicate',
    },
  );
}

/** What a task can be told to do. */
export const TASK_JOBS = ['backup', 'prove', 'replicate'] as const;
export type TaskJob = (typeof TASK_JOBS)[number];

const jobDocument = z.strictObject({
  holdfast: z.literal(1),
  job: z.enum(TASK_JOBS),
  /** Names the run everywhere: in the task, its event, the logs. */
  run: z.string().regex(/^[a-z0-9-]{1,36}$/),
  source: name,
  attempt,
  /** The part of the plan this source needs, as JSON, secrets unresolved. */
  plan: z.record(z.string(), z.json()),
  /** Of the whole plan it was cut from. */
  planSha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** The backup to prove; null = the newest that is not proven. */
  id: backupId.nullable(),
  tier: z.string().nullable(),
  point: z.string().nullable(),
  reason: z.string().nullable(),
  trigger: z.strictObject({
    by: z.enum(['schedule', 'manual', 'catch-up']),
    schedule: z.string().nullable(),
    scheduledAt: time.nullable(),
  }),
  /** Past it the watcher stops the task. */
  deadline: time,
});
export type JobDocument = z.output<typeof jobDocument>;

/**
 * One source, cut out of the plan with everything it names: a task reads nothing else. Deterministic: two launches for
 * one scheduled time send the same bytes, so that ECS knows the second one for what it is.
 * @throws UsageError no such source, or nothing of it to copy; PlanInvalid the document would be longer than a task can
 *   be told
 */
export function jobFor(
  plan: LoadedPlan,
  request: Omit<JobDocument, 'holdfast' | 'plan' | 'planSha256' | 'run'>,
): JobDocument {
  const document = {
    holdfast: 1 as const,
    ...request,
    run: runId(plan, request),
    plan: request.job === 'replicate' ? sliceToCopy(plan, request.source) : sliceOf(plan, request.source),
    planSha256: plan.sha256,
  };
  const bytes = Buffer.byteLength(JSON.stringify(document));
  if (bytes > JOB_LIMIT)
    throw new PlanInvalid(
      `source ${request.source} needs ${bytes} bytes of the plan in its job document, at most ${JOB_LIMIT} fit`,
      { source: request.source, hint: 'shorten its probes and commands, or split the source in two' },
    );
  return document;
}

/** 32 characters that two launches of the same attempt share. */
function runId(
  plan: LoadedPlan,
  { job, source, id, trigger, point, tier, attempt }: Omit<JobDocument, 'holdfast' | 'plan' | 'planSha256' | 'run'>,
): string {
  const { schedule, scheduledAt } = trigger;
  const asked = [plan.plan.name, job, source, id, schedule, scheduledAt, point, tier, attempt].join('|');
  return sha256Hex(asked).slice(0, 32);
}

/** How manifests, ledgers and leases call the machine of a run's task: by it a run is found in what it wrote. */
export function hostOfRun({ run }: Pick<JobDocument, 'run'>): string {
  return `fargate:${run}`;
}

/** Whether a machine of this name is a task, whose programs are those of its image. */
export function isTask(host: string): boolean {
  return host.startsWith('fargate:');
}

/** For RunTask's `clientToken`: 64 characters, the same for the same document. */
export function clientToken(document: JobDocument): string {
  return sha256Hex(`${document.job}|${document.source}|${document.run}`);
}

/** @throws UsageError it is none, or not by this version */
export function readJob(text: string): JobDocument {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new UsageError('the job document is not JSON', { cause, hint: 'tasks are started by start-job alone' });
  }
  const parsed = jobDocument.safeParse(json);
  if (!parsed.success)
    throw new UsageError(
      `the job document is not one this version knows: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`,
      {
        hint: 'deploy again: function and image are of different versions',
      },
    );
  return parsed.data;
}
