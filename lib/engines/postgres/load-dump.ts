import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  CommandFailed,
  Disproven,
  type HoldfastError,
  IdentityWrong,
  KeysMissing,
  NotProvableHere,
  SourceUnreachable,
  ToolMissing,
} from '#core/errors';
import type { Command, OpenBackup, PlainBytes, RunContext } from '#core/ports';
import { removeTree } from '#engines/files/remove-tree';
import { type Access, clientCommand, secretFirst } from '#engines/postgres/access';
import type { DatabasePrint, Fingerprint } from '#engines/postgres/fingerprint';
import { lackingSpace } from '#engines/postgres/scratch-cluster';
import { openSession } from '#engines/postgres/session';
import { quoteName } from '#engines/postgres/sql';

/**
 * Locks of a load in one transaction, in which COPY may skip the WAL. A server has room for about twice as many as
 * max_locks_per_transaction × max_connections says, which is 6,400 unless somebody changed it.
 */
const MOST_AT_ONCE = 6000;

/** Whether a dump is loaded in one transaction: each thing in it that has a name is locked to the end. */
export function loadedAtOnce(print: DatabasePrint): boolean {
  const { tables, matviews, relations, sequences, objects, largeObjects } = print;
  // A table may have a TOAST table, which has an index.
  const named = 3 * (tables.length + matviews.length) + relations.length + sequences.length;
  const others = Object.values(objects).reduce((sum, count) => sum + count, 0);
  return named + others + (largeObjects?.count ?? 0) <= MOST_AT_ONCE;
}

/**
 * Feeds one dump to pg_restore. Success = its exit code 0 *and* every byte accounted for.
 * @param artifact the database's artifact
 * @throws Disproven the bytes, or what they say, do not load · NotProvableHere something lacks in the server loaded into
 */
export async function loadDump(
  backup: OpenBackup,
  fingerprint: Fingerprint,
  artifact: string,
  access: Access,
  pgRestore: string,
  options: readonly string[],
  run: RunContext,
): Promise<void> {
  const print = fingerprint.databases.find((one) => one.artifact === artifact);
  if (print && fingerprint.scope.partial) await createSchemas(print, access, pgRestore, run);
  const plain = await backup.open(artifact);
  if (fingerprint.format === 'custom') {
    const atOnce = print && loadedAtOnce(print) ? ['--single-transaction'] : ['--exit-on-error'];
    const client = clientCommand(access, pgRestore, [...atOnce, ...options]);
    const secret = await secretFirst(access, run);
    try {
      // With a list, pg_restore reads no further than the last thing on it.
      await feed(plain, [...secret.commands, client], run, options.includes('-L'));
    } finally {
      await secret.forget();
    }
    return;
  }
  if (access.exec.length > 0)
    throw new ToolMissing(
      `a backup taken with jobs: is loaded from a directory, which lies out of reach of ${access.exec.join(' ')}`,
      { hint: 'install the client programs of this major here' },
    );
  const folder = join(run.scratch, `${artifact}-unpacked`);
  await mkdir(folder, { mode: 0o700 });
  try {
    await feed(plain, [{ program: 'tar', args: ['-C', folder, '-xf', '-'] }], run);
    try {
      await run.processes.run(
        clientCommand(access, pgRestore, ['--exit-on-error', '-j', String(fingerprint.jobs), ...options, folder]),
      );
    } catch (error) {
      throw loadFailure(error);
    }
  } finally {
    await removeTree(folder);
  }
}

/** A bare `-t` dump names the schemas of its tables without making them. */
async function createSchemas(print: DatabasePrint, access: Access, pgRestore: string, run: RunContext): Promise<void> {
  const session = await openSession(access, pgRestore.replace(/pg_restore$/, 'psql'), run);
  try {
    for (const schema of new Set(print.tables.map((table) => table.schema)))
      await session.query(`create schema if not exists ${quoteName(schema)}`);
  } finally {
    await session.close();
  }
}

/**
 * Gives an artifact's plain bytes to commands joined by pipes. Their failure and the bytes' failure are told apart.
 * @param partly the commands may end well before the bytes do; what is stored is hashed to its end all the same
 */
