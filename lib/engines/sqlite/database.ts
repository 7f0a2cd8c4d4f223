import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { setTimeout as wait } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { quoteShell } from '#core/shell';
import { WorkerFailure } from '#engines/sqlite/protocol';
import { salvageHint } from '#engines/sqlite/salvage';

/** The first release without the WAL-reset bug, which can lose pages when a checkpoint races a commit. */
const FIRST_SOUND = [3, 51, 3] as const;

const BUSY = 5;
const READONLY = 8;
const CORRUPT = 11;
const FULL = 13;
const CANTOPEN = 14;
const NOTADB = 26;
const READONLY_ROLLBACK = 776;

const MAKE_ROOM = 'make room there, or point TMPDIR at a larger disk';

/** Milliseconds; short, to slip between the commits of a busy writer. */
const RETRY = 10;

/** @throws WorkerFailure this Node carries a SQLite with a known way to corrupt what it reads */
export function soundSqliteVersion(): string {
  const memory = new DatabaseSync(':memory:');
  const { version } = memory.prepare('select sqlite_version() as version').get() as { version: string };
  memory.close();
  const parts = version.split('.').map(Number);
  for (const [index, wanted] of FIRST_SOUND.entries()) {
    const part = parts[index] ?? 0;
    if (part > wanted) break;
    if (part < wanted)
      throw new WorkerFailure(
        'runtime',
        `this Node carries SQLite ${version}, want ${FIRST_SOUND.join('.')} or newer: before it, reading a WAL database could lose pages`,
        'use the Node that Holdfast brings (npm install), or a newer one',
      );
  }
  return version;
}

/** Never checkpoints, never writes. */
export function openLive(file: string): DatabaseSync {
  return new DatabaseSync(file, { readOnly: true });
}

/**
 * Begins a read transaction: from here on the connection sees one moment. Waits for a writer's lock up to `patience`
 * milliseconds, and not inside SQLite, where nothing else would be heard meanwhile, such as that the parent is gone.
 */
export async function pin(database: DatabaseSync, patience: number): Promise<void> {
  for (const end = performance.now() + patience; ; await wait(RETRY)) {
    try {
      database.exec('begin; select count(*) from sqlite_schema');
      return;
    } catch (error) {
      if (database.isTransaction) database.exec('rollback');
      if ((((error as { errcode?: number }).errcode ?? 0) & 0xff) !== BUSY || performance.now() > end) throw error;
    }
  }
}

/** Only for files that nobody writes to: takes no locks and makes no `-wal` or `-shm` beside it. */
export function openStill(file: string): DatabaseSync {
  return new DatabaseSync(stillUrl(file), { readOnly: true });
}

export function stillUrl(file: string): URL {
  const url = pathToFileURL(file);
  url.searchParams.set('immutable', '1');
  return url;
}

export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** One value of a one-row answer. */
export function single(statement: StatementSync): unknown {
  return Object.values(statement.get() ?? {})[0];
}

/** sha256 of the schema: object for object, in the order of their names, so that VACUUM does not change it. */
export function schemaHash(database: DatabaseSync): string {
  const hash = createHash('sha256');
  const rows = database.prepare('select type, name, tbl_name, sql from sqlite_schema order by type, name, tbl_name');
  for (const row of rows.iterate()) hash.update(`${JSON.stringify(Object.values(row))}\n`);
  return hash.digest('hex');
}

/** Whether something the application defines in its own process is what is lacking. */
export function lacksApplication(error: unknown): boolean {
  return (
    error instanceof Error &&
    /unknown function|no such function|no such collation|no such module|no query solution|unable to use function/i.test(
      error.message,
    )
  );
}

/** Of the two files of a copy, whether this is about the new one: the source was opened and read before. */
export function isOfWriting(error: unknown): boolean {
  const code = ((error as { errcode?: number }).errcode ?? 0) & 0xff;
  return code === FULL || code === CANTOPEN;
}

/** Says what SQLite's own words mean here. */
export function explain(error: unknown, file: string): WorkerFailure {
  if (error instanceof WorkerFailure) return error;
  const { errcode: extended = 0, message } = error as Error & { errcode?: number };
  const code = extended & 0xff;
  if (code === BUSY)
    return new WorkerFailure(
      'locked',
      `${file} is locked by a writer`,
      'try again, or shorten its transactions',
      error,
    );
  if (extended === READONLY_ROLLBACK)
    return new WorkerFailure(
      'unsupported',
      `${file} has a hot journal: its application died in the middle of a write, and only a writer may roll it back`,
      `start the application, or: sqlite3 ${quoteShell(file)} 'select count(*) from sqlite_schema'`,
      error,
    );
  if (code === READONLY)
    return new WorkerFailure(
      'refused',
      `${file} is in WAL mode, no application has it open, and this user may not write to ${dirname(file)}, where SQLite needs its -shm file`,
      "run as the application's user, or back up while the application runs",
      error,
    );
  if (code === CANTOPEN)
    return new WorkerFailure(
      'refused',
      `cannot open ${file}, or its -wal and -shm files (${message})`,
      "run as the application's user, and look at the permissions of the file and its directory",
      error,
    );
  if (code === FULL) return new WorkerFailure('space', `no space is left while writing ${file}`, MAKE_ROOM, error);
  if (code === CORRUPT || code === NOTADB)
    return new WorkerFailure('damaged', `${file} is damaged: ${message}`, salvageHint(file), error);
  if ((error as NodeJS.ErrnoException).code === 'ENOSPC')
    return new WorkerFailure('space', `no space is left while writing ${file}`, MAKE_ROOM, error);
  return new WorkerFailure('failed', `${file}: ${message}`, null, error);
}
