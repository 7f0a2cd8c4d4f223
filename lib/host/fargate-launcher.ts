import { ECSClient, RunTaskCommand, type RunTaskCommandInput, type RunTaskCommandOutput } from '@aws-sdk/client-ecs';
import { CloudFailed } from '#core/errors';
import { clientToken, type JobDocument } from '#core/job';
import type { Launcher } from '#core/ports';
import { CONTAINER, JOB_VARIABLE, type SettingsOf, taskFamily } from '#core/settings';
import { cloudFailed, nameOfAwsError } from '#host/aws-errors';

/** What RunTask takes of overrides, the JSON around them included. */
const OVERRIDES_LIMIT = 8192;
/** ECS waits for it before the task's end; its own limit for `startedBy` is 128 characters. */
const PLATFORM = 'LATEST';

/** Starts tasks of the source's own task definition. Two launches with one document are one task. */
export class FargateLauncher implements Launcher {
  readonly #settings: SettingsOf<'start-job'>;
  readonly #client: ECSClient;

  constructor(settings: SettingsOf<'start-job'>, client: ECSClient = new ECSClient({})) {
    this.#settings = settings;
    this.#client = client;
  }

  async launch(document: JobDocument, scratchGiB: number | null): Promise<{ task: string; already: boolean }> {
    const what = `could not start the ${document.job} task of ${document.source}`;
    let output: RunTaskCommandOutput;
    try {
      output = await this.#client.send(new RunTaskCommand(this.#input(document, scratchGiB)));
    } catch (error) {
      // The same token with other words: it was launched, and the plan or the deadline has changed since.
      const earlier = nameOfAwsError(error) === 'ConflictException' ? resourceOf(error) : null;
      if (earlier !== null) return { task: earlier, already: true };
      throw cloudFailed(what, error, document.source);
    }
    const task = output.tasks?.[0]?.taskArn;
    if (task !== undefined) return { task, already: output.tasks?.[0]?.lastStatus === 'STOPPED' };
    const [failure] = output.failures ?? [];
    const why = [failure?.reason ?? 'ECS gave no task and no reason', failure?.detail].filter(Boolean).join(': ');
    throw new CloudFailed(`${what}: ${why}`, {
      source: document.source,
      hint: 'no room in the region, or its subnets have no free addresses; it is tried again',
    });
  }

  #input(document: JobDocument, scratchGiB: number | null): RunTaskCommandInput {
    const { HOLDFAST_PLAN_NAME: plan, HOLDFAST_CLUSTER: cluster } = this.#settings;
    const overrides = {
      containerOverrides: [{ name: CONTAINER, environment: [{ name: JOB_VARIABLE, value: JSON.stringify(document) }] }],
      ...(scratchGiB === null ? {} : { ephemeralStorage: { sizeInGiB: scratchGiB } }),
    };
    const length = JSON.stringify(overrides).length;
    if (length > OVERRIDES_LIMIT)
      throw new CloudFailed(
        `the job document of ${document.source} makes overrides of ${length} characters, ECS takes ${OVERRIDES_LIMIT}`,
        { source: document.source, hint: 'shorten its probes, or split the source in two' },
      );
    return {
      cluster,
      taskDefinition: taskFamily(plan, document.source, document.job),
      clientToken: clientToken(document),
      startedBy: document.run,
      group: `${document.job}:${document.source}`,
      count: 1,
      launchType: 'FARGATE',
      platformVersion: PLATFORM,
      propagateTags: 'TASK_DEFINITION',
      networkConfiguration: {
        awsvpcConfiguration: {
          subnets: [...this.#settings.HOLDFAST_SUBNETS],
          securityGroups: [...this.#settings.HOLDFAST_SECURITY_GROUPS],
          assignPublicIp: this.#settings.HOLDFAST_PUBLIC_IP,
        },
      },
      overrides,
    };
  }
}

function resourceOf(error: unknown): string | null {
  const { resourceIds } = error as { resourceIds?: unknown };
  return Array.isArray(resourceIds) && typeof resourceIds[0] === 'string' ? resourceIds[0] : null;
}
