import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import {
  CfnCluster,
  ContainerImage,
  CpuArchitecture,
  FargateTaskDefinition,
  LogDriver,
  OperatingSystemFamily,
  Secret,
} from 'aws-cdk-lib/aws-ecs';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Secret as StoredSecret } from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';
import { proverAccess, type VaultPlace, writerAccess } from '#cloud/vault-access';
import { workerImage } from '#cloud/worker-image';
import { workerSize } from '#cloud/worker-size';
import type { Plan } from '#core/plan';
import { variablesOfSource } from '#core/plan-variables';
import { CONTAINER, secretName, taskFamily } from '#core/settings';
import { placesOfSources } from '#core/where';

export const JOBS = ['backup', 'prove'] as const;
export type TaskJob = (typeof JOBS)[number];

export interface WorkerTasksProps {
  readonly plan: Plan;
  /** The vaults of each source, by their names in the plan. */
  readonly vaults: ReadonlyMap<string, VaultPlace>;
}

export interface WorkerTask {
  readonly source: string;
  readonly job: TaskJob;
  readonly definition: FargateTaskDefinition;
  /** `${NAME}`s it is given. */
  readonly variables: readonly string[];
}

/**
 * A task definition and role for each source and role: RunTask cannot choose secrets, and a role of its own is what
 * keeps one source's writer away from another's backups, and every writer away from the identity.
 */
export class WorkerTasks extends Construct {
  readonly cluster: CfnCluster;
  readonly clusterName: string;
  readonly executionRole: Role;
  readonly tasks: readonly WorkerTask[];

  constructor(scope: Construct, id: string, { plan, vaults }: WorkerTasksProps) {
    super(scope, id);
    this.clusterName = `holdfast-${plan.name}`;
    // Not the L2, which brings a VPC with NAT gateways of its own along.
    this.cluster = new CfnCluster(this, 'Cluster', {
      clusterName: this.clusterName,
      clusterSettings: [{ name: 'containerInsights', value: 'enabled' }],
    });
    this.executionRole = new Role(this, 'Execution', {
      assumedBy: new ServicePrincipal('ecs-tasks.amazonaws.com'),
      description: 'pulls the image, writes the logs, hands the secrets over',
    });
    const logs = new LogGroup(this, 'Logs', {
      logGroupName: `/holdfast/${plan.name}/worker`,
      retention: RetentionDays.THREE_MONTHS,
      // Its name is fixed: one that stayed would stand in the way of the next deployment. The ledger keeps what matters.
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const sources = placesOfSources(plan).filter(({ where }) => where === 'cloud');
    this.tasks = sources.flatMap(({ source }) =>
      JOBS.filter((job) => job === 'backup' || plan.sources[source]?.prove !== 'never').map((job) =>
        this.#task(plan, source, job, vaults, logs),
      ),
    );
  }

  #task(plan: Plan, source: string, job: TaskJob, vaults: ReadonlyMap<string, VaultPlace>, logs: LogGroup): WorkerTask {
    const size = workerSize(plan, source);
    const definition = new FargateTaskDefinition(this, `${source}-${job}`, {
      family: taskFamily(plan.name, source, job),
      cpu: size.cpu,
      memoryLimitMiB: size.memoryMiB,
      ephemeralStorageGiB: size.scratchGiB,
      executionRole: this.executionRole,
      runtimePlatform: { cpuArchitecture: CpuArchitecture.X86_64, operatingSystemFamily: OperatingSystemFamily.LINUX },
      volumes: [{ name: 'scratch' }],
    });
    const access = job === 'backup' ? writerAccess : proverAccess;
    const names = new Set(plan.sources[source]?.schedule.flatMap(({ to }) => to));
    for (const [name, vault] of vaults)
      if (names.has(name)) for (const statement of access(vault, source)) definition.addToTaskRolePolicy(statement);
    const variables = variablesOfSource(plan, source, job === 'prove' ? 'identity' : 'no identity');
    const container = definition.addContainer(CONTAINER, {
      image: ContainerImage.fromDockerImageAsset(workerImage(this, plan.sources[source]?.postgres)),
      essential: true,
      readonlyRootFilesystem: true,
      stopTimeout: Duration.seconds(120),
      secrets: Object.fromEntries(variables.map((variable) => [variable, this.#secret(plan, variable)])),
      logging: LogDriver.awsLogs({ logGroup: logs, streamPrefix: `${source}-${job}` }),
    });
    container.addMountPoints({ containerPath: '/scratch', sourceVolume: 'scratch', readOnly: false });
    return { source, job, definition, variables };
  }

  #secret(plan: Plan, variable: string): Secret {
    const id = `Secret-${variable}`;
    const known = this.node.tryFindChild(id) as StoredSecret | undefined;
    return Secret.fromSecretsManager(known ?? StoredSecret.fromSecretNameV2(this, id, secretName(plan.name, variable)));
  }
}
