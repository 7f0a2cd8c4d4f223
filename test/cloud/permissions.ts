import { runSimulation } from '@cloud-copilot/iam-simulate';
import { ACCOUNT, type Resolver, resolverOf } from '#test/cloud/resolve';
import { resourcesOf, type Synthesised, type Template } from '#test/cloud/synthesised';

/** What the roles of a synthesised deployment may do, asked of an IAM simulator. */
export interface Permissions {
  /** `task events backup`, `function retain`, `restorer`: the role's ARN. */
  roleOf(who: string): string;
  allows(
    who: string,
    action: string,
    resource: string,
    context?: Readonly<Record<string, string | string[]>>,
  ): Promise<boolean>;
}

/** As keys have it unless told: what a role may do with one is said by the role's own policy. */
const KEY_POLICY = {
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${ACCOUNT}:root` }, Action: 'kms:*', Resource: '*' }],
};

interface Policy {
  readonly name: string;
  readonly policy: unknown;
}

export function permissionsOf(synthesised: Synthesised, plan: string, region: string): Permissions {
  const { templates } = synthesised;
  const work = `${plan}-work`;
  const template = templates.get(work) as Template;
  const resolver = resolverOf(templates, work, region);
  const policies = policiesByRole(template, resolver);
  const bucketPolicies = policiesOfBuckets(templates, `${plan}-vault`, region);
  const roles = rolesByUser(template, resolver, plan);

  const roleOf = (who: string): string => {
    const role = roles.get(who);
    if (role === undefined) throw new Error(`no role of ${who}, want one of ${[...roles.keys()].join(', ')}`);
    return role;
  };
  return {
    roleOf,
    async allows(who, action, resource, context = {}) {
      const role = roleOf(who);
      const bucket = /^arn:aws:s3:::([^/]+)/.exec(resource)?.[1];
      const resourcePolicy = resource.startsWith('arn:aws:kms:')
        ? KEY_POLICY
        : bucket === undefined
          ? undefined
          : bucketPolicies.get(bucket);
      const found = await runSimulation(
        {
          request: {
            principal: role,
            action,
            resource: { resource, accountId: ACCOUNT },
            contextVariables: {
              'aws:SecureTransport': 'true',
              's3:TlsVersion': '1.3',
              'aws:PrincipalArn': role,
              ...context,
            },
          },
          identityPolicies: [...(policies.get(role) ?? [])],
          serviceControlPolicies: [],
          resourceControlPolicies: [],
          ...(resourcePolicy === undefined ? {} : { resourcePolicy }),
        },
        {},
      );
      if (found.resultType === 'error')
        throw new Error(`${who} ${action} ${resource}: ${JSON.stringify(found.errors)}`);
      return found.overallResult === 'Allowed';
    },
  };
}

function policiesByRole(template: Template, resolver: Resolver): Map<string, Policy[]> {
  const found = new Map<string, Policy[]>();
  for (const [id, { Properties }] of resourcesOf(template, 'AWS::IAM::Policy'))
    for (const role of (Properties?.['Roles'] ?? []) as unknown[]) {
      const arn = `arn:aws:iam::${ACCOUNT}:role/${resolver.text(role)}`;
      found.set(arn, [...(found.get(arn) ?? []), { name: id, policy: resolver.value(Properties?.['PolicyDocument']) }]);
    }
  return found;
}

function policiesOfBuckets(
  templates: ReadonlyMap<string, Template>,
  stack: string,
  region: string,
): Map<string, unknown> {
  const resolver = resolverOf(templates, stack, region);
  return new Map(
    resourcesOf(templates.get(stack) as Template, 'AWS::S3::BucketPolicy').map(([, { Properties }]) => [
      resolver.text(Properties?.['Bucket']),
      resolver.value(Properties?.['PolicyDocument']),
    ]),
  );
}

function rolesByUser(template: Template, resolver: Resolver, plan: string): Map<string, string> {
  const tasks = resourcesOf(template, 'AWS::ECS::TaskDefinition').flatMap(([, { Properties }]) => {
    const [, source, job] =
      new RegExp(`^${plan}-(.+)-(backup|prove)$`).exec(resolver.text(Properties?.['Family'])) ?? [];
    return [
      [`task ${source} ${job}`, resolver.text(Properties?.['TaskRoleArn'])] as const,
      ['execution', resolver.text(Properties?.['ExecutionRoleArn'])] as const,
    ];
  });
  const functions = resourcesOf(template, 'AWS::Lambda::Function').flatMap(([, { Properties }]) =>
    Properties?.['FunctionName'] === undefined
      ? []
      : [
          [
            `function ${resolver.text(Properties['FunctionName']).replace(`${plan}-`, '')}`,
            resolver.text(Properties['Role']),
          ] as const,
        ],
  );
  const restorer = ['restorer', `arn:aws:iam::${ACCOUNT}:role/${plan}-restorer`] as const;
  return new Map([...tasks, ...functions, restorer]);
}
