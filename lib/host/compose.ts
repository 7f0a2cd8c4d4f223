import { isAbsolute, join, relative } from 'node:path';
import { parse } from 'yaml';
import type { ServiceTrace } from '#core/plan-sources';

export interface ComposeFacts {
  readonly services: readonly ServiceTrace[];
  /** Directories of this machine that other services work in, relative to the compose file. */
  readonly mounts: readonly { readonly path: string; readonly service: string }[];
  /** Volumes that docker keeps somewhere of its own. */
  readonly volumes: readonly { readonly name: string; readonly service: string }[];
}

const POSTGRES = /(?:^|\/)(?:postgres|postgresql|postgis|pgvector|timescaledb(?:-ha)?|supabase\/postgres)(?::|@|$)/;
const REDIS = /(?:^|\/)(?:redis|redis-stack-server|valkey)(?::|@|$)/;

/**
 * What a compose file says about databases and directories. Total: an odd file gives fewer facts.
 * @param file absolute
 * @param known names the variables that `.env` has, so that a reference to one may stay a reference
 * @throws what the YAML parser throws
 */
export function readCompose(text: string, file: string, known: ReadonlySet<string>): ComposeFacts {
  const folder = file.slice(0, file.lastIndexOf('/'));
  const services: ServiceTrace[] = [];
  const mounts: { path: string; service: string }[] = [];
  const volumes: { name: string; service: string }[] = [];
  for (const [service, value] of Object.entries(record(record(parse(text))['services']))) {
    const settings = record(value);
    const image = String(settings['image'] ?? '');
    const engine = POSTGRES.test(image) ? 'postgres' : REDIS.test(image) ? 'redis' : null;
    if (engine !== null) {
      services.push(serverOf(engine, service, settings, { image, file, known }));
      // Its data directory is not to be copied while it runs.
      continue;
    }
    for (const from of listed(settings['volumes']).map(volumeSource)) {
      if (from === null) continue;
      const path =
        from.startsWith('.') || isAbsolute(from) ? relative(folder, join(isAbsolute(from) ? '' : folder, from)) : null;
      if (path === null) volumes.push({ name: from, service });
      // What lies outside, a socket or the host's own files, is not the application's.
      else if (path !== '' && !path.startsWith('..')) mounts.push({ path, service });
    }
  }
  return { services, mounts, volumes };
}

function serverOf(
  engine: 'postgres' | 'redis',
  service: string,
  settings: Readonly<Record<string, unknown>>,
  where: { readonly image: string; readonly file: string; readonly known: ReadonlySet<string> },
): ServiceTrace {
  const environment = environmentOf(settings['environment']);
  const value = (name: string): string | null => resolved(environment[name] ?? null, where.known);
  const user = value('POSTGRES_USER') ?? 'postgres';
  const container = settings['container_name'];
  return {
    engine,
    service,
    container: typeof container === 'string' ? container : null,
    image: where.image,
    composeFile: where.file,
    user,
    database: value('POSTGRES_DB') ?? user,
    publishedPort: publishedPort(listed(settings['ports']), engine === 'postgres' ? 5432 : 6379),
    wantsPassword:
      /requirepass/.test(JSON.stringify(settings['command'] ?? '')) || environment['REDIS_PASSWORD'] !== undefined,
  };
}

/** A map, or a list of `NAME=value`. */
function environmentOf(value: unknown): Record<string, string> {
  if (!Array.isArray(value)) {
    return Object.fromEntries(Object.entries(record(value)).map(([name, text]) => [name, String(text ?? '')]));
  }
  return Object.fromEntries(
    value.map(String).map((text) => [text.split('=', 1)[0] ?? '', text.slice(text.indexOf('=') + 1)]),
  );
}

/** `${NAME}` stays when `.env` has it; a default is taken otherwise. Null when neither says anything. */
function resolved(text: string | null, known: ReadonlySet<string>): string | null {
  if (text === null) return null;
  const found = /^\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::?[-?](.*))?\})$/.exec(text);
  if (!found) return text.includes('$') ? null : text || null;
  const name = found[1] ?? found[2] ?? '';
  if (known.has(name)) return `\${${name}}`;
  return /:?-/.test(text) && found[3] && !found[3].includes('$') ? found[3] : null;
}

function publishedPort(ports: readonly unknown[], inside: number): number | null {
  for (const port of ports) {
    const long = record(port);
    if (Number(long['target']) === inside && long['published'] !== undefined) return whole(String(long['published']));
    const short = /^(?:\[?[0-9a-f.:]*\]?:)?(\d+):(\d+)(?:\/tcp)?$/i.exec(String(port));
    if (short && Number(short[2]) === inside) return whole(short[1] ?? '');
  }
  return null;
}

function whole(text: string): number | null {
  return /^\d{1,5}$/.test(text) ? Number(text) : null;
}

/** The part before the first colon of `source:target`, or the long form's `source`. */
function volumeSource(volume: unknown): string | null {
  if (typeof volume === 'string') return volume.includes(':') ? (volume.split(':', 1)[0] ?? null) : null;
  const source = record(volume)['source'];
  return typeof source === 'string' ? source : null;
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function listed(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
