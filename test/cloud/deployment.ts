import { join } from 'node:path';
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
}

export interface DeployedTask extends StoodDefinition {
  readonly taskRole: string;
  readonly executionRole: string;
  /** The image's own context. */
  readonly image: string;
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
  /** What the schedule of a source sends to which function at a time. */
  scheduled(source: string, at: string): { readonly name: string; readonly event: unknown };
  /** Functions that get an event of the bus. */
  listeners(event: object): readonly string[];
  /** Functions that get a topic's messages. */
  subscribers(topicArn: string): readonly string[];
}

export function deploymentOf(synthesised: Synthesised, plan: string, region: string): Deployment {
  const { templates, directory } = synthesised;
  const stack = `${plan}-work`;
  const work = templates.get(stack) as Template;
  const resolver = resolverOf(templates, stack, region);
  const functions = new Map(
    resourcesOf(work, 'AWS::Lambda::Function')
      // Those without a name are the CDK's own, for its triggers.
      .filter(([, { Properties }]) => Properties?.['FunctionName'] !== undefined)
      .map(([id, resource]) => {
        const deployed = functionOf(id, resource, resolver, directory);
        return [deployed.name.replace(`${plan}-`, ''), deployed] as const;
      }),
  );
  const nameOf = new Map([...functions].map(([name, { arn }]) => [arn, name]));
  const named = (arn: string): string => {
    const name = nameOf.get(arn);
    if (name === undefined) throw new Error(`no function ${arn}`);
    return name;
  };
  /** By its own policy a function is open to a service. */
  const openTo = (service: string, arn: string): string => {
    const grants = resourcesOf(work, 'AWS::Lambda::Permission').map(([, { Properties = {} }]) => Properties);
    const grant = grants.find(({ FunctionName, Principal, Action }) =>
      [resolver.text(FunctionName) === arn, Principal === service, Action === 'lambda:InvokeFunction'].every(Boolean),
    );
    if (!grant) throw new Error(`${service} may not invoke ${arn}`);
    return named(arn);
  };
  const tasks = resourcesOf(work, 'AWS::ECS::TaskDefinition').map(([id, resource]) =>
    taskOf(id, resource, resolver, directory),
  );
  const [[cluster] = ['']] = resourcesOf(work, 'AWS::ECS::Cluster');
  const schedules = valuesOf(work, 'AWS::Scheduler::Schedule', resolver).map(
    ({ Target }) => Target as { readonly Arn: string; readonly Input: string },
  );
  const rules = valuesOf(work, 'AWS::Events::Rule', resolver);
  const subscriptions = [...templates.keys()].flatMap((name) =>
    valuesOf(templates.get(name) as Template, 'AWS::SNS::Subscription', resolverOf(templates, name, region)),
  );
  return {
    clusterArn: resolver.text({ 'Fn::GetAtt': [cluster, 'Arn'] }),
    functions,
    tasks: new Map(tasks.map((task) => [task.family, task])),
    secrets: secretsOf(templates, region),
    scheduled(source, at) {
      const found = schedules.find(({ Input }) => Input.includes(`"source":"${source}"`));
      if (!found) throw new Error(`no schedule of ${source}`);
      return {
        name: named(found.Arn),
        event: JSON.parse(found.Input.replaceAll('<aws.scheduler.scheduled-time>', at)) as unknown,
      };
    },
    listeners: (event) =>
      rules
        .filter(({ EventPattern }) => matches(EventPattern, event))
        .flatMap(({ Targets }) =>
          (Targets as { readonly Arn: string }[]).map(({ Arn }) => openTo('events.amazonaws.com', Arn)),
        ),
    subscribers: (topicArn) =>
      subscriptions
        .filter(({ TopicArn, Protocol }) => TopicArn === topicArn && Protocol === 'lambda')
        .map(({ Endpoint }) => openTo('sns.amazonaws.com', String(Endpoint))),
  };
}

function valuesOf(template: Template, type: string, resolver: Resolver): readonly Record<string, unknown>[] {
  return resourcesOf(template, type).map(([, { Properties }]) => resolver.value(Properties) as Record<string, unknown>);
}

function functionOf(
  id: string,
  { Properties = {} }: Resource,
  resolver: Resolver,
  directory: string,
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
  };
}

interface ContainerDefinition {
  readonly Name: string;
  readonly Image: string;
  readonly Environment?: readonly { readonly Name: string; readonly Value: string }[];
  readonly Secrets?: readonly { readonly Name: string; readonly ValueFrom: string }[];
}

function taskOf(id: string, { Properties = {} }: Resource, resolver: Resolver, directory: string): DeployedTask {
  const [container] = resolver.value(Properties['ContainerDefinitions']) as [ContainerDefinition];
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
    environment: Object.fromEntries((container.Environment ?? []).map(({ Name, Value }) => [Name, Value])),
    secrets: new Map((container.Secrets ?? []).map(({ Name, ValueFrom }) => [Name, ValueFrom])),
  };
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

/** As EventBridge matches: each list is what a value may be. */
function matches(pattern: unknown, event: unknown): boolean {
  if (Array.isArray(pattern)) return pattern.includes(event);
  return Object.entries(pattern as object).every(([key, inner]) =>
    matches(inner, (event as Record<string, unknown> | undefined)?.[key]),
  );
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
