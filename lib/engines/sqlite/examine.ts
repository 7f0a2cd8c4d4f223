import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import type { DatabaseSync, SQLOutputValue } from 'node:sqlite';
import {
  explain,
  lacksApplication,
  openStill,
  quoteText,
  schemaHash,
  single,
  soundSqliteVersion,
} from '#engines/sqlite/database';
import { readTable } from '#engines/sqlite/digest';
import { readHeader } from '#engines/sqlite/header';
import { type Answered, type Examination, type ExamineRequest, WorkerFailure } from '#engines/sqlite/protocol';

const BLOCK = 1024 * 1024;
const COMPLAINTS_KEPT = 20;
/** An answer goes into the manifest, which is small. */
const PROBE_ROWS = 100;
const PROBE_BYTES = 16 * 1024;

/** Reads a still database from end to end. */
export async function examine({ file, probes }: ExamineRequest): Promise<Examination> {
  const sqlite = soundSqliteVersion();
  readHeader(file);
  // Before SQLite has it open: see readHeader on locks.
  const { bytes, sha256 } = await hashFile(file);
  try {
    const database = openStill(file);
    try {
      const tables = tableNames(database);
      const integrity = checkIntegrity(database);
      const read = [];
      // A damaged file is told as damaged, not as an error of its first unreadable table.
      if (integrity.complaints.length === 0) for (const name of tables) read.push(await readTable(database, name));
      return {
        sqlite,
        bytes,
        sha256,
        encoding: String(single(database.prepare('pragma encoding'))),
        userVersion: Number(single(database.prepare('pragma user_version'))),
        applicationId: Number(single(database.prepare('pragma application_id'))),
        schema: schemaHash(database),
        complaints: integrity.complaints,
        violations: integrity.violations,
        unchecked: [
          ...integrity.unchecked,
          ...read.flatMap(({ contents, lacking }) =>
            lacking === null ? [] : [`rows of table ${contents.name}: ${lacking}`],
          ),
        ],
        tables: read.map(({ contents }) => contents),
        probes: integrity.complaints.length > 0 ? [] : probes.map((probe) => ask(database, probe)),
      };
    } finally {
      database.close();
    }
  } catch (error) {
    throw explain(error, file);
  }
}

/** Tables with pages of their own: no views, no virtual tables, but the latter's shadow tables. */
function tableNames(database: DatabaseSync): readonly string[] {
  const rows = database
    .prepare("select name from sqlite_schema where type = 'table' and rootpage > 0 order by name")
    .all() as { name: string }[];
  return rows.map(({ name }) => name);
}

interface Integrity {
  readonly complaints: readonly string[];
  /** Rows that their own table would not take today. No damage: the file says what the application wrote. */
  readonly violations: readonly string[];
  readonly unchecked: readonly string[];
}

/**
 * `integrity_check` stops at the first function, collation or tokenizer that only the application has. Then each table
 * is checked by itself, and the ones that cannot be are named: never a silent pass.
 */
function checkIntegrity(database: DatabaseSync): Integrity {
  try {
    return { ...integrityOf(database, `integrity_check(${ALL_LINES})`), unchecked: [] };
  } catch (error) {
    if (!cannotBeAsked(error)) throw error;
  }
  const complaints: string[] = [];
  const violations: string[] = [];
  const unchecked: string[] = [];
  const all = database.prepare("select name from sqlite_schema where type = 'table' order by name").all();
  for (const { name: table } of all as { name: string }[]) {
    try {
      const found = integrityOf(database, `integrity_check(${quoteText(table)})`);
      complaints.push(...found.complaints);
      violations.push(...found.violations);
    } catch (error) {
      if (!cannotBeAsked(error)) throw error;
      unchecked.push(`integrity of table ${table}: ${(error as Error).message}`);
    }
  }
  return {
    complaints: complaints.slice(0, COMPLAINTS_KEPT),
    violations: violations.slice(0, COMPLAINTS_KEPT),
    unchecked,
  };
}

/** A full-text table whose tokenizer is not here fails with SQLite's plainest error, and no name. */
function cannotBeAsked(error: unknown): boolean {
  const { errcode = 0 } = error as { errcode?: number };
  return lacksApplication(error) || (errcode & 0xff) === SQLITE_ERROR;
}

const SQLITE_ERROR = 1;
/** Else it stops after 100 lines, of which all may be of rows that break a constraint. */
const ALL_LINES = 2_147_483_647;
const VIOLATION = /^(?:NULL value in |CHECK constraint failed in |(?:non-\w+|NUMERIC|TEXT) value in )/;

function integrityOf(database: DatabaseSync, pragma: string): Omit<Integrity, 'unchecked'> {
  const complaints: string[] = [];
  const violations: string[] = [];
  let lines = 0;
  for (const row of database.prepare(`pragma ${pragma}`).iterate()) {
    lines += 1;
    const line = String(Object.values(row)[0]);
    if (line === 'ok') continue;
    const list = VIOLATION.test(line) ? violations : complaints;
    if (list.length < COMPLAINTS_KEPT && !list.includes(line)) list.push(line);
    if (complaints.length >= COMPLAINTS_KEPT) break;
  }
  if (lines === 0) throw new WorkerFailure('failed', `pragma ${pragma} gave no answer`);
  return { complaints, violations };
}

async function hashFile(file: string): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  const block = Buffer.allocUnsafe(BLOCK);
  const descriptor = openSync(file, 'r');
  let bytes = 0;
  try {
    for (let read = readSync(descriptor, block); read > 0; read = readSync(descriptor, block)) {
      hash.update(block.subarray(0, read));
      bytes += read;
      if ((bytes / BLOCK) % 64 === 0) await new Promise((resume) => setImmediate(resume));
    }
  } finally {
    closeSync(descriptor);
  }
  return { bytes, sha256: hash.digest('hex') };
}

/** A probe that fails does not fail the backup: the engine says so, and does not compare it. */
function ask(database: DatabaseSync, { name, query }: { name: string; query: string }): Answered {
  try {
    const answer = answerOf(database, query);
    const again = answerOf(database, query);
    return { name, answer, failed: null, stable: JSON.stringify(again) === JSON.stringify(answer) };
  } catch (error) {
    return { name, answer: null, failed: (error as Error).message, stable: false };
  }
}

function answerOf(database: DatabaseSync, query: string): (string | null)[][] {
  const statement = database.prepare(query, { returnArrays: true, readBigInts: true });
  if (statement.columns().length === 0) throw new Error('it is not a query');
  const rows: (string | null)[][] = [];
  for (const row of statement.iterate() as Iterable<unknown> as Iterable<SQLOutputValue[]>) {
    if (rows.length === PROBE_ROWS) throw new Error(`it answers with more than ${PROBE_ROWS} rows`);
    rows.push(row.map(textOf));
  }
  if (JSON.stringify(rows).length > PROBE_BYTES) throw new Error(`it answers with more than ${PROBE_BYTES} bytes`);
  return rows;
}

function textOf(value: SQLOutputValue): string | null {
  if (value === null) return null;
  if (typeof value === 'number')
    return Number.isInteger(value) && Math.abs(value) < 1e15 ? value.toFixed(1) : `${value}`;
  if (value instanceof Uint8Array) return `x'${Buffer.from(value).toString('hex')}'`;
  return String(value);
}
