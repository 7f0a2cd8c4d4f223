import { type CopyRoute, ownRoutes } from '#core/copy-rules';
import { toEventBridge } from '#core/event-bridge';
import { engineOf, type Plan, type Source, type VaultSettings } from '#core/plan';
import { type PlanPath, pathText } from '#core/plan-problem';
import { nextRun, type Timing, timingText } from '#core/schedule';

/** Where a source's jobs run, and why there. Never both: cron on a server and a task in the cloud would run it twice. */
export interface Place {
  readonly source: string;
  readonly where: 'here' | 'cloud';
  /** For the table that `cdk synth` and `check` print: `a file of this machine (sqlite)`. */
  readonly why: string;
  /** Vaults its schedules write, in order. */
  readonly vaults: readonly string[];
}

/** What the plan asks for and AWS cannot do: `path` is the line to change. */
export interface CloudProblem {
  readonly path: PlanPath;
  readonly message: string;
  readonly hint: string;
}

/** Shorter periods would start a task for each run, and a fresh task has no base for a differential. */
const SHORTEST_CLOUD_SECONDS = 15 * 60;

/**
 * The rule (DESIGN section 7): `here` unless the plan has `cloud:`; then `rds`, and postgres, redis and remote git when
 * every vault they write is a bucket and their address is one that another machine can reach. `runs:` decides alone.
 */
export function placesOfSources(plan: Plan): readonly Place[] {
  return Object.entries(plan.sources).map(([source, settings]) => {
    const vaults = [...new Set(settings.schedule.flatMap(({ to }) => to))];
    return { source, vaults, ...placeOf(plan, settings, vaults) };
  });
}

/**
 * The plan as a function in AWS sees it: without directories of other machines, and without what is kept in those alone.
 * Nobody there can say anything about them, least of all that they are away.
 */
export function seenFromAws(plan: Plan): Plan {
  const buckets = Object.entries(plan.vaults).filter(([, settings]) => 's3' in settings);
  const names = new Set(buckets.map(([name]) => name));
  const vaults = Object.fromEntries(buckets.map(([name, settings]) => [name, withoutFarReplica(settings, names)]));
  const sources = Object.entries(plan.sources).flatMap(([name, settings]) => {
    const schedule = settings.schedule.flatMap((one) => {
      const to = one.to.filter((vault) => Object.hasOwn(vaults, vault));
      return to.length === 0 ? [] : [{ ...one, to }];
    });
    return schedule.length === 0 ? [] : [[name, { ...settings, schedule }] as const];
  });
  return { ...plan, vaults, sources: Object.fromEntries(sources) };
}

/** A replica in a directory is made by the directory's machine. */
function withoutFarReplica(settings: VaultSettings, names: ReadonlySet<string>): VaultSettings {
  const { replica, ...rest } = settings;
  return replica?.vault === undefined || names.has(replica.vault) ? settings : rest;
}

/**
 * Sources whose backups AWS has to bring from one bucket into another, with the ways they go: each has a task for what is
 * too much for a function. Those of `here` too, as their machine may not write where the copies belong. Empty without
 * `cloud:`, where nothing runs as a task.
 */
export function copiedInAws(plan: Plan): ReadonlyMap<string, readonly CopyRoute[]> {
  if (!plan.cloud) return new Map();
  const seen = seenFromAws(plan);
  const routes = Object.keys(seen.sources).map((source) => [source, ownRoutes(seen, source)] as const);
  return new Map(routes.filter(([, ways]) => ways.length > 0));
}

/** Whether the source's jobs are this machine's: those of the others `serve` and `schedule` skip. */
export function runsHere(plan: Plan, source: string): boolean {
  return placesOfSources(plan).some((place) => place.source === source && place.where === 'here');
}

function placeOf(plan: Plan, source: Source, vaults: readonly string[]): Pick<Place, 'where' | 'why'> {
  if (source.runs) return { where: source.runs, why: `runs: ${source.runs}` };
  if (!plan.cloud) return { where: 'here', why: 'the plan has no cloud:' };
  const engine = engineOf(source);
  if (engine === 'rds') return { where: 'cloud', why: 'rds is AWS’s own' };
  if (engine === 'sqlite' || engine === 'files') return { where: 'here', why: `${engine}: files of this machine` };
  const disk = vaults.find((name) => Object.hasOwn(plan.vaults, name) && 'disk' in (plan.vaults[name] as object));
  if (disk !== undefined) return { where: 'here', why: `it is kept in ${disk}, a directory of this machine` };
  const bound = boundTo(source);
  if (bound !== null) return { where: 'here', why: bound };
  return { where: 'cloud', why: `${engine} by its address, all its vaults are buckets` };
}

