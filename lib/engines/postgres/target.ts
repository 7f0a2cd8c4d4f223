import { HoldfastError, SourceRefused, SourceUnreachable, SourceUnsupported, TargetUnusable } from '#core/errors';
import type { RunContext, SourceRef } from '#core/ports';
import { type Access, atDatabase } from '#engines/postgres/access';
import { type Address, parseAddress, printable } from '#engines/postgres/address';
import { anyClient, clientOf, type Where } from '#engines/postgres/clients';
import { DatabaseMissing, SqlFailed } from '#engines/postgres/failures';
import { refusePooler } from '#engines/postgres/pooler';
import { CONTENTS_COUNT } from '#engines/postgres/restore-script';
import { reachBeside } from '#engines/postgres/route';
import { readServer, type ServerFacts } from '#engines/postgres/server';
import { openSession, type Session } from '#engines/postgres/session';
import { quoteText } from '#engines/postgres/sql';

/** A server that something is given back to. */
export interface Target {
  readonly access: Access;
  /** Name of the database the URL means. */
  readonly database: string;
  /** The one that it names; null = none, and then the client takes the login's. */
  readonly named: string | null;
  /** On a database that is always there, and is not the one to be restored. */
  maintenance(besides: string): Promise<Session>;
  readonly facts: ServerFacts;
  readonly mayCreate: boolean;
  readonly psql: string;
  readonly pgRestore: string;
  readonly pgDump: string;
}

/** @throws TargetUnusable unreachable, refused, older than the source, no client of its major here */
export async function openTarget(
  url: string,
  sourceMajor: number,
  source: SourceRef | null,
  run: RunContext,
): Promise<Target> {
  try {
    const address = parseAddress(url, 'the target');
    return await reachBeside(address, source, run, (access, where) => targetAt(access, where, sourceMajor, run));
  } catch (error) {
    throw unusable(error);
  }
}

async function targetAt(access: Access, where: Where, sourceMajor: number, run: RunContext): Promise<Target> {
  const { address } = access;
  const someClient = await anyClient('psql', where, run);
  const { session, at } = await anyDatabase(access, someClient, run);
  let facts: ServerFacts;
  let mayCreate: boolean;
  try {
    await refusePooler(session, at, someClient, run);
    facts = await readServer(session);
    const [create, readOnly] = await session.one(
      `select rolsuper or rolcreatedb, pg_catalog.current_setting('transaction_read_only')
       from pg_catalog.pg_roles where rolname = current_user`,
    );
    mayCreate = create === 't';
    if (readOnly === 'on') throw takesNoWrites(facts, address);
  } finally {
    await session.close();
  }
  if (facts.major < sourceMajor)
    throw new TargetUnusable(
      `the server at ${printable(address)} is PostgreSQL ${facts.version}, older than the backup's ${sourceMajor}`,
      { hint: `restore to a server of PostgreSQL ${sourceMajor} or newer` },
    );
  const [psql, pgRestore, pgDump] = [
    await clientOf(facts.major, 'psql', where, run),
    await clientOf(facts.major, 'pg_restore', where, run),
    await clientOf(facts.major, 'pg_dump', where, run),
  ];
  return {
    access,
    named: address.keywords['dbname'] ?? null,
    database: address.keywords['dbname'] ?? address.keywords['user'] ?? facts.database,
    maintenance: (besides) => maintenanceSession(access, psql.path, besides, run),
    facts,
    mayCreate,
    psql: psql.path,
    pgRestore: pgRestore.path,
    pgDump: pgDump.path,
  };
}

function takesNoWrites({ standby }: ServerFacts, address: Address): TargetUnusable {
  const where = printable(address);
  if (standby)
    return new TargetUnusable(`${where} is a standby: it takes its data from its primary alone`, {
      hint: 'restore into its primary, or into a server of its own',
    });
  return new TargetUnusable(`${where} takes no writes: default_transaction_read_only is on`, {
    hint: 'managed servers set it when their disk is full: make room there, or restore to another server',
  });
}

/** For connecting to, where nobody's data is expected. */
export const ALWAYS_THERE: readonly string[] = ['postgres', 'template1'];

async function anyDatabase(
  access: Access,
  psql: string,
  run: RunContext,
): Promise<{ readonly session: Session; readonly at: Access }> {
  try {
    return { session: await openSession(access, psql, run), at: access };
  } catch (error) {
    if (error instanceof DatabaseMissing) return elsewhere(access, psql, run);
    // A server that speaks another language than English may have said that the database is missing.
    if (!(error instanceof SourceRefused)) throw error;
    const found = await elsewhere(access, psql, run).catch(() => null); // refused there too: the first refusal is told
    if (found === null) throw error;
    const named = quoteText(access.address.keywords['dbname'] ?? '');
    const there = await found.session.query(`select 1 from pg_catalog.pg_database where datname = ${named}`);
    if (there.length === 0) return found;
    await found.session.close();
    throw error;
  }
}

async function elsewhere(
  access: Access,
  psql: string,
  run: RunContext,
): Promise<{ readonly session: Session; readonly at: Access }> {
  const session = await maintenanceSession(access, psql, '', run);
  const [database] = await session.one('select pg_catalog.current_database()');
  return { session, at: atDatabase(access, database as string) };
}

async function maintenanceSession(access: Access, psql: string, besides: string, run: RunContext): Promise<Session> {
  const [first = 'postgres', second] = ALWAYS_THERE.filter((name) => name !== besides);
  try {
    return await openSession(atDatabase(access, first), psql, run);
  } catch (error) {
    if (second === undefined || !(error instanceof HoldfastError)) throw error;
    return openSession(atDatabase(access, second), psql, run);
  }
}

/** What is wrong with a target is not said of a source. */
export function unusable(error: unknown): unknown {
  if (error instanceof SourceUnreachable || error instanceof SourceRefused || error instanceof SourceUnsupported)
    return new TargetUnusable(`target: ${error.message}`, { hint: error.hint, cause: error });
  if (error instanceof SqlFailed) {
    const hint =
      error.sqlstate === '42501'
        ? 'restore as a superuser, or as a role with CREATEDB that is a member of the owners'
        : null;
    return new TargetUnusable(`target: ${error.message} (${error.sqlstate})`, { cause: error, hint });
  }
  return error;
}

/** `absent`, `empty`, or how many objects of somebody's are in it. */
export type DatabaseContents = 'absent' | 'empty' | number;

export async function contentsOf(target: Target, database: string, run: RunContext): Promise<DatabaseContents> {
  const session = await target.maintenance('');
  try {
    const found = await session.query(`select 1 from pg_catalog.pg_database where datname = ${quoteText(database)}`);
    if (found.length === 0) return 'absent';
  } finally {
    await session.close();
  }
  const inside = await openSession(atDatabase(target.access, database), target.psql, run);
  try {
    const [count] = await inside.one(CONTENTS_COUNT);
    return count === '0' ? 'empty' : Number(count);
  } finally {
    await inside.close();
  }
}
