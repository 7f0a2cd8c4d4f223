import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import {
  DescribeTasksCommand,
  ECSClient,
  ListTasksCommand,
  RunTaskCommand,
  StopTaskCommand,
} from '@aws-sdk/client-ecs';
import { mockClient } from 'aws-sdk-client-mock';
import { CloudFailed } from '#core/errors';
import { clientToken, type JobDocument, jobFor } from '#core/job';
import { loadPlan } from '#core/plan-load';
import { readSettings } from '#core/settings';
import { FargateLauncher } from '#host/fargate-launcher';
import { FargateTasks } from '#host/fargate-tasks';
import { CLOUD_PLAN } from '#test/cloud/cloud-plan';
import { awsError } from '#test/host/aws-shapes';

const settings = readSettings('start-job', {
  HOLDFAST_PLAN_NAME: 'shop',
  HOLDFAST_CLUSTER: 'holdfast-shop',
  HOLDFAST_SUBNETS: 'subnet-a,subnet-b',
  HOLDFAST_SECURITY_GROUPS: 'sg-1',
  HOLDFAST_PUBLIC_IP: 'ENABLED',
});
const TASK = 'arn:aws:ecs:eu-north-1:111122223333:task/holdfast-shop/0f1e2d';
const ecs = mockClient(ECSClient);
afterEach(() => ecs.reset());

function document(over: Partial<JobDocument> = {}): JobDocument {
  return jobFor(loadPlan(CLOUD_PLAN, 'holdfast.yaml'), {
    job: 'backup',
    source: 'events',
    attempt: '0',
    id: null,
    tier: null,
    point: null,
    reason: null,
    trigger: { by: 'schedule', schedule: '0 2 * * *', scheduledAt: '2026-11-21T02:00:00.000Z' },
    deadline: '2026-11-21T08:00:00.000Z',
    ...over,
  });
}

describe('RunTask', () => {
  const launch = (job = document(), scratchGiB: number | null = null) =>
    new FargateLauncher(settings, new ECSClient({ region: 'eu-north-1' })).launch(job, scratchGiB);

  test('one task of the source’s own family, under a token of ours, with the document and nothing secret', async () => {
    ecs.on(RunTaskCommand).resolves({ tasks: [{ taskArn: TASK, lastStatus: 'PROVISIONING' }], failures: [] });
    const job = document();
    assert.deepEqual(await launch(job), { task: TASK, already: false });
    const [call] = ecs.commandCalls(RunTaskCommand);
    assert.deepEqual(call?.args[0].input, {
      cluster: 'holdfast-shop',
      taskDefinition: 'shop-events-backup',
      clientToken: clientToken(job),
      startedBy: job.run,
      group: 'backup:events',
      count: 1,
      launchType: 'FARGATE',
      platformVersion: 'LATEST',
      propagateTags: 'TASK_DEFINITION',
      networkConfiguration: {
        awsvpcConfiguration: { subnets: ['subnet-a', 'subnet-b'], securityGroups: ['sg-1'], assignPublicIp: 'ENABLED' },
      },
      overrides: {
        containerOverrides: [{ name: 'worker', environment: [{ name: 'HOLDFAST_JOB', value: JSON.stringify(job) }] }],
      },
    });
    // Until token and run fit what ECS takes, nothing starts.
    assert.match(clientToken(job), /^[\x21-\x7e]{1,64}$/);
    assert.match(job.run, /^[A-Za-z0-9/_-]{1,128}$/);
  });

  test('a proof that needs more scratch is given it', async () => {
    ecs.on(RunTaskCommand).resolves({ tasks: [{ taskArn: TASK }], failures: [] });
    await launch(document({ job: 'prove' }), 125);
    const [call] = ecs.commandCalls(RunTaskCommand);
    assert.deepEqual(call?.args[0].input.overrides?.ephemeralStorage, { sizeInGiB: 125 });
  });

  test('ConflictException: the same token, launched before with another deadline', async () => {
    ecs.on(RunTaskCommand).rejects(
      awsError('ConflictException', 'The request could not be processed because of conflict', {
        resourceIds: [TASK],
      }),
    );
    assert.deepEqual(await launch(), { task: TASK, already: true });
  });

  test('200 with failures[] and no task is a failure, with AWS’s reason', async () => {
    ecs.on(RunTaskCommand).resolves({
      tasks: [],
      failures: [
        {
          arn: 'arn:aws:ecs:eu-north-1:111122223333:container-instance/x',
          reason: 'Capacity is unavailable at this time',
        },
      ],
    });
    await assert.rejects(launch(), (error: unknown) => {
      assert.ok(error instanceof CloudFailed);
      assert.match(error.message, /could not start the backup task of events: Capacity is unavailable at this time/);
      assert.equal(error.source, 'events');
      return true;
    });
  });

  for (const [name, said, hint] of [
    [
      'AccessDeniedException',
      'User: arn:aws:sts::1:assumed-role/x is not authorized to perform: ecs:RunTask',
      /deploy/,
    ],
    ['ThrottlingException', 'Rate exceeded', /tried again/],
    ['ClientException', 'TaskDefinition not found.', /different versions/],
    ['ClientException', 'Capacity is unavailable at this time. Please try again later.', /has no room/],
    ['ClientException', 'The requested CPU configuration is above your limit', /limit of the account/],
  ] as const)
    test(`${name} keeps its name and words, and says what to do`, async () => {
      ecs.on(RunTaskCommand).rejects(awsError(name, said));
      await assert.rejects(launch(), (error: unknown) => {
        assert.ok(error instanceof CloudFailed && error.retryable);
        assert.ok(error.message.includes(`${name}: ${said}`), error.message);
        assert.match(error.hint ?? '', hint);
        return true;
      });
    });

  test('overrides that ECS would refuse are refused here, with their length', async () => {
    const long = { ...document(), reason: 'x'.repeat(8200) };
    await assert.rejects(launch(long), /overrides of \d+ characters, ECS takes 8192/);
    assert.equal(ecs.commandCalls(RunTaskCommand).length, 0);
  });
});

