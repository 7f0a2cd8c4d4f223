import type { DatabasePrint, SequencePosition } from '#engines/postgres/fingerprint';
import type { Session } from '#engines/postgres/session';
import { batches, qualified } from '#engines/postgres/sql';

/** Objects that pg_dump leaves to `CREATE EXTENSION`. */
const EXTENSION_MEMBER = (catalog: string, alias: string): string =>
  `exists (select from pg_catalog.pg_depend x where x.classid = 'pg_catalog.${catalog}'::pg_catalog.regclass
     and x.objid = ${alias}.oid and x.deptype = 'e')`;
const USER_SCHEMA = `n.nspname !~ '^pg_' and n.nspname <> 'information_schema'`;

export interface TableFacts {
  readonly oid: string;
  readonly schema: string;
  readonly name: string;
  /** Partitioned parents have no rows of their own. */
  readonly partitioned: boolean;
  readonly unlogged: boolean;
  /** An estimate: asking for the real size would wait for locks. */
  readonly pages: number;
}

const DUMPED_TABLES = `pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and c.relpersistence <> 't' and ${USER_SCHEMA}
      and not ${EXTENSION_MEMBER('pg_class', 'c')}`;

/** Ordinary and partitioned tables a dump reads, by schema and name. Runs in the transaction it is called in. */
export async function listTables(session: Session): Promise<TableFacts[]> {
  const rows = await session.query(`
    select c.oid, n.nspname, c.relname, c.relkind = 'p', c.relpersistence = 'u', c.relpages
    from ${DUMPED_TABLES} order by n.nspname collate "C", c.relname collate "C"`);
  return rows.map(([oid, schema, name, partitioned, unlogged, pages]) => ({
    oid: oid as string,
    schema: schema as string,
    name: name as string,
    partitioned: partitioned === 't',
    unlogged: unlogged === 't',
    pages: Number(pages),
  }));
}

/**
 * Whether `listTables` would tell the same tables. Asked instead of a second list: of twenty thousand tables that is
 * 8 MiB, in the very moment when pg_dump begins to take its own (I8).
 */
export async function areStillListed(session: Session, tables: readonly TableFacts[]): Promise<boolean> {
  const [oids] = await session.one(`
    select coalesce(pg_catalog.string_agg(c.oid::pg_catalog.text, ' ' order by c.oid), '') from ${DUMPED_TABLES}`);
  const known = tables.map((table) => Number(table.oid)).sort((a, b) => a - b);
  return oids === known.join(' ');
}

/**
 * `row(a, b collate "C", c::text)` of each table by its oid; none for a table without columns that a dump carries.
 * By the columns' names, since a restore may put inherited ones in another order.
 */
export async function rowExpressions(session: Session, tables: readonly TableFacts[]): Promise<Map<string, string>> {
  const [version] = await session.one(`select pg_catalog.current_setting('server_version_num')`);
  const rows = await session.query(`
    select a.attrelid, pg_catalog.string_agg(
        case
          when a.atttypid in (16, 20, 21, 23, 26, 17, 19, 869, 1082, 1114, 1184, 2950) then pg_catalog.format('%I', a.attname)
          when a.atttypid in (25, 1043) then pg_catalog.format('%I collate "C"', a.attname)
          -- What a dump holds is what format() writes. xml as text still has a declaration that the dump drops; and a
          -- cast to text of the user's own says what it likes, or fails. Domains lie over either, and over domains.
          when exists (select from pg_catalog.pg_type t left join pg_catalog.pg_type u on u.oid = t.typbasetype
              where t.oid = a.atttypid and (142 in (t.oid, t.typbasetype, u.typbasetype) or exists (
                select from pg_catalog.pg_cast k where k.castsource in (t.oid, t.typbasetype, u.typbasetype)
                  and k.casttarget = 25 and k.castfunc >= 16384)))
            then pg_catalog.format(
              'case when pg_catalog.num_nulls(%1$I) = 0 then pg_catalog.format(''%%s'', %1$I) end collate "C"', a.attname)
          else pg_catalog.format('%I::pg_catalog.text collate "C"', a.attname)
        end, ', ' order by a.attname collate "C")
    from pg_catalog.pg_attribute a
    where a.attrelid in (${tables.map((table) => table.oid).join(', ')}) and a.attnum > 0 and not a.attisdropped
      ${Number(version) >= 120_000 ? "and a.attgenerated = ''" : ''}
    group by a.attrelid`);
  return new Map(rows.map(([oid, columns]) => [oid as string, `row(${columns})`]));
}

