import type { S3Settings } from '#core/bucket-differences';
import { awsBuckets } from '#core/bucket-files';
import type { Plan } from '#core/plan';
import { pathText } from '#core/plan-problem';
import type { CloudProblem } from '#core/where';

/**
 * Vaults that share a bucket, under a prefix each. Only a bucket that is there already can be shared, and S3 copies it to
 * one second bucket alone: the names of both are the bucket's, and CloudFormation would make each twice.
 */
export function* sharedBucketProblems(plan: Plan): Generator<CloudProblem> {
  for (const { bucket, vaults } of awsBuckets(plan)) {
    const settings = (vault: string): S3Settings => plan.vaults[vault] as S3Settings;
    const [first, ...others] = vaults;
    if (others.length === 0) continue;
    const made = vaults.find((vault) => !settings(vault).existing);
    if (made !== undefined) {
      const path = ['vaults', made, 's3'];
      const other = made === first ? others[0] : first;
      yield {
        path,
        message: `${pathText(path)}: got ${bucket}, which vault ${other} lies in too, and a deployment makes a bucket for one vault alone`,
        hint: 'name another bucket; or make this one yourself, and write existing: true in each of its vaults',
      };
    }
    const [one, second] = vaults.filter((vault) => {
      const { replica } = settings(vault);
      return replica !== undefined && replica.vault === undefined;
    });
    if (made === undefined && second !== undefined) {
      const path = ['vaults', second, 'replica'];
      yield {
        path,
        message: `${pathText(path)}: the bucket ${bucket} has the replica of vault ${one} already, and can have no second one`,
        hint: `give ${second} a bucket of its own, or replica: { vault: NAME }`,
      };
    }
  }
}
