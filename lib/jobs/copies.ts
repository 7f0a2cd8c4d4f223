import { type CopyRoute, possibleVaults, replicaRoutes, routesOf, wantedVaults } from '#core/copy-rules';
import { type HoldfastError, KeyMissing, messageOf, RecordInvalid, UsageError } from '#core/errors';
import type { Manifest } from '#core/manifest';
import { stateOf } from '#core/proof';
import { type BackupPlace, manifestAt, outcomesOf, sourcesIn } from '#jobs/catalog';
import { differencesOf, givenUpSince, type Holding, holdingOf, OpenVaults } from '#jobs/copies-held';
import type { JobEnvironment } from '#jobs/environment';

/**
 * Which copies should be where and are not, found out from what the vaults list: there is no queue that could be lost,
 * or say something else than the vaults.
 */

const READ_AT_ONCE = 16;
const DAY_MILLISECONDS = 86_400_000;

export interface CopyRequest {
  /** Empty = all of the plan, and those that left it but lie in a vault with a replica. */
  readonly sources: readonly string[];
  /** Only copies that come from here, … */
  readonly from?: string | null;
  /** … or go there. With both, all that lies in the one belongs into the other, whatever the plan says. */
  readonly to?: string | null;
  /** Reads the manifests of both sides and compares their hashes; else object counts and bytes alone are compared. */
  readonly compareHashes?: boolean;
}

export interface MissingCopy {
  readonly source: string;
  readonly id: string;
  readonly tier: string;
  readonly manifest: Manifest;
  readonly to: string;
  /** Vaults that hold it and did not disprove it, in the order in which they should be tried. */
  readonly from: readonly string[];
}

/** How things stand on one way of one source. */
export interface CopyState {
  readonly source: string;
  readonly route: CopyRoute;
  /** Oldest first. */
  readonly missing: readonly MissingCopy[];
  /** Age of the oldest backup that should be there and is not; 0 when none is missing, null when nobody can tell. */
  readonly lagSeconds: number | null;
  /** Backups that both vaults hold and that are not the same, in words. */
  readonly differences: readonly string[];
  /** Why one of the two vaults cannot be looked at. */
  readonly problem: string | null;
}

export interface CopySurvey {
  readonly states: readonly CopyState[];
  /** Records that could not be read. */
  readonly warnings: readonly string[];
  /** Vaults that did not answer: what they hold is not known, and not counted as nothing (I14). */
  readonly away: ReadonlyMap<string, HoldfastError>;
  /** By source and vault: the ids it holds. */
  holds(source: string, vault: string, id: string): boolean;
}

/** Why a copy that is missing stays so for now is for the caller to find out: a run may be making it this minute. */
export async function surveyCopies(request: CopyRequest, environment: JobEnvironment): Promise<CopySurvey> {
  const { plan } = environment.plan;
  for (const name of [request.from, request.to])
    if (name != null && !Object.hasOwn(plan.vaults, name))
      throw new UsageError(`no vault "${name}" in the plan, want one of ${Object.keys(plan.vaults).join(', ')}`);
  const vaults = new OpenVaults(environment);
  const states: CopyState[] = [];
  const warnings: string[] = [];
  const holdings = new Map<string, ReadonlyMap<string, Holding>>();
  const named = request.sources.length > 0 ? request.sources : await allSources(request, vaults, environment);
  for (const source of named) {
    const found = await surveySource(source, request, vaults, environment, warnings);
    states.push(...found.states);
    holdings.set(source, found.holdings);
  }
  const [end, name] = request.from != null ? ['from', request.from] : ['to', request.to];
  if (name != null && !named.some((source) => routesFor(source, request, environment).length > 0))
    throw new UsageError(`nothing in the plan is copied ${end} ${name}`, {
      hint: 'give both --from and --to: then all of the one is copied into the other',
    });
  return {
    states,
    warnings,
    away: vaults.away,
    holds: (source, vault, id) => holdings.get(source)?.get(vault)?.has(id) === true,
  };
}

async function allSources(request: CopyRequest, vaults: OpenVaults, environment: JobEnvironment): Promise<string[]> {
  const { plan } = environment.plan;
  const sources = new Set(Object.keys(plan.sources));
  const copied = new Set(replicaRoutes(plan).map(({ from }) => from));
  if (request.from != null && request.to != null) copied.add(request.from);
  for (const name of copied) {
    const vault = await vaults.get(name);
    const found = vault && (await vaults.asking(name, () => sourcesIn(vault)));
    for (const source of found ?? []) sources.add(source);
  }
  return [...sources];
}

