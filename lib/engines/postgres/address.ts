import { UsageError } from '#core/errors';

/** Where a PostgreSQL database is reached. The password is kept apart: it never enters argv or a text. */
export interface Address {
  /** libpq keywords: `host`, `port`, `user`, `dbname`, `sslmode`, … without `password`. */
  readonly keywords: Readonly<Record<string, string>>;
  readonly password: string | null;
}

const HINT = 'write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, special characters as %40 for @ or %2F for /';
/** Secrets that libpq takes only as an argument. */
const REFUSED = ['sslpassword', 'oauth_client_secret'];

/**
 * What urls tell other clients alone: Prisma, SQLAlchemy, Rails, Doctrine, postgres.js, node-postgres, JDBC, Supabase. A
 * dump holds every schema, whatever `schema` says.
 */
const OTHERS_OWN = new Set(
  `schema pgbouncer connection_limit pool_timeout socket_timeout statement_cache_size sslaccept sslidentity
   prepared_statement_cache_size pool_size max_overflow pool_recycle pool timeout prepared_statements
   serverversion charset encoding prepare max uselibpqcompat currentschema supa`.split(/\s+/),
);

/** Of libpq 18; anything else would be refused by the client, with less to go by. */
const LIBPQ = new Set(
  `host hostaddr port dbname user password passfile require_auth channel_binding connect_timeout client_encoding options
   application_name fallback_application_name keepalives keepalives_idle keepalives_interval keepalives_count
   tcp_user_timeout replication gssencmode sslmode requiressl sslnegotiation sslcompression sslcert sslkey sslkeylogfile
   sslrootcert sslcrl sslcrldir sslcertmode sslsni requirepeer ssl_min_protocol_version ssl_max_protocol_version
   min_protocol_version max_protocol_version krbsrvname gsslib gssdelegation scram_client_key scram_server_key service
   target_session_attrs load_balance_hosts oauth_issuer oauth_client_id oauth_scope`.split(/\s+/),
);

/** What `ssl=` means to other clients, and `sslmode=` to node-postgres, in libpq's words. */
const SSL: Readonly<Record<string, string>> = {
  true: 'require',
  '1': 'require',
  false: 'disable',
  '0': 'disable',
  'no-verify': 'require',
};

/**
 * Reads `postgres://` and `postgresql://` addresses as libpq does: several hosts, `?host=/socket/dir`, percent signs.
 * @throws UsageError never naming the address itself: it may hold a password
 */
export function parseAddress(url: string, what = 'the postgres url'): Address {
  const wrong = (message: string): UsageError => new UsageError(`${what} ${message}`, { hint: HINT });
  // `postgresql+asyncpg://` is SQLAlchemy's way to name a driver.
  const scheme = /^postgres(?:ql)?(?:\+\w+)?:\/\//.exec(url);
  if (!scheme) throw wrong('does not begin with postgresql:// (its value is not shown: it may hold a password)');
  const rest = url.slice(scheme[0].length);
  const [, authority = '', path = '', query = ''] = /^([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/s.exec(rest) ?? [];
  if (path.includes('@')) throw wrong('has a / in its password that is not written as %2F');
  const at = authority.lastIndexOf('@');
  const credentials = at < 0 ? '' : authority.slice(0, at);
  const colon = credentials.indexOf(':');
  const keywords: Record<string, string> = {};
  const decode = (text: string): string => {
    try {
      return decodeURIComponent(text);
    } catch {
      throw wrong('has a % that is no percent-encoding');
    }
  };
  const put = (key: string, value: string): void => {
    if (value !== '') keywords[key] = value;
  };
  put('user', decode(colon < 0 ? credentials : credentials.slice(0, colon)));
  let password = colon < 0 ? null : decode(credentials.slice(colon + 1));
  const hosts: string[] = [];
  const ports: string[] = [];
  for (const host of authority.slice(at + 1).split(',')) {
    const found = /^(\[[0-9A-Fa-f:.%]+\]|[^:]*)(?::(\d*))?$/.exec(host);
    if (!found) throw wrong('has no number after the colon of its host (the password may hold a / or @ as it is)');
    hosts.push(decode((found[1] as string).replace(/^\[|\]$/g, '')));
    ports.push(found[2] ?? '');
  }
  put('host', hosts.some(Boolean) ? hosts.join(',') : '');
  put('port', ports.some(Boolean) ? ports.join(',') : '');
  put('dbname', decode(path));
  for (const pair of query.split('&').filter(Boolean)) {
    const equals = pair.indexOf('=');
    if (equals < 1) throw wrong('has a parameter without a value');
    const key = decode(pair.slice(0, equals));
    const value = decode(pair.slice(equals + 1));
    if (REFUSED.includes(key)) throw wrong(`has the parameter ${key}, which could only be passed in argv`);
    if (key === 'password') password = value;
    else if (key === 'ssl' || key === 'sslmode') put('sslmode', SSL[value] ?? value);
    else if (LIBPQ.has(key)) put(key, value);
    else if (!OTHERS_OWN.has(key.toLowerCase()))
      throw wrong(`has the parameter ${key}, which PostgreSQL's own clients do not know: take it out`);
  }
  if (password !== null && /[\r\n]/.test(password)) throw wrong('has a line break in its password');
  return { keywords, password };
}

/** For `-d`: `host='/tmp' dbname='x'`, without the password. */
export function conninfo({ keywords }: Address): string {
  return Object.entries({ connect_timeout: '15', application_name: 'holdfast', ...keywords })
    .map(([key, value]) => `${key}='${value.replace(/[\\']/g, '\\$&')}'`)
    .join(' ');
}

/** For people: `postgresql://user@host:5432/db`, no password. */
export function printable(address: Address): string {
  const { user, host = 'localhost', port = '', dbname } = address.keywords;
  const ports = port.split(',');
  const places = host.split(',').map((one, index) => {
    const place = one.startsWith('/') ? `[${one}]` : one;
    // One port is that of every host.
    const own = ports[ports.length === 1 ? 0 : index];
    return own ? `${place}:${own}` : place;
  });
  return `postgresql://${user ? `${user}@` : ''}${places.join(',')}/${dbname ?? ''}`;
}

/** A URL that libpq reads, of an address without a password. */
export function toUrl({ keywords }: Address): string {
  const { dbname, ...rest } = keywords;
  const query = Object.entries(rest)
    .map(([key, value]) => `${key}=${encodeURIComponent(value)}`)
    .join('&');
  return `postgresql:///${encodeURIComponent(dbname ?? '')}?${query}`;
}
