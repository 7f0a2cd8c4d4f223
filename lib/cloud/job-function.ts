import { AssetHashType, DockerImage, Duration, RemovalPolicy } from 'aws-cdk-lib';
import { type PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Architecture, Code, Function as LambdaFunction, LoggingFormat, Runtime } from 'aws-cdk-lib/aws-lambda';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { type FunctionName, ROOT, writeFunction } from '#cloud/function-bundle';
import { functionName as nameOf } from '#core/settings';

export interface JobFunctionProps {
  readonly planName: string;
  readonly planFile: string;
  readonly host: FunctionName;
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
  readonly host: JobFunctionProps['host'];
  readonly handler: LambdaFunction;
  /** Asynchronous invocations that failed three times. */
  readonly dead: Queue;

  constructor(scope: Construct, id: string, props: JobFunctionProps) {
    super(scope, id);
    this.host = props.host;
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
    this.handler = new LambdaFunction(this, 'Function', {
      functionName,
      description: `Holdfast ${props.planName}: ${props.host}`,
      code: codeOf(props.host, props.planFile),
      handler: 'index.handler',
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
    });
  }
}

/** Known by what comes out, so that an edit of a document or a test deploys no function anew. */
function codeOf(host: FunctionName, planFile: string): Code {
  return Code.fromAsset(ROOT, {
    assetHashType: AssetHashType.OUTPUT,
    bundling: {
      // Nobody runs them: they tell one function's output from another's.
      image: DockerImage.fromRegistry('none'),
      command: [host, planFile],
      local: {
        tryBundle(folder) {
          writeFunction(host, planFile, folder);
          return true;
        },
      },
    },
  });
}
