import { Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import {
  CfnCluster,
  ContainerImage,
  CpuArchitecture,
  FargateTaskDefinition,
  LogDriver,
  OperatingSystemFamily,
  Secret,
} from 'aws-cdk-lib/aws-ecs';
import { PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Secret as StoredSecret } from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';
import { copiedFromAccess, copiedToAccess, proverAccess, type VaultPlace, writerAccess } from '#cloud/vault-access';
import { workerImage } from '#cloud/worker-image';
import { COPIER, type WorkerSize, workerSize } from '#cloud/worker-size';
import type { CopyRoute } from '#core/copy-rules';
import type { TaskJob } from '#core/job';
import type { Plan, PostgresSettings } from '#core/plan';
import { variablesOfSource, variablesOfVaults } from '#core/plan-variables';
import { CONTAINER, secretName, taskFamily } from '#core/settings';
import { copiedInAws, placesOfSources } from '#core/where';

export interface WorkerTasksProps {
  readonly plan: Plan;
  /** The vaults of each source, by their names in the plan. */
  readonly vaults: ReadonlyMap<string, VaultPlace>;
  /** What the secrets are encrypted with. */
  readonly key: IKey;
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

  constructor(scope: Construct, id: string, { plan, vaults, key }: WorkerTasksProps) {
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
    // The CDK grants the secrets by their names, and knows nothing of their key: without it no task would ever start.
    this.executionRole.addToPolicy(
      new PolicyStatement({
        actions: ['kms:Decrypt'],
        resources: [key.keyArn],
        conditions: { StringEquals: { 'kms:ViaService': `secretsmanager.${Stack.of(this).region}.amazonaws.com` } },
      }),
    );
    const logs = new LogGroup(this, 'Logs', {
      logGroupName: `/holdfast/${plan.name}/worker`,
      retention: RetentionDays.THREE_MONTHS,
      // Its name is fixed: one that stayed would stand in the way of the next deployment. The ledger keeps what matters.
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const define = (of: TaskParts): WorkerTask => this.#task(plan, of, logs);
    const inCloud = placesOfSources(plan).flatMap(({ source, where }) => (where === 'cloud' ? [source] : []));
    this.tasks = [
      ...inCloud.flatMap((source) => ofSource(plan, source, vaults).map(define)),
      ...[...copiedInAws(plan)].map(([source, routes]) =>
        define(ofCopies(plan, source, routes, vaults, inCloud.includes(source))),
      ),
    ];
  }

  #task(plan: Plan, { source, job, size, access, variables, postgres }: TaskParts, logs: LogGroup): WorkerTask {
    const definition = new FargateTaskDefinition(this, `${source}-${job}`, {
      family: taskFamily(plan.name, source, job),
      cpu: size.cpu,
      memoryLimitMiB: size.memoryMiB,
      ...(size.scratchGiB === undefined ? {} : { ephemeralStorageGiB: size.scratchGiB }),
      executionRole: this.executionRole,
      runtimePlatform: { cpuArchitecture: CpuArchitecture.X86_64, operatingSystemFamily: OperatingSystemFamily.LINUX },
      volumes: [{ name: 'scratch' }],
    });
    for (const one of access) definition.addToTaskRolePolicy(one);
    const container = definition.addContainer(CONTAINER, {
      image: ContainerImage.fromDockerImageAsset(workerImage(this, postgres)),
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

/** What tells the tasks apart. */
interface TaskParts extends Omit<WorkerTask, 'definition'> {
  readonly size: Omit<WorkerSize, 'scratchGiB'> & Partial<Pick<WorkerSize, 'scratchGiB'>>;
  readonly access: readonly PolicyStatement[];
  /** Whose tools the image has. */
  readonly postgres: PostgresSettings | undefined;
}

function ofSource(plan: Plan, source: string, vaults: ReadonlyMap<string, VaultPlace>): TaskParts[] {
  const settings = plan.sources[source];
  const names = new Set(settings?.schedule.flatMap(({ to }) => to));
  const places = [...vaults].flatMap(([name, vault]) => (names.has(name) ? [vault] : []));
  const parts = { source, size: workerSize(plan, source), postgres: settings?.postgres };
  const backup: TaskParts = {
    ...parts,
    job: 'backup',
    access: places.flatMap((vault) => writerAccess(vault, source)),
    variables: variablesOfSource(plan, source, 'no identity'),
  };
  const prove: TaskParts = {
    ...parts,
    job: 'prove',
    access: places.flatMap((vault) => proverAccess(vault, source)),
    variables: variablesOfSource(plan, source, 'identity'),
  };
  return settings?.prove === 'never' ? [backup] : [backup, prove];
}

/** @param isCloud its own tasks have an image already; else the plain one will do, whatever the source is */
function ofCopies(
  plan: Plan,
  source: string,
  routes: readonly CopyRoute[],
  vaults: ReadonlyMap<string, VaultPlace>,
  isCloud: boolean,
): TaskParts {
  const targets = new Set(routes.map(({ to }) => to));
  const names = new Set(routes.flatMap(({ from, to }) => [from, to]));
  const access = [...names].flatMap((name) => {
    const vault = vaults.get(name);
    if (!vault) return [];
    return targets.has(name) ? copiedToAccess(vault, source) : copiedFromAccess(vault, source);
  });
  return {
    source,
    job: 'replicate',
    size: COPIER,
    access,
    variables: variablesOfVaults(plan, names),
    postgres: isCloud ? plan.sources[source]?.postgres : undefined,
  };
}
