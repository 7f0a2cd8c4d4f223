import { CfnOutput } from 'aws-cdk-lib';
import { ManagedPolicy, type PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import {
  proverAccess,
  retainAccess,
  settingsAccess,
  type VaultPlace,
  watcherAccess,
  writerAccess,
} from '#cloud/vault-access';
import { awsVaults } from '#cloud/vault-stack';
import type { Plan } from '#core/plan';
import { placesOfSources } from '#core/where';

/** Of the 6,144 characters that IAM takes in one managed policy; the rest stands around the statements. */
const POLICY_CHARACTERS = 6000;
/** Of a key, which is not known yet. Those of us-gov-west-1 are the longest. */
const LONGEST_ARN = 'x'.repeat(86);

export interface MachineAccessProps {
  readonly plan: Plan;
  /** By their names in the plan. */
  readonly vaults: ReadonlyMap<string, VaultPlace>;
}

/**
 * What the machine may do that runs the `here` sources into this plan's buckets: two policies to attach to its user or
 * to its IAM Roles Anywhere role. Writing alone, and what proves and keeps house besides. Of many sources each goes on in
 * a second one, and a third.
 */
export class MachineAccess extends Construct {
  /** What stands for each bucket's ARN until it is deployed, and the ARN. */
  readonly #arns: ReadonlyMap<string, string>;

  constructor(scope: Construct, id: string, { plan, vaults }: MachineAccessProps) {
    super(scope, id);
    this.#arns = new Map(
      awsVaults(plan).flatMap(([name, { s3 }]) => {
        const arn = vaults.get(name)?.bucket.bucketArn;
        return arn === undefined ? [] : [[arn, `arn:aws-us-gov:s3:::${s3}`] as const];
      }),
    );
    const sources = placesOfSources(plan).filter(({ where }) => where === 'here');
    const pairs = sources.flatMap(({ source, vaults: names }) =>
      names.flatMap((name) => {
        const vault = vaults.get(name);
        return vault ? [{ source, vault }] : [];
      }),
    );
    if (pairs.length === 0) return;
    const places = [...new Set(pairs.map(({ vault }) => vault))];
    this.#policies(plan, 'writer', 'writes backups of this machine’s sources; reads no artifact, deletes nothing', [
      ...pairs.map(({ source, vault }) => writerAccess(vault, source)),
    ]);
    this.#policies(
      plan,
      'keeper',
      'proves, watches and marks: for the machine that runs holdfast prove, watch, retain',
      [
        ...pairs.map(({ source, vault }) => proverAccess(vault, source)),
        ...places.map((vault) => [...watcherAccess(vault), ...retainAccess(vault), ...settingsAccess(vault)]),
      ],
    );
  }

  /** @param parts each of them stays in one policy */
  #policies(plan: Plan, name: string, description: string, parts: readonly (readonly PolicyStatement[])[]): void {
    const policies: PolicyStatement[][] = [[]];
    for (const part of parts) {
      const longer = [...(policies.at(-1) ?? []), ...part];
      if (this.#lengthOf(longer) > POLICY_CHARACTERS) policies.push([...part]);
      else policies[policies.length - 1] = longer;
    }
    for (const [index, statements] of policies.entries())
      this.#policy(plan, index === 0 ? name : `${name}-${index + 1}`, description, statements);
  }

  #policy(plan: Plan, name: string, description: string, statements: PolicyStatement[]): void {
    const policy = new ManagedPolicy(this, name, {
      managedPolicyName: `${plan.name}-machine-${name}`,
      description: `Holdfast: ${description.replaceAll('’', "'")}`,
      statements,
    });
    new CfnOutput(this, `${name}-arn`, { value: policy.managedPolicyArn });
  }
  /** In characters, once the CDK has merged what differs in its resources alone (`minimizePolicies`). */
  #lengthOf(statements: readonly PolicyStatement[]): number {
    const merged = Map.groupBy(
      statements.map((statement) => statement.toStatementJson() as { Resource?: unknown }),
      ({ Resource: _resource, ...rest }) => JSON.stringify(rest),
    );
    let text = [...merged]
      .map(([rest, all]) => `${rest},"Resource":${JSON.stringify([...new Set(all.flatMap((one) => one.Resource))])},`)
      .join('');
    for (const [token, arn] of this.#arns) text = text.replaceAll(token, arn);
    return text.replaceAll(/\$\{Token\[[^\]]*\]\}/g, LONGEST_ARN).length;
  }
}
