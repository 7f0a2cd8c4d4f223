import type { VariableTrace } from '#core/plan-sources';

type Variables = Readonly<Record<string, string | undefined>>;

const SCHEMES: Readonly<Record<string, 'postgres' | 'redis'>> = {
  postgres: 'postgres',
  postgresql: 'postgres',
  redis: 'redis',
  rediss: 'redis',
  valkey: 'redis',
  valkeys: 'redis',
};

/** Which variables name a database. The environment hides what `.env` says under the same name, as it does in a run. */
export function tracesOfVariables(environment: Variables, beside: Variables): VariableTrace[] {
  const found = (name: string): string => (environment[name] === undefined ? '.env' : 'the environment');
  const all: Record<string, string | undefined> = { ...beside, ...environment };
  const urls = Object.keys(all)
    .sort()
    .flatMap((name) => {
      const trace = traceOfUrl(name, all[name] ?? '', found(name));
      return trace ? [trace] : [];
    });
  const parts = urls.some((trace) => trace.engine === 'postgres') ? null : traceOfParts(all, found('DB_HOST'));
  return parts ? [...urls, parts] : urls;
}

function traceOfUrl(name: string, value: string, foundIn: string): VariableTrace | null {
  const common = { name, url: `\${${name}}`, foundIn };
  // `file:./dev.db` (Prisma), `sqlite:///dev.db` (SQLAlchemy: three slashes relative, four absolute).
  const sqlite = /^(?:sqlite(?:\+\w+)?:\/\/\/|sqlite:|file:)(?:\.\/)?([^?]+)/.exec(value);
  if (sqlite && name.endsWith('_URL')) {
    const file = sqlite[1] as string;
    return file.startsWith(':') ? null : { ...common, engine: 'sqlite', host: null, port: null, database: null, file };
  }
  // Not `new URL`: it refuses passwords that clients take. Several hosts are the first one's business.
  const address = /^([a-z]+)(?:\+\w+)?:\/\/(?:.*@)?(\[[^\]]*\]|[^:/?,@]*)(?::(\d+))?[^/?]*(?:\/([^?]*))?/s.exec(value);
  const engine = address ? SCHEMES[address[1] as string] : undefined;
  if (!address || !engine) return null;
  return {
    ...common,
    engine,
    host: address[2] ?? null,
    port: address[3] === undefined ? null : Number(address[3]),
    database: address[4] || null,
    file: null,
  };
}

/** `DB_HOST`, `DB_NAME` … : one address out of parts that stand apart. */
function traceOfParts(all: Variables, foundIn: string): VariableTrace | null {
  const { DB_HOST: host, DB_NAME: database, DB_USER: user, DB_PASSWORD: password, DB_PORT: port } = all;
  if (!host || !database || (port && port !== '5432')) return null;
  const login = user ? `\${DB_USER}${password ? ':${DB_PASSWORD}' : ''}@` : '';
  return {
    name: 'DB_HOST',
    url: `postgres://${login}\${DB_HOST}${port ? ':${DB_PORT}' : ''}/\${DB_NAME}`,
    foundIn,
    engine: 'postgres',
    host,
    port: port ? Number(port) : null,
    database,
    file: null,
  };
}