async function surveySource(
  source: string,
  request: CopyRequest,
  vaults: OpenVaults,
  environment: JobEnvironment,
  warnings: string[],
): Promise<{ readonly states: CopyState[]; readonly holdings: ReadonlyMap<string, Holding> }> {
  const { plan } = environment.plan;
  const routes = routesFor(source, request, environment);
  const holdings = new Map<string, Holding>();
  for (const name of new Set(routes.flatMap(({ from, to }) => [from, to]))) {
    const vault = await vaults.get(name);
    const held = vault && (await vaults.asking(name, () => holdingOf(vault, source)));
    if (held) holdings.set(name, held);
  }
  const missing: MissingCopy[] = [];
  const ids = [...new Set([...holdings.values()].flatMap((held) => [...held.keys()]))].sort();
  const now = environment.run.clock.now();
  for (let start = 0; start < ids.length; start += READ_AT_ONCE) {
    const batch = ids.slice(start, start + READ_AT_ONCE);
    const found = await Promise.all(
      batch.map((id) => missingOf({ source, id }, routes, holdings, request, vaults, environment, now, warnings)),
    );
    missing.push(...found.flat());
  }
  const wanted = await notGivenUp(source, missing, vaults);
  const good = await fromGoodCopies(source, wanted, vaults);
  const states: CopyState[] = [];
  for (const route of routes) {
    const awayOf = [route.from, route.to].find((name) => vaults.away.has(name));
    const here = good.filter((copy) => copy.to === route.to && routeOf(copy, routes) === route);
    const both = [holdings.get(route.from), holdings.get(route.to)] as const;
    // What differs one way differs the other way too, and is told once.
    const isWayBack = states.some((state) => state.route.from === route.to && state.route.to === route.from);
    states.push({
      source,
      route,
      missing: here,
      lagSeconds: awayOf === undefined ? lagOf(here, now) : null,
      differences:
        both[0] && both[1] && !isWayBack
          ? await differencesOf(source, route, both[0], both[1], vaults, request.compareHashes === true)
          : [],
      problem:
        awayOf === undefined ? null : `vault ${awayOf} cannot be looked at: ${messageOf(vaults.away.get(awayOf))}`,
    });
  }
  // A source that no vault is copied for needs no word about it.
  return { states: plan.sources[source] || ids.length > 0 ? states : [], holdings };
}

function routesFor(source: string, { from, to }: CopyRequest, environment: JobEnvironment): CopyRoute[] {
  const { plan } = environment.plan;
  const all = routesOf(plan, source);
  if (from != null && to != null) {
    if (from === to) throw new UsageError(`--from and --to are both ${from}, want two vaults`);
    const [first] = all;
    const same = all.find((one) => one.from === from && one.to === to);
    return [same ?? { from, to, limitSeconds: null, concurrent: first?.concurrent ?? 5 }];
  }
  return all.filter((one) => (from == null || one.from === from) && (to == null || one.to === to));
}

/** Copies of one backup that should be and are not, given up or not. */
async function missingOf(
  { source, id }: { readonly source: string; readonly id: string },
  routes: readonly CopyRoute[],
  holdings: ReadonlyMap<string, Holding>,
  request: CopyRequest,
  vaults: OpenVaults,
  environment: JobEnvironment,
  now: Date,
  warnings: string[],
): Promise<MissingCopy[]> {
  const { plan } = environment.plan;
  const present = [...holdings].flatMap(([name, held]) => (held.has(id) ? [name] : []));
  const tier = holdings.get(present[0] as string)?.get(id)?.tier as string;
  const asked = request.from != null && request.to != null ? [request.to] : null;
  const absent = (names: Iterable<string>): string[] =>
    [...names].filter((name) => holdings.has(name) && !present.includes(name));
  const possible = absent(asked ?? possibleVaults(plan, source, tier, present));
  const reachable = possible.filter((name) => routes.some(({ to }) => to === name));
  if (reachable.length === 0) return [];
  const manifest = await readFrom(present, { source, tier, id }, vaults, warnings);
  if (manifest === null) return [];
  if (manifest.expires !== null && new Date(manifest.expires) <= now) return [];
  const wanted = asked ?? wantedVaults(plan, source, { tier, schedule: manifest.trigger.schedule }, present);
  const held = present.filter((name) => request.from == null || name === request.from);
  return absent(wanted)
    .filter((to) => reachable.includes(to))
    .flatMap((to) => {
      const first = routes.filter((one) => one.to === to).map((one) => one.from);
      const from = [...first.filter((name) => held.includes(name)), ...held.filter((name) => !first.includes(name))];
      return from.length === 0 ? [] : [{ source, id, tier, manifest, to, from }];
    });
}

