import type { EngineName, Plan, PostgresSettings, Source } from '#core/plan';
import { type PlanPath, type PlanProblem, shown, unknownName } from '#core/plan-problem';

/** What an engine's options, its hooks and the place it runs at exclude in one another. */
export function* engineProblems(plan: Plan, name: string, source: Source, engine: EngineName): Iterable<PlanProblem> {
  const path = ['sources', name];
  if (source.postgres) yield* postgresProblems(plan, source.postgres, [...path, 'postgres']);
  if (source.probes && engine !== 'postgres' && engine !== 'sqlite') {
    yield { path: [...path, 'probes'], got: `probes of ${engine}`, want: 'probes of postgres or sqlite only' };
  }
  const prover = typeof source.prove === 'object' ? source.prove.with : undefined;
  if (prover && engine === 'redis' && 'url' in prover) {
    const want = 'with: { bin: DIRECTORY } of a redis-server or valkey-server';
    yield { path: [...path, 'prove', 'with'], got: 'a url to prove redis at', want };
  }
  if (prover && engine !== 'postgres' && engine !== 'redis') {
    yield { path: [...path, 'prove', 'with'], got: `a prover for ${engine}`, want: 'with: for postgres or redis only' };
  }
  if (source.runs === 'cloud') yield* cloudProblems(plan, source, engine, path);
}

/** Pairs of options of which the second makes no sense beside the first. */
const APART: readonly (readonly [keyof PostgresSettings, keyof PostgresSettings, string])[] = [
  ['databases', 'tables', 'tables of one database, or databases: all'],
  ['databases', 'partial', 'partial with tables of one database'],
  ['schemaOnly', 'tables', 'tables for their data, or schemaOnly'],
  ['exec', 'jobs', 'exec or jobs: a parallel dump needs a directory, and that of a container is out of reach'],
];
const OF_DUMPS = ['tables', 'schemaOnly', 'databases', 'globals', 'partial', 'jobs'] as const;

function* postgresProblems(plan: Plan, settings: PostgresSettings, path: PlanPath): Iterable<PlanProblem> {
  const isOn = (key: keyof PostgresSettings) => settings[key] !== undefined && settings[key] !== false;
  for (const [first, second, want] of APART) {
    if (isOn(first) && isOn(second)) {
      yield { path: [...path, second], atKey: true, got: `${second} beside ${first}`, want };
    }
  }
  if (settings.partial && !settings.tables) {
    yield { path: [...path, 'partial'], atKey: true, got: 'partial without tables', want: 'the tables it shall hold' };
  }
  if (settings.mode === 'physical') {
    for (const key of OF_DUMPS.filter(isOn)) {
      const want = 'mode: dump for it: a physical backup is of the whole cluster';
      yield { path: [...path, key], atKey: true, got: `${key} beside mode: physical`, want };
    }
  } else if (settings.wal) {
    yield { path: [...path, 'wal'], atKey: true, got: 'wal without mode: physical', want: 'mode: physical beside it' };
  }
  if (settings.version !== undefined && !/^\d{1,2}(?:\.\d+)?$/.test(String(settings.version))) {
    const at = [...path, 'version'];
    yield { path: at, got: shown(at, settings.version), want: 'a major version such as 16' };
  }
  for (const [index, vault] of (settings.wal?.to ?? []).entries()) {
    yield* unknownName([...path, 'wal', 'to', index], vault, plan.vaults, 'vault');
  }
}

/** A task in the cloud reaches no file, no directory and no container of this machine. */
function* cloudProblems(plan: Plan, source: Source, engine: EngineName, path: PlanPath): Iterable<PlanProblem> {
  const here = (what: PlanPath, got: string): PlanProblem => ({
    path: [...path, ...what],
    atKey: true,
    got: `${got} on a source that runs: cloud`,
    want: 'runs: here for it',
  });
  if (!plan.cloud) yield { path: [...path, 'runs'], got: 'cloud', want: 'here, or a cloud: section in the plan' };
  if (engine === 'sqlite' || engine === 'files') yield here([engine], engine);
  if (source.git && /^[./~]/.test(source.git.repository))
    yield here(['git', 'repository'], 'a repository on this machine');
  if (source.postgres?.exec) yield here(['postgres', 'exec'], 'exec');
  if (source.redis?.aof) yield here(['redis', 'aof'], 'a directory (aof)');
  for (const hook of ['before', 'after'] as const) if (source[hook]) yield here([hook], `a hook (${hook})`);
  for (const [index, { to }] of source.schedule.entries()) {
    for (const [place, vault] of to.entries()) {
      const settings = Object.hasOwn(plan.vaults, vault) ? plan.vaults[vault] : undefined;
      if (settings && 'disk' in settings) yield here(['schedule', index, 'to', place], `disk vault ${vault}`);
    }
  }
  const identity = plan.encryption === 'none' ? undefined : plan.encryption.identity;
  if (identity && 'file' in identity && source.prove !== 'never') {
    const got = 'a key file (encryption.identity.file)';
    yield { path: [...path, 'runs'], got: `cloud, beside ${got}`, want: 'identity: { env: NAME }, or runs: here' };
  }
}
