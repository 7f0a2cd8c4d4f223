import { possibleVaults } from '#core/copy-rules';
import { HoldfastError } from '#core/errors';
import { objectivesOf } from '#core/objectives';
import type { Source } from '#core/plan';
import { settingsIn } from '#core/retention-settings';
import { tiersOf } from '#core/tiers';
import type { JobEnvironment } from '#jobs/environment';
import { vaultsOf } from '#jobs/home';
import { newestProven } from '#jobs/newest-proven';
import type { RetainRequest } from '#jobs/retain-result';
import { readVaultIdentity } from '#vault/identity';

/** What retention must know of a source beside what lies in the vault it works on. */
export interface SourceFacts {
  /** Null: the source has left the plan. */
  readonly settings: Source | null;
  /** For a vault that no schedule writes any more: its newest proven backup in those that are written. */
  readonly provenElsewhere: Date | null;
  /** Why nothing of it may be removed. */
  readonly stop: string | null;
}

/** Asks other vaults only where that is needed. */
export function factsFor(
  request: RetainRequest,
  environment: JobEnvironment,
): (source: string, vault: string) => Promise<SourceFacts> {
  const { plan } = environment.plan;
  const now = environment.run.clock.now();
  let planIsAlive: Promise<boolean> | null = null;
  return async (source, vault) => {
    const own = Object.hasOwn(plan.sources, source) ? (plan.sources[source] ?? null) : null;
    const settings = own && settingsIn(plan, own, vault);
    if (request.at) return { settings, provenElsewhere: null, stop: null };
    if (!settings) {
      planIsAlive ??= anySourceIsFresh(environment);
      const stop = (await planIsAlive)
        ? null
        : 'it has left the plan, and no source of the plan has a proven backup younger than its RPO';
      return { settings, provenElsewhere: null, stop };
    }
    const written = new Set(
      settings.schedule.flatMap(tiersOf).flatMap((tier) => [...possibleVaults(plan, source, tier, [])]),
    );
    if (written.has(vault)) return { settings, provenElsewhere: null, stop: null };
    return { settings, provenElsewhere: await newestIn(source, now, environment), stop: null };
  };
}

/** When the newest proven backup of a source was taken, whichever of its vaults has it; null: none, or none answers. */
async function newestIn(source: string, now: Date, environment: JobEnvironment): Promise<Date | null> {
  const settings = environment.plan.plan.sources[source];
  if (!settings) return null;
  const { rpoSeconds } = objectivesOf(settings);
  let newest: Date | null = null;
  for (const name of vaultsOf(source, environment)) {
    try {
      const vault = environment.vault(name);
      await readVaultIdentity(vault, environment.plan.plan.name);
      const { manifest } = await newestProven(vault, source, now, rpoSeconds, settings.prove === 'never');
      const at = manifest && new Date(manifest.snapshotAt);
      if (at && (newest === null || at > newest)) newest = at;
    } catch (error) {
      // Not known is not young: nothing is removed for it.
      if (!(error instanceof HoldfastError) || environment.run.signal.aborted) throw error;
    }
  }
  return newest;
}

/** A clock that jumped years ahead makes every source old: then also of those that left the plan nothing is removed. */
async function anySourceIsFresh(environment: JobEnvironment): Promise<boolean> {
  const now = environment.run.clock.now();
  for (const [source, settings] of Object.entries(environment.plan.plan.sources)) {
    const newest = await newestIn(source, now, environment);
    if (newest && (now.getTime() - newest.getTime()) / 1000 <= objectivesOf(settings).rpoSeconds) return true;
  }
  return false;
}
