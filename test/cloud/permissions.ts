import { runSimulation } from '@cloud-copilot/iam-simulate';
import { ACCOUNT, type Resolver, resolverOf } from '#test/cloud/resolve';
import { resourcePoliciesOf } from '#test/cloud/resource-policies';
import { resourcesOf, type Template } from '#test/cloud/synthesised';

/** What the roles of a synthesised deployment may do, and the services of AWS with it, asked of an IAM simulator. */
export interface Permissions {
  /** Everybody who has a role, and its ARN: `task events backup`, `function retain`, `schedules of watch`, `restorer`. */
  readonly people: ReadonlyMap<string, string>;
  /** A role's ARN. */
  roleOf(who: string): string;
  /** @param who has a role, or is a service: `cloudwatch.amazonaws.com` */
  allows(
    who: string,
    action: string,
    resource: string,
    context?: Readonly<Record<string, string | string[]>>,
  ): Promise<boolean>;
}

interface Policy {
  readonly name: string;
  readonly policy: unknown;
}

export function permissionsOf(
  { templates }: { readonly templates: ReadonlyMap<string, Template> },
  plan: string,
  region: string,
): Permissions {
  const stacks = [`${plan}-vault`, `${plan}-work`].map(
    (stack) => [templates.get(stack) as Template, resolverOf(templates, stack, region)] as const,
  );
  const [[vault, vaultResolver], [work, workResolver]] = stacks as [(typeof stacks)[0], (typeof stacks)[0]];
  const policies = new Map(stacks.flatMap(([template, resolver]) => [...policiesByRole(template, resolver)]));
  const resourcePolicy = resourcePoliciesOf(stacks);
  const people = new Map([
    ...peopleOfWork(work, workResolver, plan),
    ...resourcesOf(vault, 'AWS::S3::Bucket').flatMap(([, { Properties }]) => {
      const replication = Properties?.['ReplicationConfiguration'] as { readonly Role: unknown } | undefined;
      const bucket = vaultResolver.text(Properties?.['BucketName'] ?? 'logs');
      return replication ? [[`replication of ${bucket}`, vaultResolver.text(replication.Role)] as const] : [];
    }),
  ]);

  const roleOf = (who: string): string => {
    const role = people.get(who);
    if (role === undefined) throw new Error(`no role of ${who}, want one of ${[...people.keys()].join(', ')}`);
    return role;
  };
  return {
    people,
    roleOf,
    async allows(who, action, resource, context = {}) {
      const service = who.endsWith('.amazonaws.com');
      const principal = service ? who : roleOf(who);
      const found = await runSimulation(
        {
          request: {
            principal,
            action,
            resource: { resource, accountId: ACCOUNT },
            contextVariables: {
              'aws:SecureTransport': 'true',
              's3:TlsVersion': '1.3',
              ...(service ? {} : { 'aws:PrincipalArn': principal }),
              ...context,
            },
          },
          identityPolicies: [...(policies.get(principal) ?? [])],
          serviceControlPolicies: [],
          resourceControlPolicies: [],
          resourcePolicy: resourcePolicy(resource),
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
  const add = (role: string, name: string, document: unknown): void => {
    const arn = `arn:aws:iam::${ACCOUNT}:role/${role}`;
    found.set(arn, [...(found.get(arn) ?? []), { name, policy: resolver.value(document) }]);
  };
  // What is too long for a role's own policy overflows into a managed one.
  for (const type of ['AWS::IAM::Policy', 'AWS::IAM::ManagedPolicy'])
    for (const [id, { Properties }] of resourcesOf(template, type))
      for (const role of (Properties?.['Roles'] ?? []) as unknown[])
        add(resolver.text(role), id, Properties?.['PolicyDocument']);
  for (const [id, { Properties }] of resourcesOf(template, 'AWS::IAM::Role'))
    for (const inline of (Properties?.['Policies'] ?? []) as { PolicyName: string; PolicyDocument: unknown }[])
      add(resolver.text({ Ref: id }), inline.PolicyName, inline.PolicyDocument);
  return found;
}

function peopleOfWork(template: Template, resolver: Resolver, plan: string): (readonly [string, string])[] {
  const properties = (type: string): Record<string, unknown>[] =>
    resourcesOf(template, type).map(([, { Properties }]) => resolver.value(Properties) as Record<string, unknown>);
  const functions = properties('AWS::Lambda::Function').filter(({ FunctionName }) => FunctionName !== undefined);
  const schedules = properties('AWS::Scheduler::Schedule').map(
    ({ Target }) => Target as { Arn: string; RoleArn: string },
  );
  return [
    ...properties('AWS::ECS::TaskDefinition').flatMap(({ Family, TaskRoleArn, ExecutionRoleArn }) => [
      [taskOfFamily(String(Family), plan), String(TaskRoleArn)] as const,
      ['execution', String(ExecutionRoleArn)] as const,
    ]),
    ...functions.map(({ FunctionName, Role }) => [functionOfName(String(FunctionName), plan), String(Role)] as const),
    ...schedules.map(
      ({ Arn, RoleArn }) =>
        [functionOfName(Arn.split(':').at(-1) as string, plan).replace('function', 'schedules of'), RoleArn] as const,
    ),
    ...resourcesOf(template, 'Custom::Trigger').map(
      ([, { Properties }]) =>
        ['first watch', roleOfProvider(Properties?.['ServiceToken'], template, resolver)] as const,
    ),
    ['restorer', `arn:aws:iam::${ACCOUNT}:role/${plan}-restorer`] as const,
  ];
}

/** `shop-events-backup` is the `task events backup`. */
function taskOfFamily(family: string, plan: string): string {
  return family.replace(`${plan}-`, 'task ').replace(/-(\w+)$/, ' $1');
}

function functionOfName(name: string, plan: string): string {
  return name.replace(`${plan}-`, 'function ');
}

function roleOfProvider(token: unknown, template: Template, resolver: Resolver): string {
  const [id = ''] = (token as { readonly 'Fn::GetAtt': string[] })['Fn::GetAtt'];
  return resolver.text(template.Resources[id]?.Properties?.['Role']);
}
