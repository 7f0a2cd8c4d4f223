import { SqlFailed } from '#engines/postgres/failures';
import type { Session } from '#engines/postgres/session';
import { quoteName, quoteText } from '#engines/postgres/sql';

const ATTEMPTS = 20;

/** Gives the database `beside` the name `wanted`; one that has it is renamed to `before`. Throws `SqlFailed`. */
export async function switchDatabase(
  session: Session,
  beside: string,
  wanted: string,
  before: string | null,
): Promise<void> {
  if (before === null) {
    await session.query(`alter database ${quoteName(beside)} rename to ${quoteName(wanted)}`);
    return;
  }
  await copyDatabaseRights(session, wanted, beside);
  // No rename while somebody is connected. Those who come back at once are kept out meanwhile.
  await session.query(`alter database ${quoteName(wanted)} allow_connections false`);
  try {
    for (let attempt = 1; ; attempt++) {
      await session.query(
        `select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity where datname = ${quoteText(wanted)}`,
      );
      try {
        await session.query('begin');
        await session.query(`alter database ${quoteName(wanted)} rename to ${quoteName(before)}`);
        await session.query(`alter database ${quoteName(beside)} rename to ${quoteName(wanted)}`);
        await session.query('commit');
        break;
      } catch (error) {
        await session.query('rollback');
        // 55006: a connection that was told to end has not yet.
        if (!(error instanceof SqlFailed && error.sqlstate === '55006') || attempt >= ATTEMPTS) throw error;
      }
    }
  } catch (error) {
    await session.query(`alter database ${quoteName(wanted)} allow_connections true`);
    throw error;
  }
  await session.query(`alter database ${quoteName(before)} allow_connections true`);
}

/** Owner, grants and settings of the database itself, which no dump of its contents holds. */
async function copyDatabaseRights(session: Session, from: string, to: string): Promise<void> {
  const statements = await session.query(`
    with d as (select * from pg_catalog.pg_database where datname = ${quoteText(from)})
    select pg_catalog.format('alter database %I owner to %I', ${quoteText(to)}, pg_catalog.pg_get_userbyid(datdba)) from d
    union all select pg_catalog.format('revoke all on database %I from public', ${quoteText(to)}) from d where datacl is not null
    union all select pg_catalog.format('grant %s on database %I to %s%s', a.privilege_type, ${quoteText(to)},
        case a.grantee when 0 then 'public' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end,
        case when a.is_grantable then ' with grant option' else '' end)
      from d, pg_catalog.aclexplode(d.datacl) a
    union all select pg_catalog.format('alter %s set %s', case s.setrole
          when 0 then pg_catalog.format('database %I', ${quoteText(to)})
          else pg_catalog.format('role %I in database %I', pg_catalog.pg_get_userbyid(s.setrole), ${quoteText(to)}) end,
        ${SETTING_CLAUSE})
      from d join pg_catalog.pg_db_role_setting s on s.setdatabase = d.oid, pg_catalog.unnest(s.setconfig) as entry`);
  for (const [statement] of statements) await session.query(statement as string);
}

/** `name = value` as `ALTER … SET` takes it; lists such as search_path are stored in quotes already. */
const SETTING_CLAUSE = `pg_catalog.format('%I = %s', pg_catalog.split_part(entry, '=', 1),
  case when pg_catalog.split_part(entry, '=', 1) in ('search_path', 'session_preload_libraries', 'local_preload_libraries', 'temp_tablespaces', 'DateStyle')
    then coalesce(nullif(pg_catalog.substr(entry, pg_catalog.strpos(entry, '=') + 1), ''), '''''')
    else pg_catalog.quote_literal(pg_catalog.substr(entry, pg_catalog.strpos(entry, '=') + 1)) end)`;

/**
 * `ALTER DATABASE … SET` of the source, as its fingerprint holds it: `name=value`.
 * @returns those that this login may not set, or that this server does not know, in words
 */
export async function applySettings(
  session: Session,
  database: string,
  settings: readonly string[],
): Promise<string[]> {
  const refused: string[] = [];
  for (const setting of settings) {
    const [clause] = await session.one(`select ${SETTING_CLAUSE} from (values (${quoteText(setting)})) as s(entry)`);
    try {
      await session.query(`alter database ${quoteName(database)} set ${clause}`);
    } catch (error) {
      if (!(error instanceof SqlFailed)) throw error;
      refused.push(`a setting of the database is not restored: set ${clause}: ${error.message}`);
    }
  }
  return refused;
}

/** For a script: one statement for psql's \gexec, about the database it is connected to. */
export function settingsStatement(settings: readonly string[]): string {
  const entries = settings.map((setting) => `(${quoteText(setting)})`).join(', ');
  return `select pg_catalog.format('alter database %I set %s', pg_catalog.current_database(), ${SETTING_CLAUSE.replace(/\n\s*/g, ' ')}) from (values ${entries}) as s(entry)`;
}
