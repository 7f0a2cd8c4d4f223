import { DatabaseSync } from 'node:sqlite';
import {
  explain,
  lacksApplication,
  openStill,
  quoteName,
  quoteText,
  single,
  soundSqliteVersion,
  stillUrl,
} from '#engines/sqlite/database';
import { type Extraction, type ExtractRequest, WorkerFailure } from '#engines/sqlite/protocol';

const CONSTRAINT = 19;

interface SchemaRow {
  readonly type: string;
  readonly name: string;
  readonly tbl_name: string;
  readonly rootpage: number;
  readonly sql: string | null;
}

/**
 * Copies tables with their rows, rowids, indexes and triggers into a new database. A virtual table is copied as its
 * shadow tables and its line in the schema, so that its module need not be here.
 * @throws WorkerFailure a table is not there; no space
 */
export function extractTables({ file, into, tables }: ExtractRequest): Extraction {
  soundSqliteVersion();
  try {
    // `defensive` forbids both writing the schema and making tables with the names of shadow tables.
    const database = new DatabaseSync(into, {
      defensive: false,
      enableForeignKeyConstraints: false,
      enableDoubleQuotedStringLiterals: true,
    });
    try {
      database.exec(`pragma encoding = ${quoteText(encodingOf(file))}`);
      database.exec(`attach ${quoteText(stillUrl(file).href)} as backup`);
      takeSettings(database);
      // A row that is there comes along, whatever its table would say of it today, and with what function.
      database.exec('pragma ignore_check_constraints = on');
      const lacking: string[] = [];
      database.exec('begin');
      const selected = select(database, tables);
      for (const row of selected) {
        try {
          copyTable(database, row);
        } catch (error) {
          throw notByItself(row, error);
        }
      }
      copySequences(database, selected);
      for (const row of dependants(database, selected)) {
        try {
          database.exec(row.sql as string);
        } catch (error) {
          if (!lacksApplication(error)) throw error;
          lacking.push(`${row.type} ${row.name}: ${(error as Error).message}`);
        }
      }
      database.exec('commit');
      return { copied: selected.map(({ name }) => name), lacking };
    } finally {
      database.close();
    }
  } catch (error) {
    throw explain(error, into);
  }
}

/** A database of another encoding could not be attached. */
function encodingOf(file: string): string {
  const database = openStill(file);
  try {
    return String(single(database.prepare('pragma encoding')));
  } finally {
    database.close();
  }
}

/** They can only be set while the new database is empty. */
function takeSettings(database: DatabaseSync): void {
  for (const name of ['page_size', 'auto_vacuum', 'user_version', 'application_id']) {
    const value = single(database.prepare(`pragma backup.${name}`));
    database.exec(`pragma main.${name} = ${typeof value === 'number' ? value : quoteText(String(value))}`);
  }
}

function select(database: DatabaseSync, tables: readonly string[]): readonly SchemaRow[] {
  const all = database
    .prepare("select type, name, tbl_name, rootpage, sql from backup.sqlite_schema where type = 'table'")
    .all() as unknown as SchemaRow[];
  const chosen = new Map<string, SchemaRow>();
  for (const wanted of tables) {
    const found = all.find((row) => row.name === wanted) ?? all.find((row) => sameName(row.name, wanted));
    if (!found || found.name.startsWith('sqlite_'))
      throw new WorkerFailure(
        'no-table',
        `the backup has no table ${wanted}`,
        `it has: ${all
          .map((row) => row.name)
          .filter((name) => !name.startsWith('sqlite_'))
          .slice(0, 30)
          .join(', ')}`,
      );
    chosen.set(found.name, found);
    if (isVirtual(found))
      for (const row of all) if (row.name.startsWith(`${found.name}_`) && !isVirtual(row)) chosen.set(row.name, row);
  }
  return [...chosen.values()];
}

/** SQLite compares names without the case of ASCII letters. */
function sameName(one: string, other: string): boolean {
  const lower = (text: string): string => text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  return lower(one) === lower(other);
}

function isVirtual(row: SchemaRow): boolean {
  return row.rootpage === 0;
}

function copyTable(database: DatabaseSync, row: SchemaRow): void {
  if (isVirtual(row)) {
    database.exec('pragma writable_schema = on');
    database
      .prepare('insert into main.sqlite_schema(type, name, tbl_name, rootpage, sql) values (?, ?, ?, 0, ?)')
      .run(row.type, row.name, row.tbl_name, row.sql);
    database.exec('pragma writable_schema = off');
    return;
  }
  database.exec(row.sql as string);
  const info = database
    .prepare("select name, hidden from pragma_table_xinfo(?, 'backup') where hidden <> 1 order by cid")
    .all(row.name) as { name: string; hidden: number }[];
  const plain = info.filter(({ hidden }) => hidden === 0).map(({ name }) => quoteName(name));
  const taken = new Set(info.map(({ name }) => name.toLowerCase()));
  const { wr } = database.prepare("select wr from pragma_table_list(?) where schema = 'backup'").get(row.name) as {
    wr: number;
  };
  // Rowids that no column shows may be meant all the same: a full-text index points at them.
  const alias = wr === 1 ? undefined : ['rowid', '_rowid_', 'oid'].find((name) => !taken.has(name));
  const columns = [...(alias ? [alias] : []), ...plain].join(', ');
  const table = quoteName(row.name);
  database.exec(`insert into main.${table}(${columns}) select ${columns} from backup.${table} not indexed`);
}

/** A table with a function of the application's, or with rows that it would not take today, comes back with its file only. */
function notByItself(row: SchemaRow, error: unknown): unknown {
  const { errcode = 0, message } = error as Error & { errcode?: number };
  if (!lacksApplication(error) && (errcode & 0xff) !== CONSTRAINT) return error;
  return new WorkerFailure(
    'failed',
    `table ${row.name} cannot be taken out by itself: ${message}`,
    'restore the whole file: leave --only out',
    error,
  );
}

/** What AUTOINCREMENT has given out, even when the rows are gone. */
function copySequences(database: DatabaseSync, selected: readonly SchemaRow[]): void {
  const there = database.prepare("select count(*) from main.sqlite_schema where name = 'sqlite_sequence'");
  if (single(there) === 0) return;
  database.exec('delete from main.sqlite_sequence');
  const copy = database.prepare(
    'insert into main.sqlite_sequence(name, seq) select name, seq from backup.sqlite_sequence where name = ?',
  );
  for (const { name } of selected) copy.run(name);
}

/** Indexes first: a trigger may need them to be quick. Automatic indexes (no sql) came with their tables. */
function dependants(database: DatabaseSync, selected: readonly SchemaRow[]): readonly SchemaRow[] {
  const names = new Set(selected.map(({ name }) => name));
  const rows = database
    .prepare(
      "select type, name, tbl_name, rootpage, sql from backup.sqlite_schema where type in ('index', 'trigger') and sql is not null order by type, rowid",
    )
    .all() as unknown as SchemaRow[];
  return rows.filter((row) => names.has(row.tbl_name));
}
