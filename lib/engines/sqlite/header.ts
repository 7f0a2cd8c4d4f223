import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { dirname } from 'node:path';
import { WorkerFailure } from '#engines/sqlite/protocol';

const MAGIC = 'SQLite format 3\0';
const HEADER_BYTES = 100;

export interface Header {
  readonly journal: 'wal' | 'rollback';
  readonly writtenBy: number;
  readonly bytes: number;
  readonly mode: number;
}

/**
 * Reads a database file's first 100 bytes. An empty file is an empty database.
 *
 * Only before SQLite has the file open in this process: closing *any* descriptor of a file drops the locks that the
 * process holds on it.
 * @throws WorkerFailure absent, refused, or no database that stock SQLite can read
 */
export function readHeader(file: string): Header {
  const { bytes, mode, head } = readHead(file);
  if (bytes === 0) return { journal: 'rollback', writtenBy: 0, bytes, mode };
  if (head.length < HEADER_BYTES || head.toString('latin1', 0, MAGIC.length) !== MAGIC)
    throw new WorkerFailure(
      'unsupported',
      `${file} is not a SQLite database, or it is encrypted (SQLCipher): it does not begin with "SQLite format 3"`,
      'name the right file; of an encrypted database let a `before` command write a plain copy, and back that up',
    );
  const [write, read] = [head[18], head[19]];
  if ((write !== 1 && write !== 2) || (read !== 1 && read !== 2))
    throw new WorkerFailure(
      'unsupported',
      `${file} has format versions ${write}/${read}, stock SQLite reads 1 (rollback journal) and 2 (WAL); 3 is the wal2 branch`,
      'set `pragma journal_mode=wal` with the SQLite that made it',
    );
  return { journal: read === 2 ? 'wal' : 'rollback', writtenBy: head.readUInt32BE(96), bytes, mode };
}

function readHead(file: string): { bytes: number; mode: number; head: Buffer } {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new WorkerFailure(
        'absent',
        `there is no file ${file}`,
        'is its disk mounted, and is the path in the plan right?',
        cause,
      );
    if (code === 'EACCES' || code === 'EPERM')
      throw new WorkerFailure(
        'refused',
        `no permission to read ${file}`,
        `run as the application's user, or: setfacl -m u:$(id -un):r ${file} (and x on its directories)`,
        cause,
      );
    throw new WorkerFailure('failed', `cannot open ${file}: ${(cause as Error).message}`, null, cause);
  }
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile())
      throw new WorkerFailure(
        'unsupported',
        `${file} is ${stat.isDirectory() ? 'a directory' : 'not a regular file'}, want a database file`,
        `name the file itself, such as ${stat.isDirectory() ? `${file}/app.db` : `${dirname(file)}/app.db`}`,
      );
    const head = Buffer.alloc(HEADER_BYTES);
    const length = readSync(descriptor, head, 0, HEADER_BYTES, 0);
    return { bytes: stat.size, mode: stat.mode & 0o777, head: head.subarray(0, length) };
  } finally {
    closeSync(descriptor);
  }
}