async function feed(plain: PlainBytes, commands: readonly Command[], run: RunContext, partly = false): Promise<void> {
  plain.whole.catch(() => undefined);
  const pipeline = run.processes.pipe(commands, { stdin: plain.bytes });
  pipeline.stdout?.resume();
  try {
    await pipeline.done;
  } catch (error) {
    // Damaged bytes end as a client's complaint about its input: the bytes' own verdict says more.
    const timer = setTimeout(() => plain.stop(), 5000);
    const verdict = await plain.whole.then(
      () => null,
      (reason: unknown) => reason,
    );
    clearTimeout(timer);
    if (verdict instanceof Disproven || verdict instanceof IdentityWrong || verdict instanceof KeysMissing)
      throw verdict;
    throw loadFailure(error);
  }
  await plain.whole.catch((error: unknown) => {
    // The unsealing children lost their reader, and nothing worse.
    if (!(partly && error instanceof CommandFailed)) throw error;
  });
}

/** What the end of pg_restore means for a backup. */
function loadFailure(error: unknown): unknown {
  if (!(error instanceof CommandFailed)) return error;
  const said = error.stderr;
  const lacking = lackingHere(said);
  if (lacking) return lacking;
  if (error.exitCode === null) return error;
  if (/server closed the connection|terminating connection|connection to server/.test(said))
    return new SourceUnreachable(`the server that was loaded into went away: ${error.message}`, { cause: error });
  return new Disproven(`the backup does not load: ${error.message}`, {
    cause: error,
    hint: /does not exist/.test(said) && /CONTEXT: .*function/.test(said) ? UNQUALIFIED : TAKE_ANOTHER,
  });
}

const TAKE_ANOTHER = 'take a new backup now; this one stays as it is';

/** A load has an empty search_path, as pg_dump wants it: constraints and indexes run their functions under it. */
const UNQUALIFIED =
  'a function uses names without their schema: ALTER FUNCTION … SET search_path = …, then take a new backup; this one loads by restore.script without --exit-on-error, all but what it names';

/** Null when what pg_restore said is about the backup and not about the server it was loaded into. */
export function lackingHere(said: string): HoldfastError | null {
  const space = lackingSpace(said);
  if (space) return space;
  const found = LACKING.map(([pattern, hint]) => ({ match: pattern.exec(said), hint })).find(({ match }) => match);
  if (!found?.match) return null;
  return new NotProvableHere(`something is missing in the server that was loaded into: ${found.match[0]}`, {
    hint: found.hint,
  });
}

const LACKING: readonly (readonly [RegExp, string])[] = [
  [/extension "[^"]*" is not available/, 'install the extension, or prove elsewhere with prove: { with: { url: … } }'],
  [/could not open extension control file .*/, 'install the extension, or prove elsewhere'],
  [/extension "[^"]*" has no installation script .*/, 'install the version of the extension that the source has'],
  [/could not (?:access file|load library) "[^"]*".*/, 'install the library of the extension'],
  [
    /must be loaded via "?shared_preload_libraries"?.*/,
    'prove on a server that preloads it: prove: { with: { url: … } }',
  ],
  [
    /(?:could not create locale|invalid LC_\w+ locale name|invalid locale name):? "?[^"\n]*"?.*/,
    'generate the locale: locale-gen',
  ],
  [
    /collation "[^"]*" for encoding "[^"]*" does not exist/,
    'generate the locale: locale-gen, then pg_import_system_collations',
  ],
  [
    /(?:ICU is not supported|XML is not supported|unsupported XML feature).*/,
    'prove on a server that was built as the source’s',
  ],
  [
    /(?:permission denied|must be (?:owner|superuser|able|a? ?member)).*/,
    'load as a superuser, or as a member of all owners',
  ],
  [
    /security label provider "[^"]*" is not loaded/,
    'install and preload the library of the provider; by hand, pg_restore --no-security-labels goes without it',
  ],
  [/role "[^"]*" does not exist/, 'create the role there, or load as a role that may'],
  [/max_locks_per_transaction/, 'prove on a server with a higher max_locks_per_transaction'],
];