export interface SequenceFacts {
  readonly schema: string;
  readonly name: string;
  readonly increment: string;
  readonly min: string;
  readonly max: string;
  readonly cycle: boolean;
}

export async function listSequences(session: Session): Promise<SequenceFacts[]> {
  const rows = await session.query(`
    select n.nspname, c.relname, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle
    from pg_catalog.pg_sequence s join pg_catalog.pg_class c on c.oid = s.seqrelid
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relpersistence <> 't' and ${USER_SCHEMA} and not ${EXTENSION_MEMBER('pg_class', 'c')}
    order by n.nspname collate "C", c.relname collate "C"`);
  return rows.map(([schema, name, increment, min, max, cycle]) => ({
    schema: schema as string,
    name: name as string,
    increment: increment as string,
    min: min as string,
    max: max as string,
    cycle: cycle === 't',
  }));
}

/** Where each sequence stands now, whatever snapshot the session has. In the order given. */
export async function sequencePositions(
  session: Session,
  sequences: readonly SequenceFacts[],
): Promise<SequencePosition[]> {
  const positions: SequencePosition[] = [];
  for (const batch of batches(sequences, 200)) {
    const rows = await session.query(
      `${batch
        .map((sequence, index) => `select ${index}, last_value, is_called from ${qualified(sequence)}`)
        .join(' union all ')} order by 1`,
    );
    for (const [, value, called] of rows) positions.push({ value: value as string, called: called === 't' });
  }
  return positions;
}

type Frame = Omit<DatabasePrint, 'artifact' | 'tables' | 'sequences' | 'largeObjects' | 'searchPath'>;

/** Everything the fingerprint holds of a database except rows, sequences and large objects. */
export async function readFrame(session: Session): Promise<Frame> {
  const [name, owner, encoding, provider, collate, ctype, locale, icuRules] = await session.one(`
    select d.datname, pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_encoding_to_char(d.encoding), coalesce(j ->> 'datlocprovider', 'c'), d.datcollate,
      d.datctype, coalesce(j ->> 'datlocale', j ->> 'daticulocale'), j ->> 'daticurules'
    from pg_catalog.pg_database d, lateral (select pg_catalog.to_jsonb(d) as j) as jsonb
    where d.datname = pg_catalog.current_database()`);
  const extensions = await session.query(`
    select extname from pg_catalog.pg_extension where extname <> 'plpgsql' order by extname collate "C"`);
  const matviews = await session.query(`
    select n.nspname, c.relname, c.relispopulated, pg_catalog.md5(pg_catalog.pg_get_viewdef(c.oid))
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'm' and ${USER_SCHEMA} and not ${EXTENSION_MEMBER('pg_class', 'c')} order by 1, 2`);
  const relations = await session.query(`
    select n.nspname, c.relname, case c.relkind when 'v' then 'view' when 'f' then 'foreign table' else 'partitioned table' end
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('v', 'f', 'p') and c.relpersistence <> 't' and ${USER_SCHEMA}
      and not ${EXTENSION_MEMBER('pg_class', 'c')}
    order by 1, 2`);
  const roles = await session.query(`
    select r.rolname from pg_catalog.pg_roles r
    where r.rolname !~ '^pg_' and (r.oid = 10
      or r.oid = (select datdba from pg_catalog.pg_database where datname = pg_catalog.current_database())
      or exists (select from pg_catalog.pg_shdepend s
        where s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass and s.refobjid = r.oid
          and (s.dbid = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
            or s.dbid = 0 and s.classid = 'pg_catalog.pg_subscription'::pg_catalog.regclass)))
    order by r.oid`);
  const superusers = await session.query(`
    select pg_catalog.pg_get_userbyid(evtowner) from pg_catalog.pg_event_trigger
    union select pg_catalog.pg_get_userbyid(fdwowner) from pg_catalog.pg_foreign_data_wrapper
    union select pg_catalog.pg_get_userbyid(subowner) from pg_catalog.pg_subscription
      where subdbid = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database()) order by 1`);
  const settings = await session.query(`
    select pg_catalog.unnest(setconfig) from pg_catalog.pg_db_role_setting
    where setrole = 0 and setdatabase = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())`);
  return {
    name: name as string,
    owner: owner as string,
    encoding: encoding as string,
    provider: provider as string,
    collate: collate ?? '',
    ctype: ctype ?? '',
    locale: locale ?? null,
    icuRules: icuRules ?? null,
    extensions: extensions.map(([extension]) => extension as string),
    matviews: matviews.map(([schema, view, populated, definition]) => ({
      schema: schema as string,
      name: view as string,
      populated: populated === 't',
      definition: definition ?? '',
    })),
    relations: relations.map(([schema, relation, kind]) => ({
      schema: schema as string,
      name: relation as string,
      kind: kind as string,
    })),
    objects: await countObjects(session),
    roles: roles.map(([role]) => role as string),
    superusers: superusers.map(([role]) => role as string),
    settings: settings.map(([setting]) => setting as string),
  };
}