/** What ties a source of a reachable kind to this machine; null when nothing does. */
function boundTo(source: Source): string | null {
  if (source.before || source.after) return 'its hooks are commands of this machine';
  if (source.postgres?.exec) return 'exec: a container of this machine';
  if (source.postgres?.bin) return 'bin: a directory of this machine';
  if (source.redis?.aof) return 'aof: a directory of this machine';
  if (source.git && /^[./~]/.test(source.git.repository)) return 'a repository of this machine';
  if (typeof source.prove === 'object' && source.prove.with && 'bin' in source.prove.with)
    return 'prove.with.bin: a directory of this machine';
  const url = source.postgres?.url ?? source.redis?.url;
  return url !== undefined && isPrivate(url) ? 'its address is this machine’s own' : null;
}

/**
 * Loopback, a socket, or a name that only this machine or its compose network knows. An address in a `${NAME}` is taken
 * for a reachable one: nobody knows it when the stack is made, and start-job says so when it is not.
 */
function isPrivate(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { hostname, searchParams } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  const named = searchParams.get('host');
  if (host === '') return named === null ? !url.includes('${') : named.startsWith('/');
  return /^(?:localhost|127\..*|::1|0\.0\.0\.0|host\.docker\.internal|.*\.local|.*\.localhost)$/i.test(host);
}

/** What a plan with cloud sources asks for and cannot have. Empty when it has none. */
export function cloudProblems(plan: Plan): readonly CloudProblem[] {
  const places = placesOfSources(plan).filter(({ where }) => where === 'cloud');
  if (places.length === 0) return [];
  return [
    ...recipientProblems(plan, places),
    ...identityProblems(plan, places),
    ...places.flatMap(({ source }) => [...scheduleProblems(plan, source)]),
  ];
}

function* recipientProblems({ encryption }: Plan, places: readonly Place[]): Iterable<CloudProblem> {
  if (encryption === 'none') return;
  for (const [index, recipient] of encryption.recipients.entries()) {
    if (!recipient.startsWith('gpg:')) continue;
    const path = ['encryption', 'recipients', index];
    yield {
      path,
      message: `${pathText(path)}: a gpg recipient, whose public key a task has no keyring for, and ${named(places)} in the cloud`,
      hint: 'write an age recipient (holdfast keygen), or runs: here',
    };
  }
}

function named(places: readonly Place[]): string {
  return `${places.map(({ source }) => source).join(', ')} ${places.length === 1 ? 'runs' : 'run'}`;
}

function* identityProblems(plan: Plan, places: readonly Place[]): Iterable<CloudProblem> {
  if (plan.encryption === 'none') return;
  const { identity } = plan.encryption;
  const proven = places.filter(({ source }) => plan.sources[source]?.prove !== 'never');
  if (proven.length === 0 || (identity && !('file' in identity))) return;
  const path = ['encryption', 'identity', ...(identity ? ['file'] : [])];
  const what = identity ? 'a key file is out of a task’s reach' : 'got nothing, and no backup can be proven without it';
  yield {
    path,
    message: `${pathText(path)}: ${what}, and ${named(proven)} in the cloud`,
    hint: 'write identity: { env: HOLDFAST_IDENTITY }: in AWS it comes from the secret of that name; or runs: here',
  };
}

function* scheduleProblems(plan: Plan, name: string): Iterable<CloudProblem> {
  for (const [index, timing] of (plan.sources[name]?.schedule ?? []).entries()) {
    const path = ['sources', name, 'schedule', index];
    if (timing.kind === 'differential') continue;
    const expressions = toEventBridge(timing);
    if (typeof expressions === 'string')
      yield {
        path,
        message: `${pathText(path)}: EventBridge cannot run "${timingText(timing)}", want ${expressions}`,
        hint: 'write it as a cron, or runs: here',
      };
    const seconds = shortestGapSeconds(timing);
    if (seconds < SHORTEST_CLOUD_SECONDS)
      yield {
        path,
        message: `${pathText(path)}: a run every ${Math.round(seconds / 60)} minutes in the cloud, want 15 minutes or more`,
        hint: 'what is more frequent needs the always-on stream service, which comes with point-in-time; or runs: here',
      };
  }
}

/** A Monday, and enough runs to see any hour's pattern. */
const FROM = new Date('2026-01-05T00:00:00Z');
const RUNS_LOOKED_AT = 200;

function shortestGapSeconds(timing: Timing): number {
  let shortest = Number.POSITIVE_INFINITY;
  let previous = nextRun(timing, 'UTC', FROM);
  for (let run = 0; run < RUNS_LOOKED_AT; run++) {
    const next = nextRun(timing, 'UTC', previous);
    shortest = Math.min(shortest, (next.getTime() - previous.getTime()) / 1000);
    previous = next;
  }
  return shortest;
}
