import type { Plan } from '#core/plan';
import { pathText } from '#core/plan-problem';
import type { CloudProblem } from '#core/where';

/**
 * Buckets that a deployment makes stand where it is deployed. A plan that puts one elsewhere would have a bucket made in
 * one region and looked for in another.
 */
export function regionProblems(plan: Plan, region: string): readonly CloudProblem[] {
  return Object.entries(plan.vaults).flatMap(([name, vault]): CloudProblem[] => {
    if (!('s3' in vault) || vault.endpoint !== undefined) return [];
    const { replica } = vault;
    if (replica?.account !== undefined && replica.region === undefined) {
      const path = ['vaults', name, 'replica'];
      return [
        {
          path,
          message: `${pathText(path)}: got account ${replica.account} alone, want the region of the copy beside it`,
          hint: `write replica: { region: ${region}, account: "${replica.account}" }, or another region`,
        },
      ];
    }
    if (vault.existing) return [];
    if (vault.region !== undefined && vault.region !== region) {
      const path = ['vaults', name, 'region'];
      return [
        {
          path,
          message: `${pathText(path)}: got ${vault.region}, want ${region}: the bucket is made where everything is deployed`,
          hint: `deploy there (cloud: { region: ${vault.region} }, or -c region=${vault.region}), or make the bucket yourself and write existing: true`,
        },
      ];
    }
    if (replica?.region === region && replica.account === undefined) {
      const path = ['vaults', name, 'replica', 'region'];
      return [
        {
          path,
          message: `${pathText(path)}: got ${region}, where the bucket itself is made, want another region`,
          hint: 'name another region, or the account that the copy is for',
        },
      ];
    }
    return [];
  });
}
