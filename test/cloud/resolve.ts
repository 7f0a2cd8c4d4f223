import type { Resource, Template } from '#test/cloud/synthesised';

/**
 * What CloudFormation would put in place of a template's intrinsics, for one made-up account. Throws for one it does
 * not know: a test must not go on with an unresolved value.
 */

export const ACCOUNT = '111122223333';

export interface Resolver {
  /** The value without intrinsics. */
  value(value: unknown): unknown;
  text(value: unknown): string;
}

export function resolverOf(templates: ReadonlyMap<string, Template>, stack: string, region: string): Resolver {
  const template = templates.get(stack);
  if (!template) throw new Error(`no stack ${stack}`);
  const pseudo: Readonly<Record<string, unknown>> = {
    'AWS::AccountId': ACCOUNT,
    'AWS::Region': region,
    'AWS::Partition': 'aws',
    'AWS::URLSuffix': 'amazonaws.com',
    'AWS::StackName': stack,
    'AWS::NoValue': undefined,
  };
  const resolver: Resolver = { value, text };

  function resource(id: string): Resource {
    const found = template?.Resources[id];
    if (!found) throw new Error(`${stack}: no resource ${id}`);
    return found;
  }

  function value(given: unknown): unknown {
    if (Array.isArray(given)) return given.map(value).filter((one) => one !== undefined);
    if (given === null || typeof given !== 'object') return given;
    const entries = Object.entries(given);
    const [first] = entries;
    if (entries.length === 1 && first && (first[0] === 'Ref' || first[0].startsWith('Fn::')))
      return intrinsic(first[0], first[1]);
    return Object.fromEntries(
      entries.map(([key, inner]) => [key, value(inner)]).filter(([, inner]) => inner !== undefined),
    );
  }

  function text(given: unknown): string {
    const found = value(given);
    if (typeof found !== 'string')
      throw new Error(`want a text, got ${JSON.stringify(found)} of ${JSON.stringify(given)}`);
    return found;
  }

  function intrinsic(name: string, argument: unknown): unknown {
    switch (name) {
      case 'Ref':
        return String(argument) in pseudo
          ? pseudo[String(argument)]
          : refOf(String(argument), resource(String(argument)), resolver, region);
      case 'Fn::GetAtt': {
        const [id = '', ...attribute] = Array.isArray(argument) ? (argument as string[]) : String(argument).split('.');
        return attributeOf(id, attribute.join('.'), resource(id), resolver, region);
      }
      case 'Fn::Join': {
        const [separator, parts] = argument as [string, unknown[]];
        return parts.map((part) => text(part)).join(separator);
      }
      case 'Fn::Select': {
        const [index, list] = argument as [number | string, unknown];
        return (value(list) as unknown[])[Number(index)];
      }
      case 'Fn::Split': {
        const [separator, whole] = argument as [string, unknown];
        return text(whole).split(separator);
      }
      case 'Fn::GetAZs':
        return ['a', 'b', 'c'].map((letter) => `${region}${letter}`);
      case 'Fn::Sub': {
        if (typeof argument !== 'string') throw new Error(`Fn::Sub of ${JSON.stringify(argument)} is not known here`);
        return argument.replaceAll(/\$\{([^}]+)\}/g, (_whole, inner: string) =>
          text(inner.includes('.') ? { 'Fn::GetAtt': inner.split('.') } : { Ref: inner }),
        );
      }
      case 'Fn::ImportValue':
        return imported(text(argument));
      default:
        throw new Error(`${stack}: ${name} is not resolved: ${JSON.stringify(argument)}`);
    }
  }

  function imported(name: string): unknown {
    for (const [other, { Outputs = {} }] of templates)
      for (const output of Object.values(Outputs)) {
        if (!output.Export) continue;
        const theirs = resolverOf(templates, other, region);
        if (theirs.text(output.Export.Name) === name) return theirs.value(output.Value);
      }
    throw new Error(`${stack}: nobody exports ${name}`);
  }

  return resolver;
}

