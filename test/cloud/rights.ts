import type { Permissions } from '#test/cloud/permissions';
import { ACCOUNT } from '#test/cloud/resolve';
import { type Authorise, AwsError, type UseKey } from '#test/servers/aws-stand-in';

/** A call that the policies of a deployment do not allow. */
export interface Denied {
  readonly who: string;
  readonly action: string;
  readonly resource: string;
  readonly context: Readonly<Record<string, string | string[]>>;
}

export interface Rights {
  /** Callers are names of roles, and services: `events.amazonaws.com`. */
  readonly authorise: Authorise;
  readonly useKey: UseKey;
  /** A service takes a role on. Throws as `authorise` does. */
  assume(service: string, roleArn: string, context?: Readonly<Record<string, string>>): Promise<void>;
  readonly denied: Denied[];
  /** All that was ever asked and allowed: `task events backup s3:GetObject`. */
  readonly used: ReadonlySet<string>;
}

export interface RightsOptions {
  /** As they are at the moment: a test may change a policy. */
  permissions(): Permissions;
  /** The key of each thing that has one, at the moment. */
  keys(): ReadonlyMap<string, string>;
  readonly region: string;
}

/** Each call of each role, held against its synthesised policies: least privilege by use. */
export function rightsOf({ permissions, keys, region }: RightsOptions): Rights {
  let known = new Map<string, Promise<boolean>>();
  let judge: Permissions | null = null;
  const denied: Denied[] = [];
  const used = new Set<string>();
  const authorise: Authorise = async (caller, action, resource, context = {}) => {
    const now = permissions();
    if (now !== judge) known = new Map();
    judge = now;
    const who = caller.endsWith('.amazonaws.com') ? caller : personOf(caller, now);
    const question = JSON.stringify([who, action, resource, context]);
    const answer = known.get(question) ?? now.allows(who, action, resource, context);
    known.set(question, answer);
    if (await answer) {
      used.add(`${who} ${action}`);
      return;
    }
    denied.push({ who, action, resource, context });
    throw new AwsError('AccessDeniedException', `${who} is not authorized to perform: ${action} on ${resource}`, 400);
  };
  return {
    authorise,
    denied,
    used,
    async useKey(caller, thing, actions, context = {}) {
      const key = keys().get(thing);
      const [, , service = ''] = thing.split(':');
      if (key === undefined) return;
      for (const action of actions)
        await authorise(caller, action, key, {
          'kms:ViaService': `${service}.${region}.amazonaws.com`,
          'kms:CallerAccount': ACCOUNT,
          ...context,
        });
    },
    assume: (service, roleArn, context = {}) =>
      authorise(service, 'sts:AssumeRole', roleArn, { 'aws:SourceAccount': ACCOUNT, ...context }),
  };
}

function personOf(role: string, { people }: Permissions): string {
  for (const [who, arn] of people) if (arn.endsWith(`:role/${role}`)) return who;
  throw new AwsError('UnrecognizedClientException', `nobody is called ${role}`, 403);
}
