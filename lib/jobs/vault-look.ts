import { describeRule } from '#core/bucket-lifecycle';
import { endingUnmarked } from '#core/bucket-lifecycle-differences';
import { HoldfastError } from '#core/errors';
import type { Plan } from '#core/plan';
import type { Vault } from '#core/ports';
import type { VaultFacts } from '#core/vault-conditions';
import type { JobEnvironment } from '#jobs/environment';
import type { SourceLook } from '#jobs/source-look';
import { readVaultIdentity } from '#vault/identity';

/** Vaults that the schedules of these sources write, and those their copies go on to, in the plan's order. */
export function vaultsOfSources(sources: readonly string[], { plan: { plan } }: JobEnvironment): string[] {
  const used = new Set(sources.flatMap((name) => plan.sources[name]?.schedule.flatMap(({ to }) => to) ?? []));
  for (const name of used) {
    const replica = plan.vaults[name]?.replica?.vault;
    // A set gives what is added while it is walked.
    if (replica !== undefined) used.add(replica);
  }
  return Object.keys(plan.vaults).filter((name) => used.has(name));
}

/**
 * How a vault stands.
 * @param looks of the sources that were looked at: one of them may have found that the vault does not answer after all
 * @param compareClocks asks the vault's own clock; on a disk that writes a file and removes it
 */
export async function lookAtVault(
  name: string,
  looks: readonly SourceLook[],
  compareClocks: boolean,
  environment: JobEnvironment,
): Promise<VaultFacts> {
  const { plan, run } = environment;
  const nothing = { name, clockAheadSeconds: null, capacity: null, free: null, newest: null };
  let url = '';
  try {
    const vault = environment.vault(name);
    url = vault.url;
    await readVaultIdentity(vault, plan.plan.name);
    for (const { away } of looks) {
      const error = away.get(name);
      if (error) throw error;
    }
    const ahead = compareClocks ? run.clock.now().getTime() - (await vault.now()).getTime() : null;
    return {
      name,
      url,
      problem: null,
      clockAheadSeconds: ahead === null ? null : Math.round(ahead / 1000),
      capacity: (await vault.total?.()) ?? null,
      free: await vault.free(),
      newest: largestNewest(name, looks),
      endingRules: await endingRulesOf(vault, plan.plan),
    };
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return { ...nothing, url, problem: { message: error.message, hint: error.hint } };
  }
}

/** Null where nobody may look, or nothing answers: `check` says which right is lacking, and for a watch it is no alarm. */
async function endingRulesOf({ name, bucket }: Vault, plan: Plan): Promise<readonly string[] | null> {
  try {
    const seen = await bucket?.lifecycle();
    return seen && 'value' in seen ? endingUnmarked(plan, name, seen.value.rules).map(describeRule) : null;
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return null;
  }
}

function largestNewest(vault: string, looks: readonly SourceLook[]): VaultFacts['newest'] {
  const newest = looks.flatMap(({ facts, answered, bytes }) =>
    bytes && answered.some(({ name }) => name === vault) ? [{ source: facts.source, bytes: bytes.newest }] : [],
  );
  return newest.toSorted((a, b) => b.bytes - a.bytes)[0] ?? null;
}
