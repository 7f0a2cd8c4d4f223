import { SEVERITIES } from '#core/alert';
import { nameProblems } from '#core/cloud-names';
import { regionProblems } from '#core/cloud-region';
import { sharedBucketProblems } from '#core/cloud-shared-buckets';
import type { Plan } from '#core/plan';
import { pathText } from '#core/plan-problem';
import { type CloudProblem, cloudProblems } from '#core/where';

/** All that keeps a plan from being deployed: `cdk synth` refuses it, and `check` says it before. */
export function deploymentProblems(plan: Plan, region: string): readonly CloudProblem[] {
  return [
    ...cloudProblems(plan),
    ...regionProblems(plan, region),
    ...sharedBucketProblems(plan),
    ...networkProblems(plan),
    ...topicProblems(plan, region),
    ...nameProblems(plan),
  ];
}

/** Half a network would be none: a VPC of the deployment's own is made where no subnets are named. */
function* networkProblems({ cloud }: Plan): Iterable<CloudProblem> {
  if (!cloud?.network || (cloud.network.subnetIds ?? []).length > 0) return;
  const path = ['cloud', 'network', 'subnetIds'];
  yield {
    path,
    message: `${pathText(path)}: got none, want the subnets that tasks are to run in`,
    hint: 'name them, or leave network out: then the deployment makes two public subnets of its own',
  };
}

/** What came through a topic of the deployment would be sent into it again, for ever. */
function* topicProblems({ name, alerts }: Plan, region: string): Iterable<CloudProblem> {
  for (const severity of SEVERITIES)
    for (const [index, channel] of (alerts?.[severity] ?? []).entries()) {
      if (!('sns' in channel)) continue;
      const [, , , where, , topic] = channel.sns.split(':');
      if (where !== region || !SEVERITIES.some((one) => topic === `${name}-${one}`)) continue;
      const path = ['alerts', severity, index, 'sns'];
      yield {
        path,
        message: `${pathText(path)}: got ${topic}, which the deployment makes and writes to by itself`,
        hint: 'take the line out, and subscribe to that topic what is to hear of it',
      };
    }
}