describe('tasks of the cluster', () => {
  const tasks = new FargateTasks('holdfast-shop', new ECSClient({ region: 'eu-north-1' }));
  const described = (arn: string, more: object = {}) => ({
    taskArn: arn,
    clusterArn: 'arn:aws:ecs:eu-north-1:111122223333:cluster/holdfast-shop',
    lastStatus: 'RUNNING',
    startedAt: new Date('2026-11-21T02:01:00Z'),
    createdAt: new Date('2026-11-21T02:00:30Z'),
    version: 3,
    containers: [{ name: 'worker', containerArn: 'arn:x', lastStatus: 'RUNNING' }],
    overrides: {
      containerOverrides: [
        { name: 'worker', environment: [{ name: 'HOLDFAST_JOB', value: JSON.stringify(document()) }] },
      ],
    },
    ...more,
  });

  test('all pages are listed, and described a hundred at a time', async () => {
    const arns = Array.from({ length: 150 }, (_, index) => `${TASK}${index}`);
    ecs
      .on(ListTasksCommand, { nextToken: undefined })
      .resolves({ taskArns: arns.slice(0, 100), nextToken: 'more' })
      .on(ListTasksCommand, { nextToken: 'more' })
      .resolves({ taskArns: arns.slice(100) });
    ecs.on(DescribeTasksCommand).callsFake(({ tasks: asked }: { tasks: string[] }) => ({
      tasks: asked.map((arn) => described(arn)),
      failures: [],
    }));
    const running = await tasks.running();
    assert.equal(running.length, 150);
    assert.deepEqual(
      ecs.commandCalls(DescribeTasksCommand).map(({ args }) => args[0].input.tasks?.length),
      [100, 50],
    );
    assert.deepEqual(running[0]?.document, document());
    assert.deepEqual(running[0]?.startedAt, new Date('2026-11-21T02:01:00Z'));
  });

  test('what ended is told as its event would', async () => {
    ecs.on(ListTasksCommand).resolves({ taskArns: [TASK] });
    ecs.on(DescribeTasksCommand).resolves({
      tasks: [
        described(TASK, {
          lastStatus: 'STOPPED',
          stopCode: 'EssentialContainerExited',
          stoppedAt: new Date('2026-11-21T02:05:00Z'),
          containers: [
            { name: 'worker', exitCode: 137, reason: 'OutOfMemoryError: Container killed due to memory usage' },
          ],
        }),
      ],
      failures: [],
    });
    const [ended] = await tasks.ended();
    assert.equal(ecs.commandCalls(ListTasksCommand)[0]?.args[0].input.desiredStatus, 'STOPPED');
    assert.deepEqual(
      [ended?.lastStatus, ended?.containers[0]?.exitCode, ended?.createdAt, ended?.stoppedAt],
      ['STOPPED', 137, '2026-11-21T02:00:30.000Z', '2026-11-21T02:05:00.000Z'],
    );
  });

  test('one that ECS forgot since it was listed is over; any other failure is not "none" (I14)', async () => {
    ecs.on(ListTasksCommand).resolves({ taskArns: [TASK] });
    ecs.on(DescribeTasksCommand).resolves({ tasks: [], failures: [{ arn: TASK, reason: 'MISSING' }] });
    assert.deepEqual(await tasks.running(), []);
    ecs.on(DescribeTasksCommand).resolves({ tasks: [], failures: [{ arn: TASK, reason: 'ACCESS' }] });
    await assert.rejects(tasks.running(), /could not describe the task .*: ACCESS/);
    ecs.on(ListTasksCommand).rejects(awsError('ServerException', 'Service Unavailable'));
    await assert.rejects(tasks.running(), CloudFailed);
  });

  test('a task is stopped with its reason', async () => {
    ecs.on(StopTaskCommand).resolves({ task: { taskArn: TASK } });
    await tasks.stop(TASK, 'x'.repeat(2000));
    const [call] = ecs.commandCalls(StopTaskCommand);
    assert.deepEqual(call?.args[0].input, { cluster: 'holdfast-shop', task: TASK, reason: 'x'.repeat(1024) });
  });
});
