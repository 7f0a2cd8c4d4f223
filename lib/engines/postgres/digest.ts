import { rowExpressions, type TableFacts } from '#engines/postgres/catalog';
import type { DatabasePrint, TablePrint } from '#engines/postgres/fingerprint';
import type { Session } from '#engines/postgres/session';
import { withoutKeepingLocks } from '#engines/postgres/snapshot';
import { batches, qualified } from '#engines/postgres/sql';

/**
 * `pg1`: the sum over a table's rows of a hash of the row's hash. The inner hash alone adds up columns linearly, so
 * that its sum does not see a cell exchanged between two rows; the outer one breaks that. `pg1-text` is the same over
 * the row as text, for servers before 14, which cannot hash a record.
 */
export type DigestId = 'pg1' | 'pg1-text';

export function digestOf(major: number): DigestId {
  return major >= 14 ? 'pg1' : 'pg1-text';
}

/** Rows and content, or rows only. */
export type Depth = { readonly digest: DigestId } | 'counts';

/** One big table a statement; small ones together, since twenty thousand round trips would take longer than the rows. */
const SMALL_PAGES = 16;
const TOGETHER = 100;

/** In the transaction it is called in; keeps no lock that was not there before. */
export async function digestTables(
  session: Session,
  tables: readonly TableFacts[],
  depth: Depth,
): Promise<TablePrint[]> {
  const prints = new Map<TableFacts, TablePrint>();
  const small = tables.filter((table) => table.pages <= SMALL_PAGES);
  const big = tables.filter((table) => table.pages > SMALL_PAGES);
  for (const batch of [...big.map((table) => [table]), ...batches(small, TOGETHER)]) {
    const records = depth === 'counts' ? new Map<string, string>() : await rowExpressions(session, batch);
    const statement = batch
      .map((table, index) => `select ${index}, ${measure(table, records.get(table.oid), depth)}`)
      .join(' union all ');
    const rows = await withoutKeepingLocks(session, () => session.query(statement));
    for (const [index, count, digest] of rows) {
      const table = batch[Number(index)] as TableFacts;
      const { schema, name } = table;
      prints.set(table, { schema, name, rows: Number(count), digest: digest ?? null });
    }
  }
  return tables.map((table) => {
    const print = prints.get(table);
    if (!print) throw new Error(`the server gave no count of ${table.schema}.${table.name}`);
    return print;
  });
}

function measure(table: TableFacts, record: string | undefined, depth: Depth): string {
  // ONLY: the rows of children and partitions are counted with those.
  const from = `from only ${qualified(table)}`;
  if (depth === 'counts') return `pg_catalog.count(*), null::pg_catalog.text ${from}`;
  if (record === undefined) return `pg_catalog.count(*), '0' ${from}`;
  const inner =
    depth.digest === 'pg1'
      ? `pg_catalog.hash_record_extended(${record}, 0)::pg_catalog.text`
      : `(${record})::pg_catalog.text`;
  // A sum of bigint is numeric and cannot run over; summing numerics is the same at a seventh more of the whole (narrow rows).
  return `pg_catalog.count(*), coalesce(pg_catalog.sum(pg_catalog.hashtextextended(${inner} collate "C", 1)), 0)::pg_catalog.text ${from}`;
}

/** Bytes of a large object that are in the server's memory at once. */
const CHUNK = 1024 * 1024;

/**
 * Large objects by `lo_get`, as pg_dump reads them: pg_largeobject itself is closed to plain users, and its pages
 * differ after a restore where the object had holes.
 */
export async function digestLargeObjects(
  session: Session,
  depth: Depth,
): Promise<NonNullable<DatabasePrint['largeObjects']>> {
  const [count] = await session.one('select count(*) from pg_catalog.pg_largeobject_metadata');
  if (count === '0') return { count: 0, bytes: 0, digest: depth === 'counts' ? null : '0' };
  if (depth === 'counts') return { count: Number(count), bytes: 0, digest: null };
  // OFFSET 0 keeps the planner from pulling the calls apart: open, size, close must follow each other.
  const [bytes, digest] = await session.one(`
    select coalesce(sum(size.bytes), 0)::pg_catalog.text, sum(
      pg_catalog.hashtextextended(file.oid::pg_catalog.text || ':' || size.bytes::pg_catalog.text || ':' || coalesce((
        select pg_catalog.sum(pg_catalog.hashtextextended(
          n::pg_catalog.text || pg_catalog.md5(pg_catalog.lo_get(file.oid, n * ${CHUNK}, ${CHUNK})), 1)::pg_catalog.numeric)
        from pg_catalog.generate_series(0, (size.bytes - 1) / ${CHUNK}) as n), 0)::pg_catalog.text, 1)::pg_catalog.numeric)::pg_catalog.text
    from (select m.oid, pg_catalog.lo_open(m.oid, 262144) as fd from pg_catalog.pg_largeobject_metadata m offset 0) as file,
      lateral (select pg_catalog.lo_lseek64(file.fd, 0, 2) as bytes offset 0) as size,
      lateral (select pg_catalog.lo_close(case when size.bytes >= 0 then file.fd end) as closed offset 0) as done
    where done.closed = 0`);
  return { count: Number(count), bytes: Number(bytes), digest: digest ?? '0' };
}
