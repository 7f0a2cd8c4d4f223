import { LISTEN_ALLOWED, listenAddress } from '#core/listen-address';
import { ENGINE_NAMES, engineOf, type Plan } from '#core/plan';
import { type PlanPath, type PlanProblem, shown } from '#core/plan-problem';
import { engineProblems } from '#core/plan-rules-engine';
import { cronProblems, scheduleProblems } from '#core/plan-rules-schedule';
import { tierProblems, vaultProblems } from '#core/plan-rules-vault';
import { REFERENCE_ALLOWED, references } from '#core/secrets';
import { isZone } from '#core/zone';

/** What the schema cannot say about a plan: everything that has to do with more than one field, or with meaning. */
export function ruleProblems(plan: Plan): PlanProblem[] {
  return [
    ...zoneProblems(plan),
    ...emptyProblems(plan),
    ...cronProblems(['retain', 'cron'], plan.retain?.cron),
    ...listenProblems(plan),
    ...vaultProblems(plan),
    ...tierProblems(plan),
    ...Object.keys(plan.sources).flatMap((name) => sourceProblems(plan, name)),
    ...referenceProblems([], plan),
  ];
}

function* zoneProblems(plan: Plan): Iterable<PlanProblem> {
  if (!isZone(plan.timezone)) {
    const path = ['timezone'];
    yield { path, got: shown(path, plan.timezone), want: 'a name of the tz database such as UTC or Europe/Stockholm' };
  }
}

function* listenProblems({ serve }: Plan): Iterable<PlanProblem> {
  if (!serve || listenAddress(serve.listen)) return;
  const path = ['serve', 'listen'];
  yield { path, got: shown(path, serve.listen), want: LISTEN_ALLOWED };
}

function* emptyProblems(plan: Plan): Iterable<PlanProblem> {
  for (const key of ['vaults', 'sources'] as const) {
    if (Object.keys(plan[key]).length === 0) yield { path: [key], got: 'none', want: 'at least one' };
  }
}

function sourceProblems(plan: Plan, name: string): PlanProblem[] {
  const source = plan.sources[name];
  if (!source) return [];
  const path = ['sources', name];
  const engines = ENGINE_NAMES.filter((engine) => source[engine] !== undefined);
  if (engines.length !== 1) {
    const got = engines.length === 0 ? 'no engine' : engines.join(' and ');
    return [{ path, got, want: `exactly one of ${ENGINE_NAMES.join(', ')}` }];
  }
  return [...engineProblems(plan, name, source, engineOf(source)), ...scheduleProblems(plan, name, source)];
}

/** Where `${NAME}` is resolved: nowhere else, as what it stands for must not reach manifests, logs and argv. */
const RESOLVED = new Set([
  'url',
  'accessKeyId',
  'secretAccessKey',
  'token',
  'slack',
  'webhook',
  'heartbeat',
  'repository',
]);
/** Texts with a `$` of their own: SQL, and commands, whose shell has its own variables. */
const FOREIGN = new Set(['probes', 'before', 'after', 'afterRestore', 'run']);

function* referenceProblems(path: PlanPath, value: unknown): Iterable<PlanProblem> {
  const key = path.at(-1);
  if (typeof value === 'string') {
    const found = references(value);
    if (typeof key === 'string' && RESOLVED.has(key)) {
      if (found.some(({ kind }) => kind === 'malformed')) {
        yield { path, got: 'a ${ that names no variable', want: REFERENCE_ALLOWED };
      }
    } else if (found.length > 0) {
      const places = [...RESOLVED].join(', ');
      yield { path, got: '${…}', want: `the value itself: \${NAME} is put in only for ${places}` };
    }
    return;
  }
  if (typeof value !== 'object' || value === null) return;
  for (const [name, inner] of Object.entries(value)) {
    const isForeign = FOREIGN.has(name) && path[0] === 'sources' && (path.length === 2 || path[2] === 'drill');
    if (!isForeign) yield* referenceProblems([...path, Array.isArray(value) ? Number(name) : name], inner);
  }
}
