import { ArnFormat, Duration, Fn, Stack, type StackProps, Tags } from 'aws-cdk-lib';
import { Rule } from 'aws-cdk-lib/aws-events';
import { LambdaFunction } from 'aws-cdk-lib/aws-events-targets';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { Bucket } from 'aws-cdk-lib/aws-s3';
import { LambdaSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import type { Construct } from 'constructs';
import { Alarms } from '#cloud/alarms';
import { JobFunction, type JobFunctionProps } from '#cloud/job-function';
import { JobSchedules } from '#cloud/job-schedules';
import { MachineAccess } from '#cloud/machine-access';
import { Network } from '#cloud/network';
import { Restorer } from '#cloud/restorer';
import { lifecycleAccess, replicatorAccess, retainAccess, type VaultPlace, watcherAccess } from '#cloud/vault-access';
import { awsVaults, type VaultStack } from '#cloud/vault-stack';
import { WorkerTasks } from '#cloud/worker-tasks';
import { SEVERITIES } from '#core/alert';
import { lockDaysAtMost } from '#core/lock-renewal';
import { METRIC_NAMESPACE } from '#core/metrics';
import type { Plan } from '#core/plan';
import { variablesOf, variablesOfChannels, variablesOfHeartbeat, variablesOfVaults } from '#core/plan-variables';
import { functionName, type HostName, secretName, taskFamily } from '#core/settings';

export interface WorkStackProps extends StackProps {
  readonly plan: Plan;
  readonly planFile: string;
  readonly vaultStack: VaultStack;
}

/** What runs: tasks, functions, schedules, alarms. It holds no data, and may be deleted and made again. */
export class WorkStack extends Stack {
  constructor(scope: Construct, id: string, { plan, planFile, vaultStack, ...props }: WorkStackProps) {
    super(scope, id, props);
    const { key, topics } = vaultStack;
    const vaults = new Map(
      awsVaults(plan).map(([name, settings]) => {
        const place: VaultPlace = {
          // By its name: an import from the vaults' stack could not be taken away, nor then a vault out of the plan.
          bucket: Bucket.fromBucketName(this, `Vault-${name}`, settings.s3),
          key: settings.existing ? null : key,
          root: settings.prefix ? `${settings.prefix}/` : '',
          lock: settings.lock ? { mode: settings.lock, days: lockDaysAtMost(settings.lockFor) } : null,
        };
        return [name, place] as const;
      }),
    );
    const all = [...vaults.values()];
    const network = new Network(this, 'Network', plan);
    const tasks = new WorkerTasks(this, 'Worker', { plan, vaults, key });
    const clusterCondition = { ArnEquals: { 'ecs:cluster': tasks.cluster.attrArn } };
    const telling = Object.fromEntries(
      SEVERITIES.map((severity) => [`HOLDFAST_TOPIC_${severity.toUpperCase()}`, topics.bySeverity[severity].topicArn]),
    );
    const publish = [
      new PolicyStatement({
        actions: ['sns:Publish'],
        resources: SEVERITIES.map((one) => topics.bySeverity[one].topicArn),
      }),
      new PolicyStatement({ actions: ['kms:GenerateDataKey', 'kms:Decrypt'], resources: [key.keyArn] }),
    ];
    const metrics = new PolicyStatement({
      actions: ['cloudwatch:PutMetricData'],
      resources: ['*'],
      conditions: { StringEquals: { 'cloudwatch:namespace': METRIC_NAMESPACE } },
    });
    const values = (variables: readonly string[]): PolicyStatement[] =>
      variables.length === 0
        ? []
        : [
            new PolicyStatement({
              actions: ['secretsmanager:GetSecretValue'],
              resources: variables.map((variable) => this.#secretArn(plan, variable)),
            }),
            new PolicyStatement({ actions: ['kms:Decrypt'], resources: [key.keyArn] }),
          ];
    const opening = values(variablesOfVaults(plan));
    const beating = values(variablesOfHeartbeat(plan));
    const make = (host: JobFunctionProps['host'], over: Partial<JobFunctionProps>): JobFunction =>
      new JobFunction(this, host, {
        planName: plan.name,
        planFile,
        host,
        environment: {},
        access: [],
        timeout: Duration.minutes(1),
        ...over,
      });

    const start = make('start-job', {
      environment: {
        HOLDFAST_CLUSTER: tasks.clusterName,
        HOLDFAST_SUBNETS: network.subnetIds.join(','),
        HOLDFAST_SECURITY_GROUPS: network.securityGroupIds.join(','),
        HOLDFAST_PUBLIC_IP: network.publicIp,
      },
      access: [
        new PolicyStatement({
          actions: ['ecs:RunTask'],
          resources: tasks.tasks.map(({ source, job }) =>
            this.formatArn({
              service: 'ecs',
              resource: 'task-definition',
              resourceName: `${taskFamily(plan.name, source, job)}:*`,
            }),
          ),
          conditions: clusterCondition,
        }),
        new PolicyStatement({
          actions: ['iam:PassRole'],
          resources: [tasks.executionRole.roleArn, ...tasks.tasks.map(({ definition }) => definition.taskRole.roleArn)],
          conditions: { StringEquals: { 'iam:PassedToService': 'ecs-tasks.amazonaws.com' } },
        }),
        // Tasks carry the tags of their definitions; at no other time may it tag anything.
        new PolicyStatement({
          actions: ['ecs:TagResource'],
          resources: [this.formatArn({ service: 'ecs', resource: 'task', resourceName: `${tasks.clusterName}/*` })],
          conditions: { StringEquals: { 'ecs:CreateAction': 'RunTask' } },
        }),
        new PolicyStatement({ actions: ['lambda:InvokeFunction'], resources: [this.#functionArn(plan, 'retain')] }),
        new PolicyStatement({
          actions: ['secretsmanager:DescribeSecret'],
          resources: variablesOf(plan).map((variable) => this.#secretArn(plan, variable)),
        }),
        ...all.flatMap(watcherAccess),
        ...opening,
      ],
    });
    const startAccess = new PolicyStatement({
      actions: ['lambda:InvokeFunction'],
      resources: [this.#functionArn(plan, 'start-job')],
    });
    const starting = { HOLDFAST_START_JOB: functionName(plan.name, 'start-job') };
    const finish = make('finish-job', {
      environment: { ...telling, ...starting },
      access: [
        ...all.flatMap(watcherAccess),
        // It looks at a vault as the watcher does, and tells at once.
        ...all.flatMap(lifecycleAccess),
        ...publish,
        metrics,
        startAccess,
        ...opening,
        ...beating,
      ],
    });
    const watch = make('watch', {
      environment: { ...telling, ...starting, HOLDFAST_CLUSTER: tasks.clusterName },
      timeout: Duration.minutes(4),
      access: [
        ...all.flatMap(watcherAccess),
        ...all.flatMap(lifecycleAccess),
        ...publish,
        metrics,
        startAccess,
        ...opening,
        ...beating,
        new PolicyStatement({
          actions: ['ecs:DescribeTasks', 'ecs:StopTask'],
          resources: [this.formatArn({ service: 'ecs', resource: 'task', resourceName: `${tasks.clusterName}/*` })],
          conditions: clusterCondition,
        }),
        new PolicyStatement({ actions: ['ecs:ListTasks'], resources: ['*'], conditions: clusterCondition }),
      ],
    });
    const retain = make('retain', {
      timeout: Duration.minutes(15),
      memoryMiB: 1024,
      access: [...all.flatMap(retainAccess), ...opening],
    });
    const replicate = make('replicate', {
      environment: starting,
      timeout: Duration.minutes(15),
      memoryMiB: 1024,
      access: [
        ...all.flatMap(replicatorAccess),
        ...(tasks.tasks.some(({ job }) => job === 'replicate') ? [startAccess] : []),
        ...opening,
      ],
    });
    const channels = SEVERITIES.flatMap((severity) => plan.alerts?.[severity] ?? []);
    const others = channels.flatMap((channel) => ('sns' in channel ? [channel.sns] : []));
    const send = make('send-alert', {
      access: [
        ...values(SEVERITIES.flatMap((severity) => variablesOfChannels(plan, severity))),
        new PolicyStatement({ actions: ['sns:Publish'], resources: [...new Set(others)] }),
        ...opening,
      ],
    });
    for (const severity of SEVERITIES)
      if ((plan.alerts?.[severity] ?? []).some((channel) => !('email' in channel || 'sms' in channel)))
        topics.bySeverity[severity].addSubscription(new LambdaSubscription(send.handler));
    new Rule(this, 'TaskStopped', {
      description: 'a task of this plan has ended, however it did',
      eventPattern: {
        source: ['aws.ecs'],
        detailType: ['ECS Task State Change'],
        detail: { clusterArn: [tasks.cluster.attrArn], lastStatus: ['STOPPED'] },
      },
      targets: [new LambdaFunction(finish.handler, { deadLetterQueue: finish.dead, retryAttempts: 5 })],
    });
    new JobSchedules(this, 'Schedules', { plan, start, watch, retain, replicate });
    new Alarms(this, 'Alarms', { plan, topics, functions: [start, finish, watch, retain, replicate, send], watch });
    new MachineAccess(this, 'Machine', { plan, vaults });
    new Restorer(this, 'Restorer', { plan, vaults: all });
    Tags.of(this).add('holdfast:plan', plan.name);
  }

  /** Not looked up, so that synthesis needs no credentials. */
  override get availabilityZones(): string[] {
    return [Fn.select(0, Fn.getAzs()), Fn.select(1, Fn.getAzs())];
  }

  #functionArn(plan: Plan, host: Exclude<HostName, 'worker'>): string {
    return this.formatArn({
      service: 'lambda',
      resource: 'function',
      resourceName: functionName(plan.name, host),
      arnFormat: ArnFormat.COLON_RESOURCE_NAME,
    });
  }

  #secretArn(plan: Plan, variable: string): string {
    return this.formatArn({
      service: 'secretsmanager',
      resource: 'secret',
      resourceName: `${secretName(plan.name, variable)}-??????`,
      arnFormat: ArnFormat.COLON_RESOURCE_NAME,
    });
  }
}
