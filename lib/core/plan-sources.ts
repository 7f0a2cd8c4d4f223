import type { EngineName } from '#core/plan';

/** A connection that the environment or `.env` names. Never its user or password. */
export interface VariableTrace {
  /** `DATABASE_URL`, or `DB_HOST` where the parts stand apart. */
  readonly name: string;
  /** As the plan shall say it: `${DATABASE_URL}`. */
  readonly url: string;
  /** `.env` or `the environment`. */
  readonly foundIn: string;
  readonly engine: 'postgres' | 'redis' | 'sqlite';
  readonly host: string | null;
  readonly port: number | null;
  readonly database: string | null;
  /** Of SQLite: relative to the plan. */
  readonly file: string | null;
}

/** A database server in a compose file. */
export interface ServiceTrace {
  readonly engine: 'postgres' | 'redis';
  readonly service: string;
  readonly container: string | null;
  readonly image: string;
  /** Absolute. */
  readonly composeFile: string;
  /** Literal, or a reference such as `${POSTGRES_USER}`. */
  readonly user: string;
  readonly database: string;
  /** On this machine; null when it is reachable from other containers only. */
  readonly publishedPort: number | null;
  readonly wantsPassword: boolean;
}

/** A directory that holds what an application was given or made. */
export interface TreeTrace {
  readonly path: string;
  /** The compose service that writes it. */
  readonly service: string | null;
  /** Live SQLite files lie in it: they are sources of their own, a copy of the tree would tear them. */
  readonly hasDatabases: boolean;
}

/** What a look around found. */
export interface Traces {
  readonly variables: readonly VariableTrace[];
  readonly services: readonly ServiceTrace[];
  /** SQLite files, relative to the plan. */
  readonly databases: readonly string[];
  readonly trees: readonly TreeTrace[];
  readonly configuration: readonly string[];
}

interface Named {
  readonly name: string;
  /** Where it was found, for a comment. */
  readonly why: string;
  /** What the plan's reader has to do before it can be used; then it is written as a comment. */
  readonly lacks: string | null;
}

/** A source as `init` would write it. */
export type DraftSource = Named &
  (
    | { readonly engine: 'postgres'; readonly url: string; readonly exec: readonly string[] | null }
    | { readonly engine: 'redis'; readonly url: string }
    | { readonly engine: 'sqlite'; readonly file: string }
    | {
        readonly engine: 'files';
        readonly paths: readonly string[];
        readonly exclude: readonly string[];
        readonly configuration: boolean;
        readonly service: string | null;
      }
  );

const LOOPBACK = new Set(['localhost', '127.0.0.1', '::1', '[::1]', '']);
const LIVE_DATABASES = ['db', 'sqlite', 'sqlite3'].flatMap((ending) => [`*.${ending}`, `*.${ending}-*`]);

/** Which sources follow from the traces. Total: what is unclear is written as a comment, never guessed into a run. */
export function sourcesFrom(traces: Traces): DraftSource[] {
  const drafts = [
    ...servers('postgres', traces),
    ...servers('redis', traces),
    ...sqliteFiles(traces),
    ...trees(traces),
    ...configuration(traces),
  ];
  const used = new Set<string>();
  return drafts.map((draft) => ({ ...draft, name: unused(draft.name, used) }));
}

/** A name for keys and file names: lower-case letters, digits and dashes, at most 63. */
export function slug(text: string, otherwise: string): string {
  const plain = text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 63)
    .replace(/-+$/, '');
  return plain || otherwise;
}

function servers(engine: 'postgres' | 'redis', { variables, services }: Traces): DraftSource[] {
  const own = services.filter((service) => service.engine === engine);
  const named = distinct(variables.filter((variable) => variable.engine === engine));
  const covered = new Set<ServiceTrace>();
  const byVariable = named.map((variable) => {
    const published = own.find((service) => sameAddress(variable, service));
    const inside = own.find((service) => [service.service, service.container].includes(variable.host));
    const service = published ?? inside;
    if (service) covered.add(service);
    const why = `${variable.name} in ${variable.foundIn}`;
    const name = nameOfVariable(variable.name, engine);
    return inside && !published ? reachedInside(inside, variable, name, why) : asUrl(engine, name, why, variable.url);
  });
  const others = own.filter((service) => !covered.has(service));
  // With an address given, what the compose file starts besides is more likely a developer's toy than the real thing.
  const lacks = named.length === 0 ? null : `take it in if it holds data of its own beside ${named[0]?.name}`;
  return [...byVariable, ...others.map((service) => serviceSource(service, lacks))];
}

/** An address by a service's name means something between containers only. */
function reachedInside(service: ServiceTrace, variable: VariableTrace, name: string, why: string): DraftSource {
  const whyHere = `${why} names the compose service ${service.service}`;
  if (service.engine === 'redis') return { ...serviceSource(service, null), name, why: whyHere };
  return { engine: 'postgres', name, why: whyHere, lacks: null, url: variable.url, exec: execOf(service) };
}

