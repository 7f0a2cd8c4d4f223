import { join } from 'node:path';
import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import { type PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Architecture, LoggingFormat, Runtime } from 'aws-cdk-lib/aws-lambda';
import { NodejsFunction } from 'aws-cdk-lib/aws-lambda-nodejs';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { ALIASES, BUNDLING, bundledPlanFile, entryOf, ROOT } from '#cloud/function-bundle';
import { BUNDLED_PLAN, type HostName, functionName as nameOf } from '#core/settings';

export interface JobFunctionProps {
  readonly planName: string;
  readonly planFile: string;
  readonly host: Exclude<HostName, 'worker'>;
  readonly environment: Readonly<Record<string, string>>;
  readonly access: readonly PolicyStatement[];
  readonly timeout: Duration;
  readonly memoryMiB?: number;
}

/**
 * One Lambda of `functions/<host>/`: one bundle with the plan beside it, a role of its own, a log, a queue for what it
 * could not do.
 */
export class JobFunction extends Construct {
  readonly handler: NodejsFunction;
  /** Asynchronous invocations that failed three times. */
  readonly dead: Queue;

  constructor(scope: Construct, id: string, props: JobFunctionProps) {
    super(scope, id);
    const functionName = nameOf(props.planName, props.host);
    const logGroup = new LogGroup(this, 'Log', {
      logGroupName: `/holdfast/${props.planName}/${props.host}`,
      retention: RetentionDays.THREE_MONTHS,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const role = new Role(this, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    logGroup.grantWrite(role);
    // A plan without tasks, secrets or buckets has statements about nothing, which IAM does not take.
    for (const statement of props.access) if (statement.resources.length > 0) role.addToPolicy(statement);
    this.dead = new Queue(this, 'Dead', {
      queueName: `${functionName}-dead`,
      // By SQS itself: with a key of ours, whoever has something to put there and may not use the key loses it in silence.
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: Duration.days(14),
    });
    const plan = bundledPlanFile(props.planFile);
    this.handler = new NodejsFunction(this, 'Function', {
      functionName,
      description: `Holdfast ${props.planName}: ${props.host}`,
      entry: entryOf(props.host),
      handler: 'handler',
      runtime: Runtime.NODEJS_24_X,
      architecture: Architecture.ARM_64,
      memorySize: props.memoryMiB ?? 512,
      timeout: props.timeout,
      role,
      logGroup,
      loggingFormat: LoggingFormat.JSON,
      deadLetterQueue: this.dead,
      retryAttempts: 2,
      environment: { HOLDFAST_PLAN_NAME: props.planName, ...props.environment },
      projectRoot: ROOT,
      depsLockFilePath: join(ROOT, 'package-lock.json'),
      bundling: {
        ...BUNDLING,
        mainFields: [...BUNDLING.mainFields],
        // The SDK of the bundle, not whatever the runtime has this month.
        externalModules: [],
        bundleAwsSDK: true,
        esbuildArgs: Object.fromEntries(Object.entries(ALIASES).map(([name, file]) => [`--alias:${name}`, file])),
        commandHooks: {
          beforeBundling: () => [],
          beforeInstall: () => [],
          afterBundling: (_input, output) => [
            `cp ${shellWord(props.planFile)} ${shellWord(join(output, 'holdfast.yaml'))}`,
            `cp ${shellWord(plan)} ${shellWord(join(output, BUNDLED_PLAN))}`,
          ],
        },
      },
    });
  }
}

function shellWord(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
