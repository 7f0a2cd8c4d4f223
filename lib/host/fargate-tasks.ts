import {
  DescribeTasksCommand,
  type DesiredStatus,
  ECSClient,
  ListTasksCommand,
  StopTaskCommand,
  type Task,
} from '@aws-sdk/client-ecs';
import { CloudFailed } from '#core/errors';
import { readJob } from '#core/job';
import type { RunningTask, Tasks } from '#core/ports';
import { jobTextOf, type TaskDetail, taskDetail } from '#core/task-end';
import { cloudFailed } from '#host/aws-errors';

/** DescribeTasks takes no more at once. */
const DESCRIBED_AT_ONCE = 100;
/** StopTask takes no longer reason. */
const REASON_LIMIT = 1024;

/** Tasks of one cluster, which belongs to one plan alone. Those that ended are remembered by ECS for an hour or so. */
export class FargateTasks implements Tasks {
  readonly #cluster: string;
  readonly #client: ECSClient;

  constructor(cluster: string, client: ECSClient = new ECSClient({})) {
    this.#cluster = cluster;
    this.#client = client;
  }

  async running(): Promise<readonly RunningTask[]> {
    const tasks = await this.#tasks('RUNNING');
    return tasks.flatMap((task) => {
      const detail = taskDetail.parse(plain(task));
      const text = jobTextOf(detail);
      if (text === null || detail.lastStatus === 'STOPPED') return [];
      return [{ task: detail.taskArn, document: readJob(text), startedAt: task.startedAt ?? null }];
    });
  }

  async ended(): Promise<readonly TaskDetail[]> {
    const tasks = await this.#tasks('STOPPED');
    return tasks.map((task) => taskDetail.parse(plain(task))).filter(({ lastStatus }) => lastStatus === 'STOPPED');
  }

  async stop(task: string, reason: string): Promise<void> {
    await this.#asked('stop a task', () =>
      this.#client.send(new StopTaskCommand({ cluster: this.#cluster, task, reason: reason.slice(0, REASON_LIMIT) })),
    );
  }

  async #tasks(desiredStatus: DesiredStatus): Promise<Task[]> {
    const arns: string[] = [];
    let nextToken: string | undefined;
    do {
      const page = await this.#asked('list the tasks', () =>
        this.#client.send(new ListTasksCommand({ cluster: this.#cluster, desiredStatus, nextToken })),
      );
      arns.push(...(page.taskArns ?? []));
      nextToken = page.nextToken;
    } while (nextToken !== undefined);
    const tasks: Task[] = [];
    for (let start = 0; start < arns.length; start += DESCRIBED_AT_ONCE) {
      const described = await this.#asked('describe the tasks', () =>
        this.#client.send(
          new DescribeTasksCommand({ cluster: this.#cluster, tasks: arns.slice(start, start + DESCRIBED_AT_ONCE) }),
        ),
      );
      tasks.push(...(described.tasks ?? []));
      // One that ECS has forgotten since it was listed is over; anything else was not looked at.
      const failure = described.failures?.find(({ reason }) => reason !== 'MISSING');
      if (failure) throw new CloudFailed(`could not describe the task ${failure.arn}: ${failure.reason}`);
    }
    return tasks;
  }

  async #asked<T>(what: string, ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      throw cloudFailed(`could not ${what} of ${this.#cluster}`, error);
    }
  }
}

/** The SDK gives dates where events have texts, and `undefined` where they have nothing. */
function plain(task: Task): unknown {
  return JSON.parse(JSON.stringify(task));
}