/** What `Ref` gives for the types the stacks hold: a name, or an ARN. */
function refOf(id: string, { Type, Properties = {} }: Resource, resolver: Resolver, region: string): string {
  const named = (key: string): string => (Properties[key] === undefined ? id : resolver.text(Properties[key]));
  const arn = (service: string, rest: string): string => `arn:aws:${service}:${region}:${ACCOUNT}:${rest}`;
  switch (Type) {
    case 'AWS::S3::Bucket':
      return named('BucketName').toLowerCase();
    case 'AWS::Lambda::Function':
      return named('FunctionName');
    case 'AWS::IAM::Role':
      return named('RoleName');
    case 'AWS::SNS::Topic':
      return arn('sns', named('TopicName'));
    case 'AWS::SQS::Queue':
      return `https://sqs.${region}.amazonaws.com/${ACCOUNT}/${named('QueueName')}`;
    case 'AWS::ECS::Cluster':
      return named('ClusterName');
    case 'AWS::ECS::TaskDefinition':
      return arn('ecs', `task-definition/${named('Family')}:1`);
    case 'AWS::SecretsManager::Secret':
      return arn('secretsmanager', `secret:${named('Name')}-AbCdEf`);
    case 'AWS::Logs::LogGroup':
      return named('LogGroupName');
    case 'AWS::Scheduler::ScheduleGroup':
      return named('Name');
    case 'AWS::EC2::Subnet':
    case 'AWS::EC2::VPC':
    case 'AWS::EC2::SecurityGroup':
    case 'AWS::KMS::Key':
      return id;
    case 'AWS::Lambda::Version':
      return arn('lambda', `function:${resolver.text(Properties['FunctionName'])}:1`);
    // Without a name of ours CloudFormation makes one up.
    case 'AWS::Events::Rule':
      return named('Name');
    case 'AWS::CloudWatch::Alarm':
      return named('AlarmName');
    default:
      throw new Error(`Ref of a ${Type} is not known here (${id})`);
  }
}

function attributeOf(id: string, attribute: string, resource: Resource, resolver: Resolver, region: string): string {
  const { Type } = resource;
  const name = (): string => refOf(id, resource, resolver, region);
  const arn = (service: string, rest: string): string => `arn:aws:${service}:${region}:${ACCOUNT}:${rest}`;
  switch (`${Type}.${attribute}`) {
    case 'AWS::S3::Bucket.Arn':
      return `arn:aws:s3:::${name()}`;
    case 'AWS::IAM::Role.Arn':
      return `arn:aws:iam::${ACCOUNT}:role/${name()}`;
    case 'AWS::KMS::Key.Arn':
      return arn('kms', `key/${id}`);
    case 'AWS::Lambda::Function.Arn':
      return arn('lambda', `function:${name()}`);
    case 'AWS::SQS::Queue.Arn':
      return arn('sqs', name().split('/').at(-1) as string);
    case 'AWS::SQS::Queue.QueueName':
      return name().split('/').at(-1) as string;
    case 'AWS::ECS::Cluster.Arn':
      return arn('ecs', `cluster/${name()}`);
    case 'AWS::Logs::LogGroup.Arn':
      return arn('logs', `log-group:${name()}:*`);
    case 'AWS::Scheduler::ScheduleGroup.Arn':
      return arn('scheduler', `schedule-group/${name()}`);
    case 'AWS::Events::Rule.Arn':
      return arn('events', `rule/${name()}`);
    case 'AWS::CloudWatch::Alarm.Arn':
      return arn('cloudwatch', `alarm:${name()}`);
    case 'AWS::EC2::SecurityGroup.GroupId':
      return id;
    case 'AWS::SNS::Topic.TopicName':
      return name().split(':').at(-1) as string;
    default:
      throw new Error(`${Type}.${attribute} is not known here (${id})`);
  }
}
