import { createRoles } from '#engines/postgres/create-database';
import { SqlFailed } from '#engines/postgres/failures';
import type { ServerFacts } from '#engines/postgres/server';
import type { Session } from '#engines/postgres/session';
import { quoteText } from '#engines/postgres/sql';

/** What a load makes in the server it loads into, beyond tables and rows. */
export interface RoleNeeds {
  /** Every role of the source's server; those that lack are created. */
  readonly roles: readonly string[];
  /** Those that own something in the source: the login that loads must be allowed to give it to them. */
  readonly owners: readonly string[];
  /** Owners of event triggers, foreign-data wrappers and subscriptions. */
  readonly superusers: readonly string[];
  readonly extensions: readonly string[];
}

/** Asked in the source. The bootstrap superuser stands in no dependency record, so its relations are looked at. */
export async function readOwners(session: Session): Promise<string[]> {
  const rows = await session.query(`
    select pg_catalog.pg_get_userbyid(owner) from (
      select datdba as owner from pg_catalog.pg_database where datname = pg_catalog.current_database()
      union select refobjid from pg_catalog.pg_shdepend
        where deptype = 'o' and refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
          and dbid = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
      union select c.relowner from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname !~ '^pg_' and n.nspname <> 'information_schema') as owners
    order by 1`);
  return rows.map(([owner]) => owner as string);
}

/**
 * Tries what a load would do with roles, in a transaction that is rolled back. Null when a load may do all of it;
 * else what it may not, in words. A login with CREATEDB and CREATEROLE is not yet one that may load: what it creates it
 * must be allowed to give away.
 */
export async function refusedRights(session: Session, facts: ServerFacts, needs: RoleNeeds): Promise<string | null> {
  if (facts.superuser) return null;
  if (needs.superusers.length > 0)
    return `${facts.user} is no superuser, and the source's event triggers, foreign-data wrappers or subscriptions want one`;
  // Before 13 no extension was for everybody.
  const trusted = facts.major >= 13 ? 'v.superuser and not v.trusted' : 'v.superuser';
  const untrusted =
    needs.extensions.length === 0
      ? []
      : await session.query(`
    select e.name from pg_catalog.pg_available_extensions e join pg_catalog.pg_available_extension_versions v
      on v.name = e.name and v.version = e.default_version
    where e.name in (${needs.extensions.map(quoteText).join(', ')}) and ${trusted} order by 1`);
  if (untrusted.length > 0)
    return `${facts.user} is no superuser, and extension ${untrusted.map(([name]) => name).join(', ')} wants one`;
  await session.query('begin');
  try {
    await createRoles(session, needs.roles, []);
    const may = facts.major >= 16 ? 'SET' : 'MEMBER';
    const others = await session.query(`
      select rolname from pg_catalog.pg_roles where rolname in (${needs.owners.map(quoteText).join(', ')})
        and not pg_catalog.pg_has_role(current_user, oid, '${may}') order by 1`);
    if (others.length === 0) return null;
    const names = others.map(([name]) => name as string);
    const list = `${names.slice(0, 5).join(', ')}${names.length > 5 ? `, and ${names.length - 5} more` : ''}`;
    return `${facts.user} is neither superuser nor a member of ${list}, and so may give nothing to the owners that the source has`;
  } catch (error) {
    if (!(error instanceof SqlFailed)) throw error;
    return `${facts.user} may not create the roles of the source: ${error.message}`;
  } finally {
    await session.query('rollback');
  }
}
