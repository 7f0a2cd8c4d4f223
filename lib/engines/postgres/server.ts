import { SourceUnsupported } from '#core/errors';
import type { Identity } from '#core/manifest';
import { SqlFailed } from '#engines/postgres/failures';
import type { Session } from '#engines/postgres/session';

const OLDEST = 11;

/** What one connection tells of its server, its login and its database. */
export interface ServerFacts {
  /** `15.18` */
  readonly version: string;
  readonly major: number;
  readonly standby: boolean;
  readonly superuser: boolean;
  readonly user: string;
  readonly database: string;
  readonly databaseOid: string;
  readonly bytes: number;
}

/** @throws SourceUnsupported a server older than 11, which lacks the hash functions of the digest */
export async function readServer(session: Session): Promise<ServerFacts> {
  const [number, version, standby, superuser, user, database, oid, bytes] = await session.one(`
    select current_setting('server_version_num'), current_setting('server_version'), pg_is_in_recovery(),
      (select rolsuper from pg_catalog.pg_roles where rolname = current_user), current_user, current_database(),
      d.oid, pg_database_size(d.oid)
    from pg_catalog.pg_database d where d.datname = current_database()`);
  const major = Math.floor(Number(number) / 10_000);
  if (major < OLDEST)
    throw new SourceUnsupported(`the server is PostgreSQL ${version}, Holdfast reads ${OLDEST} and newer`, {
      hint: 'upgrade the server, or back it up with the tools of its time',
    });
  return {
    version: (version ?? '').split(' ')[0] as string,
    major,
    standby: standby === 't',
    superuser: superuser === 't',
    user: user as string,
    database: database as string,
    databaseOid: oid as string,
    bytes: Number(bytes),
  };
}

/** Of all databases a backup of all would hold. */
export async function bytesOfAll(session: Session): Promise<number> {
  const [bytes] = await session.one(`
    select coalesce(sum(pg_catalog.pg_database_size(oid)), 0) from pg_catalog.pg_database
    where datallowconn and datname not in ('template0', 'template1') and pg_catalog.has_database_privilege(oid, 'CONNECT')`);
  return Number(bytes);
}

/**
 * Which source this is: another system identifier or database oid is another source. Managed servers may keep the
 * identifier to themselves; `unknown` then, always.
 */
export async function readIdentity(session: Session, facts: ServerFacts): Promise<Identity> {
  let system = 'unknown';
  try {
    [system] = (await session.one('select system_identifier from pg_catalog.pg_control_system()')) as [string];
  } catch (error) {
    if (!(error instanceof SqlFailed)) throw error;
  }
  return { system, database: facts.database, oid: facts.databaseOid };
}
