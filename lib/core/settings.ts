import * as z from 'zod';
import { UsageError } from '#core/errors';
import type { TaskJob } from '#core/job';

/** The environment of each host of a deployment: its names, for the stack that writes them and the code that reads them. */

const list = z
  .string()
  .transform((text) => text.split(',').filter((part) => part !== ''))
  .pipe(z.array(z.string()));

const common = {
  /** The plan's name: families, secrets and log groups are called after it. */
  HOLDFAST_PLAN_NAME: z.string().min(1),
};
const launching = {
  HOLDFAST_CLUSTER: z.string().min(1),
  HOLDFAST_SUBNETS: list,
  HOLDFAST_SECURITY_GROUPS: list,
  HOLDFAST_PUBLIC_IP: z.enum(['ENABLED', 'DISABLED']),
};
const telling = {
  HOLDFAST_TOPIC_CRITICAL: z.string().min(1),
  HOLDFAST_TOPIC_HIGH: z.string().min(1),
  HOLDFAST_TOPIC_MEDIUM: z.string().min(1),
};

export const SETTINGS = {
  'start-job': z.object({ ...common, ...launching }),
  'finish-job': z.object({ ...common, ...telling, HOLDFAST_START_JOB: z.string().min(1) }),
  watch: z.object({
    ...common,
    ...telling,
    HOLDFAST_START_JOB: z.string().min(1),
    HOLDFAST_CLUSTER: z.string().min(1),
  }),
  retain: z.object({ ...common }),
  replicate: z.object({ ...common, HOLDFAST_START_JOB: z.string().min(1) }),
  'send-alert': z.object({ ...common }),
  worker: z.object({ HOLDFAST_JOB: z.string().min(2), HOLDFAST_SCRATCH: z.string().default('/scratch') }),
} as const;

export type HostName = keyof typeof SETTINGS;
export type SettingsOf<H extends HostName> = z.output<(typeof SETTINGS)[H]>;

/** @throws UsageError names what is missing: a stack and a bundle of different versions */
export function readSettings<H extends HostName>(
  host: H,
  environment: Readonly<Record<string, string | undefined>>,
): SettingsOf<H> {
  const parsed = SETTINGS[host].safeParse(environment);
  if (parsed.success) return parsed.data as SettingsOf<H>;
  const wrong = parsed.error.issues.map((issue) => issue.path.join('.')).join(', ');
  throw new UsageError(`${host}: the environment lacks or misspells ${wrong}`, {
    hint: 'deploy the stack again: it and the code are of different versions',
  });
}

/** The task definition of a source and a role: RunTask takes its newest revision. */
export function taskFamily(plan: string, source: string, job: TaskJob): string {
  return `${plan}-${source}-${job}`;
}

/** A host that is a Lambda function, as `aws lambda invoke --function-name` wants it. */
export function functionName(plan: string, host: Exclude<HostName, 'worker'>): string {
  return `${plan}-${host}`;
}

/** The read-only role that a person takes on to restore. */
export function restorerName(plan: string): string {
  return `${plan}-restorer`;
}

/** Of EventBridge Scheduler: all schedules of a plan are in it. */
export function scheduleGroupName(plan: string): string {
  return `holdfast-${plan}`;
}

/** Where the tasks' logs are; the stream of a task is `<source>-<job>/worker/<task id>`. */
export function workerLogGroup(plan: string): string {
  return `/holdfast/${plan}/worker`;
}

/** Where the value of `${NAME}` is kept. */
export function secretName(plan: string, variable: string): string {
  return `holdfast/${plan}/${variable}`;
}

export const CONTAINER = 'worker';
/** How a task is told its job document. */
export const JOB_VARIABLE = 'HOLDFAST_JOB';
/** Beside each function's bundle: `{ text, value }` of the plan (`LoadedPlan`), read and checked at synthesis. */
export const BUNDLED_PLAN = 'plan.json';
