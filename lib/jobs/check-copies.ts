import { type CopyPlace, HERE, isThisMachine, placeOfVault, threeTwoOne } from '#core/copies';
import { withReplicas } from '#core/copy-rules';
import { HoldfastError, VaultMissing, VaultUnreachable } from '#core/errors';
import { keepOptions } from '#core/keeping';
import type { CheckLine, SourceRef } from '#core/ports';
import { expiresAt, tiersOf } from '#core/tiers';
import type { JobEnvironment } from '#jobs/environment';
import { mediumOf } from '#vault/disk-medium';

/**
 * What `check` says of copies: how far each source is from 3-2-1, which is advice and no error, and whether the stores
 * do what the plan asks of them (classes are advice, a lock that is not there is wrong).
 */
export async function* checkCopies(sources: readonly string[], environment: JobEnvironment): AsyncGenerator<CheckLine> {
  for (const name of sources) yield await countCopies(environment.source(name), environment);
  const vaults = new Set(sources.flatMap((name) => vaultsOf(environment.source(name), environment)));
  for (const vault of vaults) yield* checkKeeping(vault, sources, environment);
}

function vaultsOf(source: SourceRef, { plan: { plan } }: JobEnvironment): readonly string[] {
  return [
    ...withReplicas(
      plan,
      source.settings.schedule.flatMap(({ to }) => to),
    ),
  ];
}

async function countCopies(source: SourceRef, environment: JobEnvironment): Promise<CheckLine> {
  const { plan } = environment.plan;
  const places = [await placeOfSource(source, environment)];
  for (const name of vaultsOf(source, environment)) {
    const isDisk = 'disk' in (plan.vaults[name] ?? {});
    places.push(placeOfVault(plan, name, isDisk ? await mediumOf(environment.vault(name).url) : null));
  }
  const { copies, media, sites, lacking } = threeTwoOne(places);
  const name = `${source.name}: copies`;
  const count = `${counted(copies, 'copy', 'copies')} with the source itself, on ${counted(media, 'medium', 'media')}, at ${counted(sites, 'site', 'sites')}`;
  if (lacking.length === 0) return { name, ok: true, message: `${count}: 3-2-1`, hint: null };
  return {
    name,
    ok: true,
    message: `${count}; 3-2-1 lacks ${lacking.join(', ')}`,
    hint: 'name a vault elsewhere in to:, or give a vault replica: { vault: NAME }',
  };
}

/** A database on this machine lies on some disk of it: which, only its server knows, so that it counts for no medium. */
async function placeOfSource({ name, settings }: SourceRef, environment: JobEnvironment): Promise<CopyPlace> {
  const copy = `source ${name}`;
  const path = settings.sqlite?.file ?? settings.files?.paths[0];
  if (path !== undefined) {
    const device = await mediumOf(path);
    return { copy, medium: device && `${HERE} ${device}`, site: HERE };
  }
  const host = hostOf(settings.postgres?.url ?? settings.redis?.url, environment);
  return { copy, medium: host === null || isThisMachine(host) ? null : `server ${host}`, site: HERE };
}

/** Null for a socket, and for what is not set or is no URL: then nothing is known of it, and its own check line says why. */
function hostOf(url: string | undefined, environment: JobEnvironment): string | null {
  if (url === undefined) return null;
  try {
    const { hostname } = new URL(environment.run.reveal(url));
    return hostname === '' ? null : hostname;
  } catch (error) {
    if (error instanceof HoldfastError || error instanceof TypeError) return null;
    throw error;
  }
}

async function* checkKeeping(
  vault: string,
  sources: readonly string[],
  environment: JobEnvironment,
): AsyncGenerator<CheckLine> {
  const { plan } = environment.plan;
  const name = `vault ${vault}`;
  const told = new Set<string>();
  try {
    const { keeping } = environment.vault(vault);
    if (!keeping) return;
    const now = environment.run.clock.now();
    const tiers = new Set(
      sources.flatMap((source) => {
        const schedules = environment.source(source).settings.schedule;
        return schedules.filter(({ to }) => withReplicas(plan, to).has(vault)).flatMap(tiersOf);
      }),
    );
    for (const tier of tiers) {
      const settings = plan.tiers[tier];
      if (!settings) continue;
      const keep = keepOptions(plan, vault, tier, expiresAt(settings, now), now);
      if (keep.storageClass === undefined && keep.lock === undefined) {
        yield* unlocked(name, vault, tier, environment);
        continue;
      }
      for (const { part, what } of await keeping.lacking(keep)) {
        if (told.has(what)) continue;
        told.add(what);
        const hint =
          part === 'lock'
            ? 'switch Object Lock on for the bucket (many stores only do when it is made), or take lock: out of the plan'
            : `take class: out of tier ${tier}, or use a store that has it`;
        // A dearer class costs money; a lock that is not there is a promise broken.
        yield { name, ok: part === 'class', message: what, hint };
      }
    }
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    // Told by the vault's own line.
    if (error instanceof VaultUnreachable || error instanceof VaultMissing) return;
    yield { name, ok: false, message: error.message, hint: error.hint };
  }
}

function* unlocked(name: string, vault: string, tier: string, environment: JobEnvironment): Generator<CheckLine> {
  const { plan } = environment.plan;
  const [settings, keep] = [plan.vaults[vault], plan.tiers[tier]?.keep];
  if (!settings || !('s3' in settings) || !settings.lock || !keep || !('versions' in keep)) return;
  yield {
    name,
    ok: true,
    message: `tier ${tier} counts versions: what is in it is stored without a lock, as nobody knows when its time is over`,
    hint: `give ${tier} a duration, if it has to be locked`,
  };
}

function counted(count: number, one: string, more: string): string {
  return `${count} ${count === 1 ? one : more}`;
}
