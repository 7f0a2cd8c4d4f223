import type { TableFacts } from '#engines/postgres/catalog';
import type { Session } from '#engines/postgres/session';
import { quoteName, quoteText } from '#engines/postgres/sql';

/** The GRANTs this login needs to dump these tables and all sequences; empty = it has them. */
export async function missingGrants(session: Session, tables: readonly TableFacts[], user: string): Promise<string[]> {
  const to = quoteName(user);
  const oids = tables.map((table) => table.oid).join(', ') || 'null';
  const rows = await session.query(`
    select distinct pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %s;', n.nspname, ${quoteText(to)}), 1
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.oid in (${oids}) and not pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    union all
    select pg_catalog.format('GRANT SELECT ON %I.%I TO %s;', n.nspname, c.relname, ${quoteText(to)}), 2
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.oid in (${oids}) and not pg_catalog.has_table_privilege(c.oid, 'SELECT')
    union all
    select pg_catalog.format('GRANT SELECT ON SEQUENCE %I.%I TO %s;', n.nspname, c.relname, ${quoteText(to)}), 3
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and case when c.relkind = 'S' and c.relpersistence <> 't' then not pg_catalog.has_sequence_privilege(c.oid, 'SELECT') end
    order by 2, 1`);
  return rows.map(([grant]) => grant as string);
}

/** Large objects this login cannot read. */
export async function unreadableLargeObjects(session: Session): Promise<number> {
  const [count] = await session.one(`
    select count(*) from pg_catalog.pg_largeobject_metadata m
    where not (select rolsuper from pg_catalog.pg_roles where rolname = current_user)
      and not pg_catalog.pg_has_role(m.lomowner, 'USAGE')
      and pg_catalog.current_setting('lo_compat_privileges') = 'off'
      and not exists (select from pg_catalog.aclexplode(m.lomacl) a
        where a.privilege_type = 'SELECT'
          and (a.grantee = 0 or pg_catalog.pg_has_role(a.grantee, 'USAGE')))`);
  return Number(count);
}

/** Foreign keys from a chosen table to one that is not: `[table, table it needs]`. */
export async function leavingForeignKeys(
  session: Session,
  chosen: readonly TableFacts[],
): Promise<readonly (readonly [string, string])[]> {
  const oids = chosen.map((table) => table.oid).join(', ') || 'null';
  const rows = await session.query(`
    select distinct f.nspname || '.' || c.relname, t.nspname || '.' || r.relname
    from pg_catalog.pg_constraint k
      join pg_catalog.pg_class c on c.oid = k.conrelid join pg_catalog.pg_namespace f on f.oid = c.relnamespace
      join pg_catalog.pg_class r on r.oid = k.confrelid join pg_catalog.pg_namespace t on t.oid = r.relnamespace
    where k.contype = 'f' and k.conrelid in (${oids}) and k.confrelid not in (${oids}) order by 1, 2`);
  return rows.map(([from, to]) => [from as string, to as string] as const);
}
