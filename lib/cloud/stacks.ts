import type { App } from 'aws-cdk-lib';
import { ReplicaStack, replicatedVaults } from '#cloud/replica-stack';
import { awsVaults, VaultStack } from '#cloud/vault-stack';
import { WorkStack } from '#cloud/work-stack';
import { guessedMajors } from '#core/cloud-image';
import { deploymentProblems } from '#core/cloud-problems';
import { PlanInvalid } from '#core/errors';
import type { LoadedPlan } from '#core/plan-load';
import { support, type Unsupported } from '#core/plan-support';
import { placesOfSources } from '#core/where';

export interface BuiltStacks {
  /** For people: source → where → vaults, and what is likely to fail. */
  readonly lines: readonly string[];
}

/**
 * The stacks of a plan. Needs no credentials, no Docker, no look-ups.
 * @param region for a plan without `cloud:`, whose sources all run elsewhere: its buckets, alarms and policies alone
 * @throws PlanInvalid neither `cloud:` nor a region, or the plan asks for what AWS cannot do
 */
export function buildStacks(app: App, loaded: LoadedPlan, planFile: string, region: string | null = null): BuiltStacks {
  const { plan } = loaded;
  const where = plan.cloud?.region ?? region;
  if (where === null)
    throw new PlanInvalid(`${loaded.file} has no cloud: section`, {
      hint: 'add a line such as cloud: { region: eu-north-1 }, or let its sources run where they do: -c region=eu-north-1',
    });
  const problems = [...deploymentProblems(plan, where), ...notThereYet(plan)];
  const strangers = replicatedVaults(awsVaults(plan)).filter(({ account }) => account !== null && !plan.cloud?.account);
  if (strangers.length > 0)
    throw new PlanInvalid(
      `${loaded.at(['cloud'])} cloud.account: got nothing, want the account that replicates into ${strangers[0]?.account}`,
      {
        hint: 'write cloud: { account: "111122223333", … }',
      },
    );
  if (problems.length > 0)
    throw new PlanInvalid(problems.map(({ path, message }) => `${loaded.at(path)} ${message}`).join('\n'), {
      hint: problems[0]?.hint ?? null,
    });
  const account = plan.cloud?.account;
  const env = { region: where, ...accountOf(account) };
  const vaultStack = new VaultStack(app, `${plan.name}-vault`, { plan, env });
  for (const replicated of replicatedVaults(awsVaults(plan))) {
    const stack = new ReplicaStack(app, `${plan.name}-replica-${replicated.vault}`, {
      plan,
      replicated,
      from: replicated.account === null ? null : (account ?? null),
      env: { region: replicated.region, ...accountOf(replicated.account ?? account) },
    });
    // The first region's bucket names it: it has to be there before.
    vaultStack.addStackDependency(stack);
  }
  const work = new WorkStack(app, `${plan.name}-work`, { plan, planFile, vaultStack, env });
  work.addStackDependency(vaultStack);
  return { lines: [...tableOf(plan), ...guessedMajors(loaded)] };
}

/** What this version does not do, of sources whose every run would fail by it. `check` says it of all the others too. */
function notThereYet(plan: LoadedPlan['plan']): readonly Unsupported[] {
  const cloud = placesOfSources(plan).filter(({ where }) => where === 'cloud');
  const refused = cloud.flatMap(({ source }) => {
    const commands = plan.sources[source]?.prove === 'never' ? ['backup'] : ['backup', 'prove'];
    return commands.flatMap((command) => support(plan, source, command).refusals);
  });
  return [...new Map(refused.map((one) => [one.message, one])).values()];
}

function accountOf(account: string | undefined): { account?: string } {
  return account === undefined ? {} : { account };
}

function tableOf(plan: LoadedPlan['plan']): string[] {
  const rows = placesOfSources(plan);
  const width = Math.max(...rows.map(({ source }) => source.length));
  return rows.map(
    ({ source, where, why, vaults }) => `${source.padEnd(width)}  ${where.padEnd(5)}  ${vaults.join(', ')}  (${why})`,
  );
}
