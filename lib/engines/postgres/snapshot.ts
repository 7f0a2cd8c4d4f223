import { type HoldfastError, SourceLocked } from '#core/errors';
import type { RunContext } from '#core/ports';
import type { Access } from '#engines/postgres/access';
import { areStillListed, listTables, type TableFacts } from '#engines/postgres/catalog';
import { SqlFailed, statementFailure } from '#engines/postgres/failures';
import { openSession, type Session } from '#engines/postgres/session';
import { batches, qualified, quoteText, settingsQuery, spoken } from '#engines/postgres/sql';

/** An open transaction whose snapshot other connections join. */
export interface Snapshot {
  readonly id: string;
  readonly session: Session;
  /** Just before it was taken. */
  readonly at: Date;
  /** All locked, so that no TRUNCATE or ALTER gets between the snapshot and those that read it. */
  readonly tables: readonly TableFacts[];
  /** The schemas that the login finds names in, for probes; as a `search_path`. */
  readonly searchPath: string;
}

const LOCKED_AT_ONCE = 200;
/** Tables may come and go between listing and locking: look again this often before locking late. */
const ATTEMPTS = 4;

export interface SnapshotSettings {
  readonly psql: string;
  /** How long one lock may be waited for: `30s`. */
  readonly lockTimeout: string;
  /** Asked each time before the tables are listed. */
  readonly prepare?: (session: Session) => Promise<void>;
  /** Which tables will be read; all of them unless told. */
  readonly wanted?: (tables: readonly TableFacts[]) => readonly TableFacts[];
}

/**
 * Begins, locks, and only then takes and exports the snapshot: after an export, a TRUNCATE would leave an empty table
 * in it (tried).
 * @throws SourceLocked naming who holds the lock · SourceRefused · SourceUnsupported
 */
export async function openSnapshot(access: Access, settings: SnapshotSettings, run: RunContext): Promise<Snapshot> {
  const session = await openSession(access, settings.psql, run);
  const wanted = settings.wanted ?? ((tables) => tables);
  try {
    const [searchPath] = await session.one(
      `select coalesce(pg_catalog.string_agg(pg_catalog.quote_ident(s), ', '), '') from pg_catalog.unnest(pg_catalog.current_schemas(false)) as s`,
    );
    await session.query(settingsQuery(settings.lockTimeout));
    for (let attempt = 1; ; attempt++) {
      await settings.prepare?.(session);
      const all = await listTables(session);
      const listed = wanted(all);
      await session.query('begin isolation level repeatable read read only');
      try {
        await lockTables(session, listed, access, settings, run);
      } catch (error) {
        // Dropped since it was listed.
        if (!(error instanceof SqlFailed && ['42P01', '3F000'].includes(error.sqlstate)) || attempt >= ATTEMPTS)
          throw error;
        await session.query('rollback');
        continue;
      }
      const at = run.clock.now();
      const [id] = await session.one('select pg_catalog.pg_export_snapshot()');
      const tables = (await areStillListed(session, all)) ? listed : wanted(await listTables(session));
      const locked = new Set(listed.map((table) => table.oid));
      const late = tables.filter((table) => !locked.has(table.oid));
      if (late.length > 0 && attempt < ATTEMPTS) {
        await session.query('rollback');
        continue;
      }
      await lockTables(session, late, access, settings, run);
      return { id: id as string, session, at, tables, searchPath: searchPath as string };
    }
  } catch (error) {
    await session.close();
    throw statementFailure(error, 'the snapshot could not be taken');
  }
}

/** Another connection that sees what the snapshot sees. */
export async function joinSnapshot(
  access: Access,
  psql: string,
  snapshotId: string,
  run: RunContext,
): Promise<Session> {
  const session = await openSession(access, psql, run);
  try {
    await session.query(settingsQuery('30s'));
    await session.query('begin isolation level repeatable read read only');
    await session.query(`set transaction snapshot ${quoteText(snapshotId)}`);
    return session;
  } catch (error) {
    await session.close();
    throw statementFailure(error, 'the snapshot could not be joined');
  }
}

/**
 * Runs statements whose locks, other than those of the snapshot, are given back at once: a lock we keep without need
 * is one that somebody may queue for, and pg_dump behind him.
 */
export async function withoutKeepingLocks<T>(session: Session, work: () => Promise<T>): Promise<T> {
  await session.query('savepoint locks');
  const result = await work();
  await session.query('rollback to savepoint locks');
  await session.query('release savepoint locks');
  return result;
}

async function lockTables(
  session: Session,
  tables: readonly TableFacts[],
  access: Access,
  settings: SnapshotSettings,
  run: RunContext,
): Promise<void> {
  for (const batch of batches(tables, LOCKED_AT_ONCE)) {
    try {
      await session.query(
        `lock table ${batch.map((table) => `only ${qualified(table)}`).join(', ')} in access share mode`,
      );
    } catch (error) {
      if (!(error instanceof SqlFailed && error.sqlstate === '55P03')) throw error;
      throw await lockedBy(batch, access, settings, run);
    }
  }
}

async function lockedBy(
  tables: readonly TableFacts[],
  access: Access,
  settings: SnapshotSettings,
  run: RunContext,
): Promise<HoldfastError> {
  const second = await openSession(access, settings.psql, run);
  try {
    const rows = await second.query(`
      select l.relation, l.pid, coalesce(a.usename::pg_catalog.text, 'unknown user'), coalesce(a.state, 'state unknown'),
        coalesce((extract(epoch from pg_catalog.clock_timestamp() - a.xact_start))::pg_catalog.int4::pg_catalog.text, '?')
      from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
      where l.granted and l.mode = 'AccessExclusiveLock' and l.locktype = 'relation'
        and l.relation in (${tables.map((table) => table.oid).join(', ')})
        and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
      order by l.pid limit 5`);
    const names = new Map(tables.map((table) => [table.oid, spoken(table)]));
    const who = rows.map(
      ([oid, pid, user, state, seconds]) =>
        `pid ${pid} (${user}, ${state}, in its transaction for ${seconds} s) holds ${names.get(oid as string)} exclusively`,
    );
    const pid = rows[0]?.[1];
    return new SourceLocked(
      `no lock within ${settings.lockTimeout}: ${who.join('; ') || 'whoever held it has just let go'}`,
      {
        hint: pid ? `wait for it, or end it: select pg_terminate_backend(${pid})` : 'run it again',
      },
    );
  } finally {
    await second.close();
  }
}
