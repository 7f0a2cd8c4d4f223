import { PlanInvalid } from '#core/errors';

/** Where a Redis or Valkey server listens, and who asks. Holds the password: never print it whole. */
export interface RedisAddress {
  readonly tls: boolean;
  readonly host: string;
  readonly port: number;
  /** Path of a unix socket; `host` and `port` mean nothing then. */
  readonly socket: string | null;
  readonly user: string | null;
  readonly password: string | null;
  /** The number in the URL. A backup is of the whole server all the same. */
  readonly database: number;
  readonly cacert: string | null;
  readonly cert: string | null;
  readonly key: string | null;
  readonly sni: string | null;
  readonly insecure: boolean;
}

const WANT = 'want redis://[user:password@]host[:port][/number], rediss://… or unix:///path/to/socket';
const TLS_OPTIONS = ['cacert', 'cert', 'key', 'sni', 'insecure'];
const URL_SHAPE = /^([a-z][a-z+]*):\/\/(?:([^@/?#]*)@)?([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/i;

/**
 * Reads `redis://`, `rediss://`, `valkey://`, `valkeys://` and `unix://`; all parts percent-decoded. TLS files and names are
 * query options: `?cacert=&cert=&key=&sni=&insecure=true`. Not by `new URL`: it knows no user on a socket path.
 * @throws PlanInvalid; its message never holds the URL, which may hold a password
 */
export function parseAddress(url: string): RedisAddress {
  const match = URL_SHAPE.exec(url.trim());
  if (!match) throw new PlanInvalid('redis url cannot be read', { hint: WANT });
  const [, scheme = '', login, authority = '', path = '', query = ''] = match;
  const kind = scheme.toLowerCase();
  const unix = kind === 'unix' || kind === 'redis+unix' || kind === 'redis+socket';
  const tls = kind === 'rediss' || kind === 'valkeys';
  if (!unix && !tls && kind !== 'redis' && kind !== 'valkey')
    throw new PlanInvalid(`redis url: got the scheme ${kind}://`, { hint: WANT });

  const options = readOptions(query, unix, tls);
  const { user, password } = readLogin(login);
  const common = {
    user,
    password: password ?? options.get('password') ?? null,
    cacert: options.get('cacert') ?? null,
    cert: options.get('cert') ?? null,
    key: options.get('key') ?? null,
    sni: options.get('sni') ?? null,
    insecure: /^(1|true|yes)$/i.test(options.get('insecure') ?? ''),
  };
  if (common.user !== null && common.password === null)
    throw new PlanInvalid(`redis url: user ${common.user} comes without a password`, { hint: WANT });
  if (unix) {
    if (authority !== '' || path.length < 2)
      throw new PlanInvalid('redis url: unix:// wants an absolute path (three slashes)', { hint: WANT });
    const database = readDatabase(options.get('db') ?? '');
    return { ...common, tls: false, host: '', port: 0, socket: decode(path), database };
  }
  const place = /^(\[[0-9a-f:.]+(?:%25[^\]]+)?\]|[^:[\]]*)(?::(\d{1,5}))?$/i.exec(authority);
  if (!place) throw new PlanInvalid(`redis url: host and port cannot be read from ${authority}`, { hint: WANT });
  const port = place[2] === undefined ? 6379 : Number(place[2]);
  if (port < 1 || port > 65535) throw new PlanInvalid(`redis url: got port ${port}, want 1 to 65535`, { hint: WANT });
  const host = decode(place[1] || '127.0.0.1').replace(/^\[|\]$/g, '');
  return { ...common, tls, host, port, socket: null, database: readDatabase(path.slice(1)) };
}

/** For people: no user, no password, no options. */
export function printable(address: RedisAddress): string {
  if (address.socket !== null) return `unix://${address.socket}`;
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `${address.tls ? 'rediss' : 'redis'}://${host}:${address.port}`;
}

/** redis-cli's arguments: everything but the password, which every user of the machine could read there. */
export function clientArguments(address: RedisAddress): readonly string[] {
  const place = address.socket !== null ? ['-s', address.socket] : ['-h', address.host, '-p', String(address.port)];
  const login = address.user !== null ? ['--user', address.user] : [];
  if (!address.tls) return [...place, ...login];
  const options = (['cacert', 'cert', 'key', 'sni'] as const).flatMap((name) => {
    const value = address[name];
    return value === null ? [] : [`--${name}`, value];
  });
  return [...place, ...login, '--tls', ...options, ...(address.insecure ? ['--insecure'] : [])];
}

/** The password's way: valkey-cli reads the second name, redis-cli the first. */
export function clientEnvironment(address: RedisAddress): Readonly<Record<string, string>> {
  return address.password === null ? {} : { REDISCLI_AUTH: address.password, VALKEYCLI_AUTH: address.password };
}

function readLogin(login: string | undefined): { user: string | null; password: string | null } {
  if (!login) return { user: null, password: null };
  const colon = login.indexOf(':');
  if (colon < 0) return { user: decode(login) || null, password: null };
  return { user: decode(login.slice(0, colon)) || null, password: decode(login.slice(colon + 1)) || null };
}

function readOptions(query: string, unix: boolean, tls: boolean): ReadonlyMap<string, string> {
  const allowed = unix ? ['db', 'password'] : tls ? TLS_OPTIONS : [];
  const options = new Map<string, string>();
  for (const part of query.split('&').filter(Boolean)) {
    const equals = part.indexOf('=');
    const name = decode(equals < 0 ? part : part.slice(0, equals));
    if (!allowed.includes(name))
      throw new PlanInvalid(`redis url: got the option ${name}`, {
        hint: allowed.length > 0 ? `want one of ${allowed.join(', ')}` : 'TLS options want rediss://',
      });
    options.set(name, equals < 0 ? 'true' : decode(part.slice(equals + 1)));
  }
  return options;
}

function readDatabase(text: string): number {
  if (text === '') return 0;
  if (!/^\d{1,5}$/.test(text))
    throw new PlanInvalid(`redis url: got database ${JSON.stringify(text)}, want a number`, { hint: WANT });
  return Number(text);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new PlanInvalid('redis url: a % is not followed by two hex digits', {
      cause,
      hint: 'percent-encode user and password; % itself is %25',
    });
  }
}
