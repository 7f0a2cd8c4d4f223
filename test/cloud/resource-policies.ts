import { ACCOUNT, type Resolver } from '#test/cloud/resolve';
import { resourcesOf, type Template } from '#test/cloud/synthesised';

type Stacks = readonly (readonly [Template, Resolver])[];

/** Of a key that none of these stacks makes: what a role may do with it is said by the role's own policy. */
const OF_ANOTHER_KEY = {
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${ACCOUNT}:root` }, Action: 'kms:*', Resource: '*' }],
};

/** By ARN: what a bucket, key, topic, queue, function or role itself says about who may do what with it. */
export function resourcePoliciesOf(stacks: Stacks): (resource: string) => unknown {
  const found = new Map<string, unknown>();
  const each = (type: string, act: (of: Record<string, unknown>, resolver: Resolver, id: string) => void): void => {
    for (const [template, resolver] of stacks)
      for (const [id, { Properties }] of resourcesOf(template, type))
        act(resolver.value(Properties) as Record<string, unknown>, resolver, id);
  };
  each('AWS::S3::BucketPolicy', ({ Bucket, PolicyDocument }) => {
    found.set(`arn:aws:s3:::${Bucket}`, PolicyDocument);
  });
  each('AWS::KMS::Key', ({ KeyPolicy }, resolver, id) => {
    found.set(resolver.text({ 'Fn::GetAtt': [id, 'Arn'] }), KeyPolicy);
  });
  each('AWS::SNS::TopicPolicy', ({ Topics, PolicyDocument }) => {
    for (const topic of Topics as string[]) found.set(topic, PolicyDocument);
  });
  each('AWS::SQS::QueuePolicy', ({ Queues, PolicyDocument }) => {
    for (const url of Queues as string[]) {
      const [, region, account, name] = /^https:\/\/sqs\.([^.]+)\.[^/]+\/(\d+)\/(.+)$/.exec(url) ?? [];
      found.set(`arn:aws:sqs:${region}:${account}:${name}`, PolicyDocument);
    }
  });
  each('AWS::IAM::Role', ({ AssumeRolePolicyDocument }, resolver, id) => {
    found.set(resolver.text({ 'Fn::GetAtt': [id, 'Arn'] }), AssumeRolePolicyDocument);
  });
  const permissions = new Map<string, object[]>();
  each('AWS::Lambda::Permission', (permission) => {
    const arn = String(permission['FunctionName']);
    permissions.set(arn, [...(permissions.get(arn) ?? []), statementOf(permission)]);
  });
  for (const [arn, Statement] of permissions) found.set(arn, { Version: '2012-10-17', Statement });
  return (resource) => {
    const bucket = /^arn:aws:s3:::[^/]+/.exec(resource)?.[0];
    return found.get(bucket ?? resource) ?? (resource.startsWith('arn:aws:kms:') ? OF_ANOTHER_KEY : undefined);
  };
}

/** As Lambda writes it into the function's policy. */
function statementOf({ Action, FunctionName, Principal, SourceArn, SourceAccount }: Record<string, unknown>): object {
  const conditions = {
    ...(SourceArn === undefined ? {} : { ArnLike: { 'aws:SourceArn': SourceArn } }),
    ...(SourceAccount === undefined ? {} : { StringEquals: { 'aws:SourceAccount': SourceAccount } }),
  };
  return {
    Effect: 'Allow',
    Principal: String(Principal).endsWith('.amazonaws.com') ? { Service: Principal } : { AWS: Principal },
    Action,
    Resource: FunctionName,
    ...(Object.keys(conditions).length === 0 ? {} : { Condition: conditions }),
  };
}
