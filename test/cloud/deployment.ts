import { join } from 'node:path';
import {
  alarmOf,
  bucketOf,
  type DeployedAlarm,
  type DeployedBucket,
  type DeployedRule,
  type DeployedSchedule,
  type DeployedTarget,
  ruleOf,
  scheduleOf,
  valuesOf,
} from '#test/cloud/deployed-services';
import { matchesPattern } from '#test/cloud/event-pattern';
import { ACCOUNT, type Resolver, resolverOf } from '#test/cloud/resolve';
import { type Resource, resourcesOf, type Synthesised, type Template } from '#test/cloud/synthesised';
import type { StoodDefinition } from '#test/servers/ecs-stand-in';

/** What a synthesised deployment would put into an account, with every intrinsic resolved. */

export interface DeployedFunction {
  readonly name: string;
  readonly arn: string;
  readonly role: string;
  /** Of the real asset. */
  readonly directory: string;
  readonly handler: string;
  readonly memoryMiB: number;
  readonly seconds: number;
  readonly environment: Readonly<Record<string, string>>;
  /** ARN of its log group. */
  readonly log: string;
  /** Of an asynchronous invocation, the first one included. */
  readonly attempts: number;
  /** ARN of the queue for what failed at every attempt. */
  readonly deadLetters: string | null;
}

export interface DeployedTask extends StoodDefinition {
  readonly taskRole: string;
  readonly executionRole: string;
  /** The image's own context. */
  readonly image: string;
  /** ARN of the repository that it is pulled from. */
  readonly repository: string;
  /** ARN of a stream of its log, for a task of this id. */
  logStream(task: string): string;
  readonly environment: Readonly<Record<string, string>>;
  /** Variable → the secret's ARN. */
  readonly secrets: ReadonlyMap<string, string>;
}

export interface Deployment {
  readonly clusterArn: string;
  /** By name, without the plan's: `start-job`. */
  readonly functions: ReadonlyMap<string, DeployedFunction>;
  /** By family. */
  readonly tasks: ReadonlyMap<string, DeployedTask>;
  /** ARN by name. */
  readonly secrets: ReadonlyMap<string, string>;
  /** ARNs. */
  readonly topics: ReadonlySet<string>;
  readonly schedules: readonly DeployedSchedule[];
  readonly alarms: readonly DeployedAlarm[];
  /** By name. */
  readonly buckets: ReadonlyMap<string, DeployedBucket>;
  /** What runs once at the end of a deployment: who invokes which function's version. */
  readonly firstWatch: { readonly role: string; readonly function: string };
  /** The function of an ARN. */
  functionOf(arn: string): DeployedFunction;
  /** Who gets an event of the bus. */
  listeners(event: object): readonly DeployedTarget[];
  /** ARNs of the functions that get a topic's messages. */
  subscribers(topicArn: string): readonly string[];
}

export function deploymentOf(synthesised: Synthesised, plan: string, region: string): Deployment {
  const { templates, directory } = synthesised;
  const stack = `${plan}-work`;
  const work = templates.get(stack) as Template;
  const vault = templates.get(`${plan}-vault`) as Template;
  const resolver = resolverOf(templates, stack, region);
  const vaultResolver = resolverOf(templates, `${plan}-vault`, region);
  const attempts = new Map(
    valuesOf(work, 'AWS::Lambda::EventInvokeConfig', resolver).map(({ FunctionName, MaximumRetryAttempts }) => [
      FunctionName,
      1 + Number(MaximumRetryAttempts),
    ]),
  );
  const functions = new Map(
    resourcesOf(work, 'AWS::Lambda::Function')
      // Those without a name are the CDK's own, for its triggers.
      .filter(([, { Properties }]) => Properties?.['FunctionName'] !== undefined)
      .map(([id, resource]) => {
        const deployed = functionOf(id, resource, resolver, directory, attempts);
        return [deployed.name.replace(`${plan}-`, ''), deployed] as const;
      }),
  );
  const tasks = resourcesOf(work, 'AWS::ECS::TaskDefinition').map(([id, resource]) =>
    taskOf(id, resource, resolver, directory),
  );
  const [[cluster] = ['']] = resourcesOf(work, 'AWS::ECS::Cluster');
  const rules: readonly DeployedRule[] = resourcesOf(work, 'AWS::Events::Rule').map(([id]) =>
    ruleOf(id, work, resolver),
  );
  const subscriptions = [...templates.keys()].flatMap((name) =>
    valuesOf(templates.get(name) as Template, 'AWS::SNS::Subscription', resolverOf(templates, name, region)),
  );
  return {
    clusterArn: resolver.text({ 'Fn::GetAtt': [cluster, 'Arn'] }),
    functions,
    tasks: new Map(tasks.map((task) => [task.family, task])),
    secrets: secretsOf(templates, region),
    topics: new Set(resourcesOf(vault, 'AWS::SNS::Topic').map(([id]) => vaultResolver.text({ Ref: id }))),
    schedules: resourcesOf(work, 'AWS::Scheduler::Schedule').map(([id]) => scheduleOf(id, work, resolver)),
    alarms: resourcesOf(work, 'AWS::CloudWatch::Alarm').flatMap(([id]) => alarmOf(id, work, resolver) ?? []),
    buckets: new Map(
      resourcesOf(vault, 'AWS::S3::Bucket')
        .map(([id]) => bucketOf(id, vault, vaultResolver))
        .map((bucket) => [bucket.name, bucket]),
    ),
    firstWatch: firstWatchOf(work, resolver),
    functionOf(arn) {
      for (const deployed of functions.values()) if (deployed.arn === arn) return deployed;
      throw new Error(`no function ${arn}`);
    },
    listeners: (event) =>
      rules.filter(({ pattern }) => matchesPattern(pattern, event)).flatMap(({ targets }) => targets),
    subscribers: (topicArn) =>
      subscriptions
        .filter(({ TopicArn, Protocol }) => TopicArn === topicArn && Protocol === 'lambda')
        .map(({ Endpoint }) => String(Endpoint)),
  };
}