async function countObjects(session: Session): Promise<Record<string, number>> {
  const inUserSchema = (catalog: string, alias: string, namespace: string): string =>
    `pg_catalog.${catalog} ${alias} join pg_catalog.pg_namespace n on n.oid = ${alias}.${namespace}
     where ${USER_SCHEMA} and not ${EXTENSION_MEMBER(catalog, alias)}`;
  const onTable = (catalog: string, alias: string, column: string): string =>
    `pg_catalog.${catalog} ${alias} join pg_catalog.pg_class c on c.oid = ${alias}.${column}
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.relpersistence <> 't' and ${USER_SCHEMA} and not ${EXTENSION_MEMBER('pg_class', 'c')}`;
  const rows = await session.query(`
    select 'constraints', count(*) from ${onTable('pg_constraint', 'o', 'conrelid')} and o.contype in ('p', 'u', 'f', 'x')
      and o.conparentid = 0
    union all select 'indexes', count(*) from ${onTable('pg_index', 'o', 'indrelid')}
      and (o.indisvalid or c.relkind = 'p')
    union all select 'triggers', count(*) from ${onTable('pg_trigger', 'o', 'tgrelid')} and not o.tgisinternal
    union all select 'policies', count(*) from ${onTable('pg_policy', 'o', 'polrelid')}
    union all select 'functions', count(*) from ${inUserSchema('pg_proc', 'o', 'pronamespace')}
    union all select 'types', count(*) from ${inUserSchema('pg_type', 'o', 'typnamespace')} and o.typtype in ('d', 'e', 'r', 'c')`);
  return Object.fromEntries(rows.map(([kind, count]) => [kind as string, Number(count)]));
}

/** Materialized views that read, maybe through others, one that is not populated. */
export async function viewsOfUnpopulated(
  session: Session,
): Promise<readonly { readonly schema: string; readonly name: string }[]> {
  const rows = await session.query(`
    with recursive reading as (
      select c.oid as view, false as one_of_them from pg_catalog.pg_class c where c.relkind = 'm' and not c.relispopulated
      union
      select r.ev_class, true from reading join pg_catalog.pg_depend d on d.refobjid = reading.view
          and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
        join pg_catalog.pg_rewrite r on r.oid = d.objid and r.ev_class <> reading.view)
    select n.nspname, c.relname from reading join pg_catalog.pg_class c on c.oid = reading.view
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relkind = 'm' and one_of_them`);
  return rows.map(([schema, name]) => ({ schema: schema as string, name: name as string }));
}

/** Row types of tables and views that belong to extensions: in `types` of `readFrame`, though nobody dumps them. */
export async function countExtensionRowTypes(session: Session): Promise<number> {
  const [count] = await session.one(`
    select count(*) from pg_catalog.pg_type o join pg_catalog.pg_class c on c.oid = o.typrelid
      join pg_catalog.pg_namespace n on n.oid = o.typnamespace
    where ${USER_SCHEMA} and o.typtype = 'c' and not ${EXTENSION_MEMBER('pg_type', 'o')} and ${EXTENSION_MEMBER('pg_class', 'c')}`);
  return Number(count);
}

/** Every role but PostgreSQL's own; oldest first, since policies name their roles in that order. */
export async function listRoles(session: Session): Promise<string[]> {
  const rows = await session.query(`select rolname from pg_catalog.pg_roles where rolname !~ '^pg_' order by oid`);
  return rows.map(([role]) => role as string);
}
