import { randomBytes, randomUUID } from 'node:crypto';
import { type Authorise, AwsError, type StandIn, startJsonStandIn } from '#test/servers/aws-stand-in';

/** How a container ended, in ECS's words. */
export interface ContainerEnd {
  readonly stopCode: string;
  readonly stoppedReason: string;
  /** Absent: it never started. */
  readonly exitCode?: number;
  readonly reason?: string;
}

/** What became of the order to start a container. */
export interface Container {
  readonly started: boolean;
  readonly ended: Promise<ContainerEnd>;
  /** SIGTERM. */
  stop(): void;
}

/** What stands in the deployment. */
export interface StoodDefinition {
  readonly family: string;
  readonly arn: string;
  readonly container: string;
  readonly taskRoleArn: string;
  readonly executionRoleArn: string;
}

export interface RunTaskInput {
  readonly cluster: string;
  readonly taskDefinition: string;
  readonly clientToken?: string;
  readonly startedBy?: string;
  readonly group?: string;
  readonly count?: number;
  readonly launchType?: string;
  readonly propagateTags?: string;
  readonly networkConfiguration?: { readonly awsvpcConfiguration?: { readonly subnets?: readonly string[] } };
  readonly overrides?: {
    readonly containerOverrides?: readonly {
      readonly name: string;
      readonly environment?: readonly { readonly name: string; readonly value: string }[];
    }[];
    readonly ephemeralStorage?: { readonly sizeInGiB: number };
  };
}

/** A task, with times as ECS's events tell them. */
export interface StoodTask {
  readonly taskArn: string;
  readonly clusterArn: string;
  readonly taskDefinitionArn: string;
  readonly startedBy: string;
  readonly group: string;
  readonly overrides: NonNullable<RunTaskInput['overrides']>;
  readonly createdAt: string;
  lastStatus: string;
  desiredStatus: string;
  version: number;
  startedAt?: string;
  stoppedAt?: string;
  stopCode?: string;
  stoppedReason?: string;
  containers: { readonly name: string; lastStatus: string; exitCode?: number; reason?: string }[];
}

/** An "ECS Task State Change". */
export interface TaskStateChange {
  readonly source: 'aws.ecs';
  readonly detail: StoodTask;
  readonly [field: string]: unknown;
}

export interface EcsStandIn extends StandIn {
  /** Each call of RunTask, those that were refused included. */
  readonly asked: RunTaskInput[];
  readonly tasks: ReadonlyMap<string, StoodTask>;
  /** What EventBridge was told, in order. */
  readonly events: TaskStateChange[];
  /** Refuses instead of starting: an error, or `failures` in a good answer. Called with the number of the call, from 1. */
  onRunTask(decide: (input: RunTaskInput, number: number) => { readonly reason: string } | AwsError | null): void;
  /** No container runs any more, and each end was told. */
  settled(): Promise<void>;
  /** Forgets every task. */
  clear(): void;
}

export interface EcsOptions {
  readonly clusterArn: string;
  /** By family. */
  readonly definitions: ReadonlyMap<string, StoodDefinition>;
  readonly authorise: Authorise;
  now(): Date;
  /** As the agent: pulls, hands the secrets over, starts. */
  start(definition: StoodDefinition, task: StoodTask): Promise<Container>;
  /** Each change of a task's state, as EventBridge gets it. */
  onChange(event: TaskStateChange): Promise<void>;
}

const OVERRIDES_LIMIT = 8192;
/** How long an ended task is remembered. */
const REMEMBERED_MILLISECONDS = 3_600_000;

