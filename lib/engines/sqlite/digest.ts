import { createHash, type Hash } from 'node:crypto';
import type { DatabaseSync, SQLOutputValue } from 'node:sqlite';
import { lacksApplication, quoteName } from '#engines/sqlite/database';
import type { TableContents } from '#engines/sqlite/protocol';

/**
 * `sqlite1`: sha256 over all rows of a table in the order of its own b-tree (rowid, or primary key WITHOUT ROWID), each
 * value with its storage class, so that 1, 1.0 and '1' differ and a cell moved to another row is seen.
 *
 * Left out: virtual generated columns (they are computed, maybe by a function only the application has), virtual
 * tables themselves (their shadow tables are in), and the bytes of single values over 1 MiB, of which only class and
 * length are in, to keep memory bounded: those the snapshot's own sha256 covers.
 */
const LARGE = 1024 * 1024;

const CHUNK = 64 * 1024;
const ROWS_BETWEEN_PAUSES = 20_000;

const TAG = { null: 0, integer: 1, real: 2, text: 3, blob: 4, row: 5 } as const;

export interface ReadTable {
  readonly contents: TableContents;
  /** Why it could not be read here; null when it could. */
  readonly lacking: string | null;
}

export async function readTable(database: DatabaseSync, name: string): Promise<ReadTable> {
  try {
    return { contents: { name, ...(await digestRows(database, name)) }, lacking: null };
  } catch (error) {
    if (!lacksApplication(error)) throw error;
    return { contents: { name, rows: null, digest: null }, lacking: (error as Error).message };
  }
}

async function digestRows(database: DatabaseSync, name: string): Promise<{ rows: number; digest: string }> {
  const columns = database
    .prepare('select name from pragma_table_xinfo(?) where hidden in (0, 3) order by cid')
    .all(name) as { name: string }[];
  const values = columns.map(({ name: column }) => {
    const quoted = quoteName(column);
    // `octet_length` does not load the value.
    return `case when octet_length(${quoted}) > ${LARGE} then typeof(${quoted}) || octet_length(${quoted}) else ${quoted} end`;
  });
  const statement = database.prepare(`select ${values.join(', ')} from main.${quoteName(name)} not indexed`, {
    returnArrays: true,
    readBigInts: true,
  });
  const writer = new RowWriter();
  let rows = 0;
  for (const row of statement.iterate() as Iterable<unknown> as Iterable<SQLOutputValue[]>) {
    for (const value of row) writer.value(value);
    writer.endRow();
    rows += 1;
    // Else nothing else is heard meanwhile, such as that the parent is gone.
    if (rows % ROWS_BETWEEN_PAUSES === 0) await new Promise((resume) => setImmediate(resume));
  }
  return { rows, digest: writer.digest() };
}

/** Gathers small values, so that the hash is not called for each. */
class RowWriter {
  readonly #hash: Hash = createHash('sha256');
  readonly #chunk = Buffer.allocUnsafe(CHUNK);
  #length = 0;

  value(value: SQLOutputValue): void {
    if (value === null) this.#tag(TAG.null, 1);
    else if (typeof value === 'bigint') {
      this.#tag(TAG.integer, 9);
      this.#length = this.#chunk.writeBigInt64LE(value, this.#length);
    } else if (typeof value === 'number') {
      this.#tag(TAG.real, 9);
      this.#length = this.#chunk.writeDoubleLE(value, this.#length);
    } else if (typeof value === 'string') this.#bytes(TAG.text, Buffer.from(value, 'utf8'));
    else this.#bytes(TAG.blob, value);
  }

  endRow(): void {
    this.#tag(TAG.row, 1);
  }

  digest(): string {
    this.#flush();
    return this.#hash.digest('hex');
  }

  #tag(tag: number, room: number): void {
    if (this.#length + room > CHUNK) this.#flush();
    this.#chunk[this.#length] = tag;
    this.#length += 1;
  }

  #bytes(tag: number, bytes: Uint8Array): void {
    this.#tag(tag, 5);
    this.#length = this.#chunk.writeUInt32LE(bytes.length, this.#length);
    if (bytes.length > CHUNK - this.#length) this.#flush();
    if (bytes.length > CHUNK) this.#hash.update(bytes);
    else {
      this.#chunk.set(bytes, this.#length);
      this.#length += bytes.length;
    }
  }

  #flush(): void {
    this.#hash.update(this.#chunk.subarray(0, this.#length));
    this.#length = 0;
  }
}
