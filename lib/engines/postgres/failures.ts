import {
  CaptureIncomplete,
  CommandFailed,
  type HoldfastError,
  SourceLocked,
  SourceRefused,
  SourceUnreachable,
  SourceUnsupported,
  ToolMissing,
} from '#core/errors';
import type { Ended } from '#core/ports';
import type { Access } from '#engines/postgres/access';
import { printable } from '#engines/postgres/address';

/** A statement the server refused. Callers turn it into one of the errors that people are told. */
export class SqlFailed extends Error {
  readonly sqlstate: string;

  constructor(sqlstate: string, message: string) {
    super(message);
    this.sqlstate = sqlstate;
  }
}

/** The server answers, and has no database of that name. */
export class DatabaseMissing extends SourceUnreachable {}

/** What people read of a client's stderr: the last lines, without the program's name. */
function lastWords(stderr: string): string {
  const lines = stderr
    .trim()
    .split('\n')
    .map((line) => line.replace(/^(psql|pg_dump|pg_dumpall|pg_restore): /, '').replace(/^error: /, ''))
    // A file of ours, gone by now.
    .filter((line) => !line.startsWith('password retrieved from file'));
  return lines.slice(-4).join(' | ').slice(0, 1000);
}

/** The client did not connect, or lost its connection. */
export function connectionLost(ended: Ended, access: Access): HoldfastError {
  const place = printable(access.address);
  if (ended.code === null && ended.stderr.includes('ENOENT'))
    return new ToolMissing(`${ended.program} is not installed on this machine`, {
      hint: access.exec.length > 0 ? `install ${ended.program}` : 'apt-get install postgresql-client',
    });
  return (
    connectionFailure(ended.stderr, place) ??
    new SourceUnreachable(
      `the connection to ${place} ended${ended.stderr ? `: ${lastWords(ended.stderr)}` : ` (${ended.program}: ${ended.code ?? 'killed'})`}`,
      { hint: 'see the server log; the next run tries again' },
    )
  );
}

/**
 * Of several addresses tried, those whose server said something: `localhost` is often ::1, where nobody listens, and then
 * 127.0.0.1, where the password is wrong.
 */
function answered(stderr: string): string {
  const attempts = stderr.split(/^(?=.*connection to server (?:at|on) )/m);
  const told = attempts.filter((attempt) => /FATAL: /.test(attempt));
  return told.length > 0 && told.length < attempts.length ? told.join('') : stderr;
}

/** Null when the words are not about connecting. */
function connectionFailure(everything: string, place: string): HoldfastError | null {
  const stderr = answered(everything);
  const said = lastWords(stderr);
  const unreachable = (what: string, hint: string): SourceUnreachable =>
    new SourceUnreachable(`${what} ${place}: ${said}`, { hint });
  if (/could not translate host name|Name or service not known|Temporary failure in name resolution/.test(stderr))
    return unreachable('no such host for', 'look at the host in the url');
  if (
    /Connection refused|No such file or directory\s+Is the server|No route to host|Network is unreachable/.test(stderr)
  )
    return unreachable('nothing answers at', 'is the server running, and are host and port right?');
  if (/timeout expired|Connection timed out|timed out/.test(stderr))
    return unreachable('no answer in time from', 'a firewall, or a wrong host or port?');
  if (/database ".*" does not exist/.test(stderr))
    return new DatabaseMissing(`no such database on the server: ${place}: ${said}`, {
      hint: 'look at the database in the url; `psql -l` lists them',
    });
  if (
    /server closed the connection|terminating connection|connection to server was lost|shutting down|starting up|in recovery mode|too many clients|remaining connection slots|SSL SYSCALL error|could not receive data/.test(
      stderr,
    )
  )
    return unreachable('the server ended the connection to', 'see the server log; the next run tries again');
  if (/server does not support SSL/.test(stderr))
    return new SourceRefused(`no encrypted connection to ${place}: ${said}`, {
      hint: 'set ssl = on in the server, or sslmode=disable in the url where nobody can listen in between',
    });
  if (/certificate verify failed|root certificate file .* does not exist|does not match host name/.test(stderr))
    return new SourceRefused(`the certificate of ${place} is not trusted: ${said}`, {
      hint: 'add sslrootcert=FILE to the url, with the certificate of who signed it (sslrootcert=system from PostgreSQL 16 on)',
    });
  if (/invalid connection option/.test(stderr))
    return new SourceUnsupported(`the client here does not know the parameter of the url for ${place}: ${said}`, {
      hint: 'take it out of the url, or install newer PostgreSQL client programs',
    });
  if (/no password supplied|fe_sendauth|password authentication failed|authentication failed/.test(stderr))
    return new SourceRefused(`the server refused the login at ${place}: ${said}`, {
      hint: 'look at user and password in the url',
    });
  if (/no pg_hba\.conf entry/.test(stderr))
    return new SourceRefused(`the server lets nobody in from here at ${place}: ${said}`, {
      hint: 'add a line to pg_hba.conf, or sslmode=require to the url',
    });
  if (/is not currently accepting connections/.test(stderr))
    return new SourceRefused(`nobody may connect to ${place}: ${said}`, {
      hint: 'if a restore was killed while it put this database in its place, it left it so: as a superuser, connected to another database, ALTER DATABASE … ALLOW_CONNECTIONS true',
    });
  // A server that speaks another language than English gets here: it answered, and refused.
  if (/connection to server .* failed: /.test(stderr) || /FATAL: /.test(stderr))
    return new SourceRefused(`the server refused the connection to ${place}: ${said}`, {
      hint: 'look at user, password and database in the url',
    });
  return null;
}