export async function startEcs(options: EcsOptions): Promise<EcsStandIn> {
  const { clusterArn, definitions, authorise, now, start, onChange } = options;
  const cluster = clusterArn.split('/').at(-1) as string;
  const prefix = clusterArn.replace(/:cluster\/.*/, '');
  const inCluster = { 'ecs:cluster': clusterArn };
  const tasks = new Map<string, StoodTask>();
  const containers = new Map<string, Container>();
  const byToken = new Map<string, { readonly input: string; readonly taskArn: string }>();
  const asked: RunTaskInput[] = [];
  const events: TaskStateChange[] = [];
  const underWay = new Set<Promise<void>>();
  let decide: Parameters<EcsStandIn['onRunTask']>[0] = () => null;

  const server = await startJsonStandIn('ecs', {
    async RunTask(raw, caller) {
      const input = raw as unknown as RunTaskInput;
      asked.push(input);
      inThisCluster(input.cluster);
      const definition = definitions.get(input.taskDefinition.replace(/^.*task-definition\//, '').replace(/:\d+$/, ''));
      if (!definition) throw new AwsError('ClientException', `TaskDefinition not found: ${input.taskDefinition}`);
      const taskArn = `${prefix}:task/${cluster}/${randomBytes(16).toString('hex')}`;
      await authorise(caller, 'ecs:RunTask', definition.arn, inCluster);
      for (const role of [definition.taskRoleArn, definition.executionRoleArn])
        await authorise(caller, 'iam:PassRole', role, { 'iam:PassedToService': 'ecs-tasks.amazonaws.com' });
      if (input.propagateTags) await authorise(caller, 'ecs:TagResource', taskArn, { 'ecs:CreateAction': 'RunTask' });
      checkInput(input, definition);
      const token = input.clientToken as string;
      const known = byToken.get(token);
      if (known && known.input !== JSON.stringify(input))
        throw new AwsError('ConflictException', 'The request was made before with other parameters.', 400, {
          resourceIds: [known.taskArn],
        });
      if (known) return { tasks: [described(tasks.get(known.taskArn) as StoodTask)], failures: [] };
      const refused = decide(input, asked.length);
      if (refused instanceof AwsError) throw refused;
      if (refused) return { tasks: [], failures: [{ arn: clusterArn, reason: refused.reason }] };
      byToken.set(token, { input: JSON.stringify(input), taskArn });
      const task: StoodTask = {
        taskArn,
        clusterArn,
        taskDefinitionArn: definition.arn,
        startedBy: input.startedBy ?? '',
        group: input.group ?? '',
        overrides: input.overrides ?? {},
        createdAt: now().toISOString(),
        lastStatus: 'PROVISIONING',
        desiredStatus: 'RUNNING',
        version: 1,
        containers: [{ name: definition.container, lastStatus: 'PENDING' }],
      };
      tasks.set(taskArn, task);
      const going = live(definition, task).finally(() => underWay.delete(going));
      underWay.add(going);
      return { tasks: [described(task)], failures: [] };
    },
    async ListTasks(input, caller) {
      inThisCluster(String(input['cluster']));
      await authorise(caller, 'ecs:ListTasks', '*', inCluster);
      const wanted = String(input['desiredStatus'] ?? 'RUNNING');
      const oldest = new Date(now().getTime() - REMEMBERED_MILLISECONDS).toISOString();
      const listed = [...tasks.values()].filter(
        ({ desiredStatus, stoppedAt }) => desiredStatus === wanted && (stoppedAt ?? oldest) >= oldest,
      );
      // A page of one: whoever forgets to ask for the next one is found out.
      const from = Number(input['nextToken'] ?? 0);
      return {
        taskArns: listed.slice(from, from + 1).map(({ taskArn }) => taskArn),
        ...(from + 1 < listed.length ? { nextToken: String(from + 1) } : {}),
      };
    },
    async DescribeTasks(input, caller) {
      inThisCluster(String(input['cluster']));
      const arns = input['tasks'] as string[];
      for (const arn of arns) await authorise(caller, 'ecs:DescribeTasks', arn, inCluster);
      const found = arns.map((arn) => [arn, tasks.get(arn)] as const);
      return {
        tasks: found.flatMap(([, task]) => (task ? [described(task)] : [])),
        failures: found.flatMap(([arn, task]) => (task ? [] : [{ arn, reason: 'MISSING' }])),
      };
    },
    async StopTask(input, caller) {
      inThisCluster(String(input['cluster']));
      const task = tasks.get(String(input['task']));
      if (!task) throw new AwsError('InvalidParameterException', 'The referenced task was not found.');
      await authorise(caller, 'ecs:StopTask', task.taskArn, inCluster);
      task.desiredStatus = 'STOPPED';
      task.stopCode = 'UserInitiated';
      task.stoppedReason = String(input['reason'] ?? 'Task stopped by user');
      containers.get(task.taskArn)?.stop();
      return { task: described(task) };
    },
  });

  async function live(definition: StoodDefinition, task: StoodTask): Promise<void> {
    const container = await start(definition, task);
    containers.set(task.taskArn, container);
    if (container.started) {
      task.startedAt = now().toISOString();
      await changeTo('RUNNING', task);
    }
    const { stopCode, stoppedReason, exitCode, reason } = await container.ended;
    containers.delete(task.taskArn);
    task.containers = [
      {
        name: definition.container,
        lastStatus: 'STOPPED',
        ...(exitCode === undefined ? {} : { exitCode }),
        ...(reason === undefined ? {} : { reason }),
      },
    ];
    task.stopCode ??= stopCode;
    task.stoppedReason ??= stoppedReason;
    task.desiredStatus = 'STOPPED';
    await changeTo('DEPROVISIONING', task);
    task.stoppedAt = now().toISOString();
    await changeTo('STOPPED', task);
  }

  async function changeTo(status: string, task: StoodTask): Promise<void> {
    task.lastStatus = status;
    task.version++;
    const [, , , region = '', account = ''] = clusterArn.split(':');
    const event: TaskStateChange = {
      version: '0',
      id: randomUUID(),
      'detail-type': 'ECS Task State Change',
      source: 'aws.ecs',
      account,
      time: now().toISOString(),
      region,
      resources: [task.taskArn],
      detail: structuredClone(task),
    };
    events.push(event);
    await onChange(event);
  }

  function inThisCluster(asked: string): void {
    if (asked !== cluster && asked !== clusterArn)
      throw new AwsError('ClusterNotFoundException', `Cluster not found: ${asked}`);
  }

  return {
    ...server,
    asked,
    tasks,
    events,
    onRunTask(decider) {
      asked.length = 0;
      decide = decider;
    },
    async settled() {
      while (underWay.size > 0) await Promise.all(underWay);
    },
    clear() {
      tasks.clear();
      byToken.clear();
      events.length = 0;
      asked.length = 0;
      decide = () => null;
    },
  };
}

/** What the service itself refuses. */
function checkInput(input: RunTaskInput, { container }: StoodDefinition): void {
  const { clientToken = '', startedBy = '', group = '', overrides = {}, networkConfiguration } = input;
  const wrong = (what: string): AwsError => new AwsError('InvalidParameterException', what);
  // The SDK makes one up when none is passed, and that is a UUID: then two launches are two tasks.
  if (!/^[0-9a-f]{64}$/.test(clientToken)) throw wrong(`want a client token of our own, got "${clientToken}"`);
  if (!/^[A-Za-z0-9/_-]{1,128}$/.test(startedBy)) throw wrong(`startedBy: ${startedBy}`);
  if (group.length > 255 || /^(family|service):/.test(group)) throw wrong(`group: ${group}`);
  if (JSON.stringify(overrides).length > OVERRIDES_LIMIT)
    throw wrong('Container Overrides length must be at most 8192');
  if (!networkConfiguration?.awsvpcConfiguration?.subnets?.length)
    throw wrong("Network Configuration must be provided when networkMode 'awsvpc' is specified.");
  const strange = overrides.containerOverrides?.find(({ name }) => name !== container);
  if (strange) throw wrong(`Override for container named ${strange.name} is not a container in the TaskDefinition.`);
  const size = overrides.ephemeralStorage?.sizeInGiB;
  if (size !== undefined && (size < 21 || size > 200)) throw wrong(`ephemeral storage of ${size} GiB`);
}

const TIMES = new Set(['createdAt', 'startedAt', 'stoppedAt']);

/** JSON 1.1 tells times in seconds. */
function described(task: StoodTask): object {
  return Object.fromEntries(
    Object.entries(task).map(([key, value]) => [key, TIMES.has(key) ? Date.parse(value as string) / 1000 : value]),
  );
}