function functionOf(
  id: string,
  { Properties = {} }: Resource,
  resolver: Resolver,
  directory: string,
  attempts: ReadonlyMap<unknown, number>,
): DeployedFunction {
  const code = Properties['Code'] as { readonly S3Key: unknown };
  const environment = (Properties['Environment'] as { readonly Variables?: unknown } | undefined)?.Variables ?? {};
  return {
    name: resolver.text(Properties['FunctionName']),
    arn: resolver.text({ 'Fn::GetAtt': [id, 'Arn'] }),
    role: nameOfRole(resolver.text(Properties['Role'])),
    directory: join(directory, `asset.${resolver.text(code.S3Key).replace(/\.zip$/, '')}`),
    handler: resolver.text(Properties['Handler']),
    memoryMiB: Number(Properties['MemorySize']),
    seconds: Number(Properties['Timeout']),
    environment: texts(resolver.value(environment)),
    log: arnOfLog(resolver, (resolver.value(Properties['LoggingConfig']) as { readonly LogGroup: string }).LogGroup),
    attempts: attempts.get(resolver.text(Properties['FunctionName'])) ?? 3,
    deadLetters:
      (resolver.value(Properties['DeadLetterConfig']) as { TargetArn?: string } | undefined)?.TargetArn ?? null,
  };
}

interface ContainerDefinition {
  readonly Name: string;
  readonly Image: string;
  readonly Environment?: readonly { readonly Name: string; readonly Value: string }[];
  readonly Secrets?: readonly { readonly Name: string; readonly ValueFrom: string }[];
  readonly LogConfiguration: { readonly LogDriver: string; readonly Options: Readonly<Record<string, string>> };
}

function taskOf(id: string, { Properties = {} }: Resource, resolver: Resolver, directory: string): DeployedTask {
  const [container] = resolver.value(Properties['ContainerDefinitions']) as [ContainerDefinition];
  const { Options: options } = container.LogConfiguration;
  const taskRoleArn = resolver.text(Properties['TaskRoleArn']);
  const executionRoleArn = resolver.text(Properties['ExecutionRoleArn']);
  return {
    family: resolver.text(Properties['Family']),
    arn: resolver.text({ Ref: id }),
    container: container.Name,
    taskRoleArn,
    executionRoleArn,
    taskRole: nameOfRole(taskRoleArn),
    executionRole: nameOfRole(executionRoleArn),
    image: join(directory, `asset.${container.Image.split(':').at(-1)}`),
    repository: repositoryOf(container.Image),
    logStream: (task) =>
      `${arnOfLog(resolver, options['awslogs-group'] ?? '')}:log-stream:${options['awslogs-stream-prefix']}/${container.Name}/${task}`,
    environment: Object.fromEntries((container.Environment ?? []).map(({ Name, Value }) => [Name, Value])),
    secrets: new Map((container.Secrets ?? []).map(({ Name, ValueFrom }) => [Name, ValueFrom])),
  };
}

/** `111122223333.dkr.ecr.eu-north-1.amazonaws.com/assets:0123` is pulled from the repository `assets`. */
function repositoryOf(image: string): string {
  const [, account, region, name] = /^(\d+)\.dkr\.ecr\.([^.]+)\.amazonaws\.com\/(.+):[^:]+$/.exec(image) ?? [];
  if (name === undefined) throw new Error(`the image ${image} is in no repository of ECR`);
  return `arn:aws:ecr:${region}:${account}:repository/${name}`;
}

function arnOfLog(resolver: Resolver, group: string): string {
  return `arn:aws:logs:${resolver.text({ Ref: 'AWS::Region' })}:${ACCOUNT}:log-group:${group}`;
}

function secretsOf(templates: ReadonlyMap<string, Template>, region: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [stack, template] of templates) {
    const resolver = resolverOf(templates, stack, region);
    for (const [id, { Properties = {} }] of resourcesOf(template, 'AWS::SecretsManager::Secret')) {
      const name = resolver.text(Properties['Name']);
      if (Properties['GenerateSecretString'] ?? Properties['SecretString'])
        throw new Error(`${name} would be made with a value that nobody put there`);
      found.set(name, resolver.text({ Ref: id }));
    }
  }
  return found;
}

function firstWatchOf(work: Template, resolver: Resolver): Deployment['firstWatch'] {
  const [[, { Properties = {} }]] = resourcesOf(work, 'Custom::Trigger') as [readonly [string, Resource]];
  const [provider = ''] = (Properties['ServiceToken'] as { readonly 'Fn::GetAtt': string[] })['Fn::GetAtt'];
  return {
    role: nameOfRole(resolver.text(work.Resources[provider]?.Properties?.['Role'])),
    function: resolver.text(Properties['HandlerArn']),
  };
}

function nameOfRole(arn: string): string {
  const [, name] = new RegExp(`^arn:aws:iam::${ACCOUNT}:role/(.+)$`).exec(arn) ?? [];
  if (name === undefined) throw new Error(`no role: ${arn}`);
  return name;
}

function texts(value: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries(value as object).map(([name, text]) => {
      if (typeof text !== 'string') throw new Error(`${name} is no text: ${JSON.stringify(text)}`);
      return [name, text];
    }),
  );
}