/** What a refused statement means for a capture. */
export function statementFailure(error: unknown, doing: string): unknown {
  if (!(error instanceof SqlFailed)) return error;
  const message = `${doing}: ${error.message} (${error.sqlstate})`;
  switch (error.sqlstate) {
    case '42501':
      return /row-level security/.test(error.message)
        ? rowSecurity(message)
        : new SourceRefused(message, { cause: error, hint: '`holdfast check` prints the GRANTs that are missing' });
    case '53200':
      return locksExhausted(message);
    case '22023':
    case '55000':
      if (/snapshot/.test(error.message)) return snapshotLost(message);
      return new SourceUnsupported(message, { cause: error });
    case '55P03':
      return new SourceLocked(message, { cause: error, hint: 'somebody holds a lock in the catalogs; run it again' });
    case '57014':
    case '57P01':
    case '57P02':
    case '57P03':
    case '25P03':
    case '40001':
      return new SourceUnreachable(message, { cause: error, hint: 'see the server log; the next run tries again' });
    default:
      return new CaptureIncomplete(message, { cause: error });
  }
}

export function rowSecurity(message: string): SourceRefused {
  return new SourceRefused(`${message}: row-level security would hide rows from this role`, {
    hint: 'ALTER ROLE … BYPASSRLS, or let the owner of the tables take the backup',
  });
}

function locksExhausted(message: string): SourceUnsupported {
  return new SourceUnsupported(`${message}: the server has no room for a lock on each table`, {
    hint: 'raise max_locks_per_transaction on the server (it needs a restart): tables / max_connections, and more',
  });
}

function snapshotLost(message: string): SourceUnsupported {
  return new SourceUnsupported(`${message}: a second connection cannot join the snapshot of the first`, {
    hint: 'connect to the server itself, not through a pooler or a read balancer',
  });
}

/** What the end of pg_dump or pg_dumpall means. */
export function dumpFailure(error: unknown, access: Access): unknown {
  if (!(error instanceof CommandFailed)) return error;
  const { stderr } = error;
  const connection = connectionFailure(stderr, printable(access.address));
  if (connection) return connection;
  if (/row-level security/.test(stderr)) return rowSecurity(error.message);
  if (/permission denied/.test(stderr))
    return new SourceRefused(error.message, {
      cause: error,
      hint: '`holdfast check` prints the GRANTs that are missing',
    });
  if (/max_locks_per_transaction|out of shared memory/.test(stderr)) return locksExhausted(error.message);
  if (/could not obtain lock|lock timeout|LOCK TABLE/.test(stderr))
    return new SourceLocked(error.message, {
      cause: error,
      hint: 'somebody asked for an exclusive lock meanwhile: run it again while nobody truncates or alters tables',
    });
  if (/invalid snapshot identifier|snapshot "/.test(stderr)) return snapshotLost(error.message);
  if (/server version mismatch|aborting because of/.test(stderr))
    return new SourceUnsupported(error.message, { cause: error, hint: 'install the client of the server’s own major' });
  return error.exitCode === null || stderr.trim() === ''
    ? new CaptureIncomplete(`the dump ended before it was whole: ${error.message}`, { cause: error })
    : new CaptureIncomplete(error.message, { cause: error });
}
