import type { TablePrint } from '#engines/postgres/fingerprint';
import type { Session } from '#engines/postgres/session';
import { qualified } from '#engines/postgres/sql';

/** Qualified name of a partition → the partitioned table that its rows are spread out by. */
type Routed = ReadonlyMap<string, { readonly schema: string; readonly name: string }>;

/**
 * Partitions by the hash of an enum. That is the hash of an oid, another one in each database, so pg_dump has their rows
 * loaded through the parent, and each may come to lie in another partition than it came from.
 */
export async function routedPartitions(session: Session): Promise<Routed> {
  const rows = await session.query(`
    with recursive hashed as (
        select p.partrelid as parent from pg_catalog.pg_partitioned_table p
        where p.partstrat = 'h' and exists (
          select from pg_catalog.pg_opclass o join pg_catalog.pg_am a on a.oid = o.opcmethod
          where o.oid = any (p.partclass) and o.opcname = 'enum_ops' and a.amname = 'hash')),
      below as (
        select parent, parent as part from hashed
        union select b.parent, i.inhrelid from below b join pg_catalog.pg_inherits i on i.inhparent = b.part)
    select n.nspname, c.relname, t.nspname, p.relname
    from below b join pg_catalog.pg_class c on c.oid = b.part join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      join pg_catalog.pg_class p on p.oid = b.parent join pg_catalog.pg_namespace t on t.oid = p.relnamespace
    where c.relkind = 'r' and not exists (select from below u where u.part = b.parent and u.parent <> b.parent)`);
  return new Map(
    rows.map(([schema, name, ofSchema, parent]) => [
      qualified({ schema: schema as string, name: name as string }),
      { schema: ofSchema as string, name: parent as string },
    ]),
  );
}

/** The same tables, those partitions added up as one table of their parent's name: the digest is a sum over rows. */
export function addedUp(tables: readonly TablePrint[], routed: Routed): TablePrint[] {
  const sums = new Map<string, TablePrint>();
  for (const table of tables) {
    const parent = routed.get(qualified(table));
    const print = { ...table, ...parent };
    const sum = sums.get(qualified(print));
    sums.set(qualified(print), sum ? plus(sum, print) : print);
  }
  return [...sums.values()];
}

function plus(one: TablePrint, other: TablePrint): TablePrint {
  const digest =
    one.digest === null || other.digest === null ? null : String(BigInt(one.digest) + BigInt(other.digest));
  return { ...one, rows: one.rows + other.rows, digest };
}
