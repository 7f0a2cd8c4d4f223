import { PlanInvalid } from '#core/errors';
import type { Plan } from '#core/plan';

/** What Fargate is asked for. */
export interface WorkerSize {
  /** 1024 = one vCPU. */
  readonly cpu: number;
  readonly memoryMiB: number;
  readonly scratchGiB: number;
}

const GIB = 2 ** 30;
const MIB = 2 ** 20;
/** Small, as bytes stream; the scratch holds a whole restored copy. */
const DEFAULT: WorkerSize = { cpu: 1024, memoryMiB: 2048, scratchGiB: 50 };
/** Of a task that copies: bytes stream through it, and nothing is written to its disk. */
export const COPIER: Omit<WorkerSize, 'scratchGiB'> = { cpu: 1024, memoryMiB: 2048 };
const SCRATCH = { least: 21, most: 200 } as const;

/** Memory in GiB that Fargate gives to each number of vCPUs: from, to, in steps of. Half a GiB beside 0.25 is left out. */
const MEMORY: Readonly<Record<string, readonly [number, number, number]>> = {
  0.25: [1, 2, 1],
  0.5: [1, 4, 1],
  1: [2, 8, 1],
  2: [4, 16, 1],
  4: [8, 30, 1],
  8: [16, 60, 4],
  16: [32, 120, 8],
};

/** @throws PlanInvalid a combination that Fargate does not have; says what it has */
export function workerSize(plan: Plan, source: string): WorkerSize {
  const workers = plan.cloud?.workers ?? {};
  const name = Object.hasOwn(workers, source) ? source : 'default';
  const asked = workers[name];
  if (!asked) return DEFAULT;
  const vcpus = asked.cpu ?? DEFAULT.cpu / 1024;
  const [from, to, step] = MEMORY[vcpus] as readonly [number, number, number];
  const memory = asked.memory === undefined ? from : Math.ceil(asked.memory / GIB);
  const scratch = asked.scratch === undefined ? DEFAULT.scratchGiB : Math.ceil(asked.scratch / GIB);
  const refuse = (key: string, got: string, want: string): PlanInvalid =>
    new PlanInvalid(`cloud.workers.${name}.${key}: got ${got}, want ${want}`, { source });
  if (memory < from || memory > to || (memory - from) % step !== 0)
    throw refuse('memory', `${memory}GiB`, `${from}GiB to ${to}GiB in steps of ${step} with cpu: ${vcpus}`);
  if (scratch < SCRATCH.least || scratch > SCRATCH.most)
    throw refuse('scratch', `${scratch}GiB`, `${SCRATCH.least}GiB to ${SCRATCH.most}GiB`);
  return { cpu: vcpus * 1024, memoryMiB: (memory * GIB) / MIB, scratchGiB: scratch };
}