function serviceSource(service: ServiceTrace, lacks: string | null): DraftSource {
  const why = `service ${service.service} (${service.image}) in ${baseName(service.composeFile)}`;
  const name = slug(service.service, service.engine);
  if (service.engine === 'postgres') {
    // The official image trusts its own loopback, so no password is needed inside.
    const url = `postgres://${part(service.user)}@localhost/${part(service.database)}`;
    return { engine: 'postgres', name, why, lacks, url, exec: execOf(service) };
  }
  const user = service.wantsPassword ? ':${REDIS_PASSWORD}@' : '';
  const unreachable = 'publish its port first, to this machine alone: ports: ["127.0.0.1:6379:6379"]';
  return {
    engine: 'redis',
    name,
    why,
    lacks: lacks ?? (service.publishedPort === null ? unreachable : null),
    url: `redis://${user}127.0.0.1:${service.publishedPort ?? 6379}`,
  };
}

function execOf({ container, composeFile, service }: ServiceTrace): string[] {
  return container === null
    ? ['docker', 'compose', '-f', composeFile, 'exec', '-T', service]
    : ['docker', 'exec', '-i', container];
}

function asUrl(engine: 'postgres' | 'redis', name: string, why: string, url: string): DraftSource {
  const common = { name, why, lacks: null, url };
  return engine === 'postgres' ? { ...common, engine, exec: null } : { ...common, engine };
}

function sameAddress(variable: VariableTrace, service: ServiceTrace): boolean {
  const port = variable.port ?? (variable.engine === 'postgres' ? 5432 : 6379);
  return LOOPBACK.has(variable.host ?? '') && port === service.publishedPort;
}

/** Several variables often name one database; the first is kept, the usual name before others. */
function distinct(variables: readonly VariableTrace[]): VariableTrace[] {
  const usual = new Set(['DATABASE_URL', 'REDIS_URL']);
  const sorted = variables.toSorted((a, b) => Number(usual.has(b.name)) - Number(usual.has(a.name)));
  const seen = new Set<string>();
  return sorted.filter(({ host, port, database }) => {
    const address = JSON.stringify([host, port, database]);
    return !seen.has(address) && seen.add(address);
  });
}

function nameOfVariable(variable: string, engine: EngineName): string {
  if (engine === 'redis') return variable === 'REDIS_URL' ? 'cache' : slug(variable.replace(/_UR[IL]$/, ''), 'cache');
  return /^(?:DATABASE_UR[IL]|DB_HOST|POSTGRES(?:QL)?_UR[IL])$/.test(variable)
    ? 'database'
    : slug(variable.replace(/_UR[IL]$/, ''), 'database');
}

function sqliteFiles({ variables, databases }: Traces): DraftSource[] {
  const named = variables.flatMap((variable) => (variable.file === null ? [] : [{ variable, file: variable.file }]));
  const why = (file: string): string => {
    const found = named.find((one) => one.file === file);
    return found ? `${found.variable.name} in ${found.variable.foundIn}` : `the SQLite file ${file}`;
  };
  return [...new Set([...named.map(({ file }) => file), ...databases])].map((file) => ({
    engine: 'sqlite',
    name: slug(baseName(file).replace(/\.[^.]*$/, ''), 'sqlite'),
    why: why(file),
    lacks: null,
    file,
  }));
}

function trees({ trees: found }: Traces): DraftSource[] {
  const outermost = found.filter(({ path }) => !found.some((other) => path.startsWith(`${other.path}/`)));
  return outermost.map(({ path, service, hasDatabases }) => ({
    engine: 'files',
    name: slug(baseName(path), 'files'),
    why: service === null ? `the directory ${path}` : `the directory ${path}, which service ${service} works in`,
    lacks: null,
    paths: [path],
    exclude: hasDatabases ? LIVE_DATABASES : [],
    configuration: false,
    service,
  }));
}

function configuration({ configuration: paths }: Traces): DraftSource[] {
  if (paths.length === 0) return [];
  const common = { lacks: null, paths, exclude: [], configuration: true, service: null } as const;
  return [{ engine: 'files', name: 'config', why: 'configuration beside the plan', ...common }];
}

/** References stay, anything else is made safe inside of an address. */
function part(text: string): string {
  return /^\$\{[A-Za-z_][A-Za-z0-9_]*\}$/.test(text) ? text : encodeURIComponent(text);
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function unused(name: string, used: Set<string>): string {
  let candidate = name;
  for (let number = 2; used.has(candidate); number++) candidate = `${name.slice(0, 59)}-${number}`;
  used.add(candidate);
  return candidate;
}