/** The first that can be read; what is wrong with the others is said, and their copy is not a source for others. */
async function readFrom(
  present: readonly string[],
  place: BackupPlace,
  vaults: OpenVaults,
  warnings: string[],
): Promise<Manifest | null> {
  for (const name of present) {
    const vault = await vaults.get(name);
    if (!vault) continue;
    const read = await vaults.asking(name, async () => {
      try {
        return await manifestAt(vault, place);
      } catch (error) {
        // Retention was quicker, or the record was damaged: another vault may have it.
        if (!(error instanceof RecordInvalid || error instanceof KeyMissing)) throw error;
        warnings.push(`${place.source} ${place.id} in ${name} is not copied from: ${error.message}`);
        return null;
      }
    });
    if (read) return read;
  }
  return null;
}

/** Leaves out what retention has given up on either side: a copy that was removed does not come back. */
async function notGivenUp(
  source: string,
  missing: readonly MissingCopy[],
  vaults: OpenVaults,
): Promise<readonly MissingCopy[]> {
  const [oldest] = missing;
  if (!oldest) return missing;
  const since = new Date(new Date(oldest.manifest.snapshotAt).getTime() - DAY_MILLISECONDS);
  const givenUp = new Map<string, ReadonlySet<string>>();
  for (const name of new Set(missing.flatMap(({ to, from }) => [to, ...from]))) {
    const vault = await vaults.get(name);
    const ids = vault && (await vaults.asking(name, () => givenUpSince(vault, source, since)));
    if (ids) givenUp.set(name, ids);
  }
  return missing.flatMap((copy) => {
    const gone = givenUp.get(copy.to);
    // A vault whose ledger cannot be read is one of which nobody knows what it gave up.
    if (!gone || gone.has(copy.id)) return [];
    const from = copy.from.filter((name) => givenUp.get(name)?.has(copy.id) === false);
    return from.length === 0 ? [] : [{ ...copy, from }];
  });
}

/** Leaves out vaults whose copy was disproven: what is bad in one place is not made bad in two. */
async function fromGoodCopies(
  source: string,
  missing: readonly MissingCopy[],
  vaults: OpenVaults,
): Promise<readonly MissingCopy[]> {
  const [oldest] = missing;
  if (!oldest) return missing;
  const disproven = new Map<string, ReadonlySet<string>>();
  for (const name of new Set(missing.flatMap(({ from }) => from))) {
    const vault = await vaults.get(name);
    const outcomes = vault && (await vaults.asking(name, () => outcomesOf(vault, source)));
    const bad = [...(outcomes ?? [])].filter(
      ([, records]) => stateOf(records.map(({ outcome }) => outcome)) === 'disproven',
    );
    disproven.set(name, new Set(bad.map(([id]) => id)));
  }
  return missing.flatMap((copy) => {
    const from = copy.from.filter((name) => disproven.get(name)?.has(copy.id) === false);
    return from.length === 0 ? [] : [{ ...copy, from }];
  });
}

/** A copy that several rules ask for is counted once: on the way from the vault that has it. */
function routeOf(copy: MissingCopy, routes: readonly CopyRoute[]): CopyRoute | undefined {
  const ways = routes.filter(({ to }) => to === copy.to);
  return ways.find(({ from }) => copy.from.includes(from)) ?? ways[0];
}

function lagOf(missing: readonly MissingCopy[], now: Date): number {
  const oldest = missing.reduce<number | null>((least, { manifest }) => {
    const made = new Date(manifest.finishedAt).getTime();
    return least === null || made < least ? made : least;
  }, null);
  return oldest === null ? 0 : Math.max(0, Math.round((now.getTime() - oldest) / 1000));
}
