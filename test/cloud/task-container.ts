import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { DeployedTask } from '#test/cloud/deployment';
import { type Authorise, AwsError } from '#test/servers/aws-stand-in';
import type { Container, ContainerEnd, StoodTask } from '#test/servers/ecs-stand-in';

/** A running worker, for whoever wants to end it. */
export interface RunningWorker {
  readonly task: StoodTask;
  readonly definition: DeployedTask;
  /** What its log says so far. */
  said(): string;
  signal(name: NodeJS.Signals): void;
}

export interface TaskHost {
  /** Below it each task gets a scratch directory of its own. */
  readonly directory: string;
  /** What every process of this machine needs: endpoints, the clock. */
  readonly surroundings: Readonly<Record<string, string>>;
  /** Where the agent hands out a role's credentials. */
  credentialsOf(role: string): string;
  secret(arn: string, executionRole: string): Promise<string>;
  /** ECS takes a role on for the task. */
  assume(roleArn: string): Promise<void>;
  readonly authorise: Authorise;
  /** Null: it starts. Else why it never does. */
  hinders(task: StoodTask): string | null;
  /** Between the order to stop and the end by force. */
  readonly stopMilliseconds: number;
  onSays(worker: RunningWorker): void;
  onEnd(worker: RunningWorker, code: number | null): void;
}

/**
 * What ECS's agent does, without the container around it: under the execution role it pulls, hands the secrets of the
 * definition over and opens the log; then it runs the very files of the image with the definition's environment and the
 * overrides.
 */
export async function startContainer(definition: DeployedTask, task: StoodTask, host: TaskHost): Promise<Container> {
  const hindrance = host.hinders(task);
  if (hindrance !== null) return neverStarted(hindrance);
  const environment: Record<string, string> = { ...definition.environment };
  const lacks = await prepared(definition, task, host, environment);
  if (lacks !== null) return neverStarted(lacks);
  const isLogged = await mayLog(definition, task, host);
  for (const { environment: more = [] } of task.overrides.containerOverrides ?? [])
    for (const { name, value } of more) environment[name] = value;

  const scratch = join(host.directory, task.taskArn.slice(-8));
  mkdirSync(scratch);
  chmodSync(scratch, 0o711);
  const child = spawn(
    process.execPath,
    ['--max-semi-space-size=2', '--disable-warning=ExperimentalWarning', join(definition.image, 'worker.mjs')],
    {
      cwd: scratch,
      env: {
        PATH: process.env['PATH'],
        ...host.surroundings,
        // The image's own.
        ...{ HOME: scratch, TMPDIR: scratch, HOLDFAST_SCRATCH: scratch },
        AWS_EXECUTION_ENV: 'AWS_ECS_FARGATE',
        AWS_CONTAINER_CREDENTIALS_FULL_URI: host.credentialsOf(definition.taskRole),
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    },
  );
  let said = '';
  const worker: RunningWorker = { task, definition, said: () => said, signal: (name) => void child.kill(name) };
  for (const output of [child.stdout, child.stderr])
    output.setEncoding('utf8').on('data', (text: string) => {
      if (isLogged) said += text;
      host.onSays(worker);
    });
  const ended = new Promise<ContainerEnd>((resolve) => {
    child.once('close', (code, signal) => {
      host.onEnd(worker, code);
      // Its disk goes with it.
      rmSync(scratch, { recursive: true, force: true });
      const killed = signal === 'SIGKILL';
      resolve({
        stopCode: 'EssentialContainerExited',
        stoppedReason: killed
          ? 'OutOfMemoryError: container killed due to memory usage'
          : 'Essential container in task exited',
        exitCode: killed ? 137 : (code ?? 1),
        ...(killed ? { reason: 'OutOfMemoryError: container killed due to memory usage' } : {}),
      });
    });
  });
  const stop = (): void => {
    child.kill('SIGTERM');
    const patience = setTimeout(() => child.kill('SIGKILL'), host.stopMilliseconds);
    child.once('close', () => clearTimeout(patience));
  };
  return { started: true, ended, stop };
}

/** Without the right, a task runs and its log stays empty. */
async function mayLog(
  { executionRole, logStream }: DeployedTask,
  { taskArn }: StoodTask,
  { authorise }: TaskHost,
): Promise<boolean> {
  try {
    await authorise(executionRole, 'logs:PutLogEvents', logStream(taskArn.split('/').at(-1) as string));
    return true;
  } catch (error) {
    if (error instanceof AwsError) return false;
    throw error;
  }
}

/** @returns null, or what is missing in ECS's own words */
async function prepared(
  { taskRoleArn, executionRoleArn, executionRole, repository, secrets, logStream }: DeployedTask,
  { taskArn }: StoodTask,
  { assume, authorise, secret }: TaskHost,
  environment: Record<string, string>,
): Promise<string | null> {
  const stream = logStream(taskArn.split('/').at(-1) as string);
  const steps: readonly (readonly [string, () => Promise<void>])[] = [
    [
      'ResourceInitializationError: unable to assume the role',
      async () => {
        for (const role of [executionRoleArn, taskRoleArn]) await assume(role);
      },
    ],
    [
      'ResourceInitializationError: unable to pull secrets or registry auth: unable to get registry auth from ECR',
      () => authorise(executionRole, 'ecr:GetAuthorizationToken', '*'),
    ],
    [
      'ResourceInitializationError: unable to pull secrets or registry auth: unable to retrieve secrets from ASM',
      async () => {
        for (const [name, arn] of secrets) environment[name] = await secret(arn, executionRole);
      },
    ],
    [
      'CannotPullContainerError',
      async () => {
        for (const action of ['BatchCheckLayerAvailability', 'BatchGetImage', 'GetDownloadUrlForLayer'])
          await authorise(executionRole, `ecr:${action}`, repository);
      },
    ],
    [
      'ResourceInitializationError: failed to validate logger args: failed to create Cloudwatch log stream',
      () => authorise(executionRole, 'logs:CreateLogStream', stream),
    ],
  ];
  for (const [otherwise, act] of steps) {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof AwsError)) throw error;
      return `${otherwise}: ${error.code}: ${error.message}`;
    }
  }
  return null;
}

function neverStarted(stoppedReason: string): Container {
  return {
    started: false,
    ended: Promise.resolve({ stopCode: 'TaskFailedToStart', stoppedReason }),
    stop: () => undefined,
  };
}
