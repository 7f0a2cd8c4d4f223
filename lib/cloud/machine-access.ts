import { CfnOutput } from 'aws-cdk-lib';
import { ManagedPolicy } from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import {
  proverAccess,
  retainAccess,
  settingsAccess,
  type VaultPlace,
  watcherAccess,
  writerAccess,
} from '#cloud/vault-access';
import type { Plan } from '#core/plan';
import { placesOfSources } from '#core/where';

export interface MachineAccessProps {
  readonly plan: Plan;
  /** By their names in the plan. */
  readonly vaults: ReadonlyMap<string, VaultPlace>;
}

/**
 * What the machine may do that runs the `here` sources into this plan's buckets: two policies to attach to its user or
 * to its IAM Roles Anywhere role. Writing alone, and what proves and keeps house besides.
 */
export class MachineAccess extends Construct {
  constructor(scope: Construct, id: string, { plan, vaults }: MachineAccessProps) {
    super(scope, id);
    const sources = placesOfSources(plan).filter(({ where }) => where === 'here');
    const pairs = sources.flatMap(({ source, vaults: names }) =>
      names.flatMap((name) => {
        const vault = vaults.get(name);
        return vault ? [{ source, vault }] : [];
      }),
    );
    if (pairs.length === 0) return;
    const places = [...new Set(pairs.map(({ vault }) => vault))];
    this.#policy(plan, 'writer', 'writes backups of this machine’s sources; reads no artifact, deletes nothing', [
      ...pairs.flatMap(({ source, vault }) => writerAccess(vault, source)),
    ]);
    this.#policy(plan, 'keeper', 'proves, watches and marks: for the machine that runs holdfast prove, watch, retain', [
      ...pairs.flatMap(({ source, vault }) => proverAccess(vault, source)),
      ...places.flatMap((vault) => [...watcherAccess(vault), ...retainAccess(vault), ...settingsAccess(vault)]),
    ]);
  }

  #policy(plan: Plan, name: string, description: string, statements: ReturnType<typeof writerAccess>): void {
    const policy = new ManagedPolicy(this, name, {
      managedPolicyName: `${plan.name}-machine-${name}`,
      description: `Holdfast: ${description.replaceAll('’', "'")}`,
      statements,
    });
    new CfnOutput(this, `${name}-arn`, { value: policy.managedPolicyArn });
  }
}
