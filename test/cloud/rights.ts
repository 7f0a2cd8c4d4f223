import type { Deployment } from '#test/cloud/deployment';
import type { Permissions } from '#test/cloud/permissions';
import { type Authorise, AwsError } from '#test/servers/aws-stand-in';

/** A call that the policies of a deployment do not allow. */
export interface Denied {
  readonly who: string;
  readonly action: string;
  readonly resource: string;
  readonly context: Readonly<Record<string, string | string[]>>;
}

export interface Rights {
  /** Callers are names of roles. */
  readonly authorise: Authorise;
  readonly denied: Denied[];
  /** All that was ever asked and allowed: `task events backup s3:GetObject`. */
  readonly used: ReadonlySet<string>;
}

/** Each call of each role, held against its synthesised policies: least privilege by use. */
export function rightsOf(permissions: Permissions, deployment: Deployment, plan: string): Rights {
  const people = [
    ...[...deployment.functions.keys()].map((name) => `function ${name}`),
    ...[...deployment.tasks.keys()].map((family) => family.replace(`${plan}-`, 'task ').replace(/-(\w+)$/, ' $1')),
    'execution',
  ];
  const whoIs = new Map(people.map((who) => [permissions.roleOf(who).split('/').at(-1), who]));
  const known = new Map<string, Promise<boolean>>();
  const denied: Denied[] = [];
  const used = new Set<string>();
  return {
    denied,
    used,
    async authorise(caller, action, resource, context = {}) {
      const who = whoIs.get(caller);
      if (who === undefined) throw new AwsError('UnrecognizedClientException', `nobody is called ${caller}`, 403);
      const question = JSON.stringify([who, action, resource, context]);
      const answer = known.get(question) ?? permissions.allows(who, action, resource, context);
      known.set(question, answer);
      if (await answer) {
        used.add(`${who} ${action}`);
        return;
      }
      denied.push({ who, action, resource, context });
      throw new AwsError('AccessDeniedException', `${who} is not authorized to perform: ${action} on ${resource}`, 400);
    },
  };
}
