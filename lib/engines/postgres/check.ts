import { HoldfastError } from '#core/errors';
import type { CheckLine, RunContext, SourceRef } from '#core/ports';
import { forget } from '#engines/postgres/access';
import { printable } from '#engines/postgres/address';
import { asking, type Reached, reach } from '#engines/postgres/capture';
import { listRoles, listTables, readFrame } from '#engines/postgres/catalog';
import { chooseTables, readChildren } from '#engines/postgres/chosen-tables';
import { clientOf } from '#engines/postgres/clients';
import { refusePooler } from '#engines/postgres/pooler';
import { ask, probesOf, setSearchPath } from '#engines/postgres/probes';
import { type Needs, proofLine } from '#engines/postgres/proof-needs';
import { readOwners } from '#engines/postgres/prover-rights';
import { listed } from '#engines/postgres/restoring';
import { leavingForeignKeys, missingGrants, unreadableLargeObjects } from '#engines/postgres/rights';
import { readServer, type ServerFacts } from '#engines/postgres/server';
import type { Session } from '#engines/postgres/session';
import { joinSnapshot, openSnapshot, type Snapshot } from '#engines/postgres/snapshot';
import { settingsQuery, spoken } from '#engines/postgres/sql';

/** Shorter than a night's: somebody is waiting for the answer. */
const LOCK_TIMEOUT = '5s';

/** Everything a night's run and its proof need, tried now. */
export async function* checkPostgres(source: SourceRef, run: RunContext): AsyncIterable<CheckLine> {
  let reached: Reached;
  try {
    reached = await reach(source, run);
  } catch (error) {
    yield failed('connection', error);
    return;
  }
  try {
    yield* checkReached(reached, source, run);
  } finally {
    await forget(reached.access);
  }
}

async function* checkReached(reached: Reached, source: SourceRef, run: RunContext): AsyncIterable<CheckLine> {
  const { access, psql } = reached;
  let facts: ServerFacts;
  try {
    facts = await asking(access, psql, run, async (session) => {
      await refusePooler(session, access, psql, run);
      return readServer(session);
    });
  } catch (error) {
    yield failed('connection', error);
    return;
  }
  yield good('connection', `${printable(access.address)} answers: PostgreSQL ${facts.version}, as ${facts.user}`);
  yield await clientsLine(reached, facts, run);
  yield* await attempt('rights', () => asking(access, psql, run, (session) => rightsLines(session, reached, facts)));
  yield* snapshotLines(reached, source, run);
  if (reached.settings.databases === 'all')
    yield* await attempt('databases', () => asking(access, psql, run, (session) => databasesLines(session)));
  yield* await attempt('proof', async () => {
    const needs = await asking(access, psql, run, async (session): Promise<Needs> => {
      const { collate, ctype, extensions, superusers } = await readFrame(session);
      const [roles, owners] = [await listRoles(session), await readOwners(session)];
      return { major: facts.major, extensions, locales: [collate, ctype], roles, owners, superusers };
    });
    return [await proofLine(source, needs, run)];
  });
}

function good(name: string, message: string): CheckLine {
  return { name, ok: true, message, hint: null };
}

function failed(name: string, error: unknown): CheckLine {
  if (!(error instanceof HoldfastError)) throw error;
  return { name, ok: false, message: error.message, hint: error.hint ?? 'look at this source in the plan' };
}

async function attempt(name: string, work: () => Promise<readonly CheckLine[]>): Promise<readonly CheckLine[]> {
  try {
    return await work();
  } catch (error) {
    return [failed(name, error)];
  }
}

async function clientsLine({ where, settings }: Reached, facts: ServerFacts, run: RunContext): Promise<CheckLine> {
  try {
    const dump = await clientOf(facts.major, 'pg_dump', where, run);
    await clientOf(facts.major, 'psql', where, run);
    if (settings.globals || settings.databases === 'all') await clientOf(facts.major, 'pg_dumpall', where, run);
    return good('client', `${dump.path} is of the server's own major (${dump.version})`);
  } catch (error) {
    return failed('client', error);
  }
}

async function rightsLines(session: Session, { settings }: Reached, facts: ServerFacts): Promise<CheckLine[]> {
  await session.query(settingsQuery(LOCK_TIMEOUT));
  const all = await listTables(session);
  const chosen = settings.tables ? chooseTables(settings.tables, all, await readChildren(session)) : all;
  const read = settings.partial && settings.tables ? chosen : all;
  const lines: CheckLine[] = [];
  const grants = await missingGrants(session, read, facts.user);
  // pg_dump locks every table, and reads every sequence, also of those whose data is left out.
  if (grants.length > 0)
    lines.push({
      name: 'rights',
      ok: false,
      message: `${facts.user} may not read everything: ${grants.length} grants are missing`,
      hint: `${grants.slice(0, 20).join(' ')}${grants.length > 20 ? ` … or${facts.major >= 14 ? `: GRANT pg_read_all_data TO "${facts.user}";` : ' GRANT SELECT ON ALL TABLES IN SCHEMA …'}` : ''}`,
    });
  const objects = settings.schemaOnly ? 0 : await unreadableLargeObjects(session);
  if (objects > 0)
    lines.push({
      name: 'rights',
      ok: false,
      message: `${facts.user} may not read ${objects} large objects`,
      hint: 'GRANT SELECT ON LARGE OBJECT …, or let their owner or a superuser take the backup',
    });
  const hidden = await session.query(
    'select c.oid from pg_catalog.pg_class c where c.relrowsecurity and pg_catalog.row_security_active(c.oid)',
  );
  const secured = new Set(hidden.map(([oid]) => oid));
  const filtered = (settings.schemaOnly ? [] : chosen).filter((table) => secured.has(table.oid));
  if (filtered.length > 0)
    lines.push({
      name: 'rights',
      ok: false,
      message: `row-level security would hide rows of ${listed(filtered.map(spoken))} from ${facts.user}`,
      hint: `ALTER ROLE "${facts.user}" BYPASSRLS, or let the owner of the tables take the backup`,
    });
  if (lines.length === 0) lines.push(good('rights', `${facts.user} may read all ${read.length} tables`));
  if (settings.tables) {
    const leaving = await leavingForeignKeys(session, chosen);
    lines.push(
      leaving.length === 0
        ? good('tables', `${chosen.length} tables, no foreign key leaves them`)
        : {
            name: 'tables',
            ok: false,
            message: `foreign keys would point to nothing: ${listed(leaving.map(([from, to]) => `${from} needs ${to}`))}`,
            hint: `add to tables: ${[...new Set(leaving.map(([, to]) => to))].join(', ')}`,
          },
    );
  }
  if (facts.standby) {
    const [delay] = await session.one(`select pg_catalog.current_setting('max_standby_streaming_delay')`);
    lines.push(
      good(
        'standby',
        `the server is a standby: a dump that takes longer than max_standby_streaming_delay (${delay}) may be cancelled, and unlogged tables are left out`,
      ),
    );
  }
  return lines;
}

/** Takes a snapshot as a night's run does, joins it from a second connection, and asks the probes in it. */
async function* snapshotLines(reached: Reached, source: SourceRef, run: RunContext): AsyncIterable<CheckLine> {
  const { access, psql, settings } = reached;
  let snapshot: Snapshot;
  try {
    let children: Awaited<ReturnType<typeof readChildren>> = new Map();
    snapshot = await openSnapshot(
      access,
      {
        psql,
        lockTimeout: LOCK_TIMEOUT,
        prepare: async (session) => {
          children = await readChildren(session);
        },
        wanted: (tables) =>
          settings.partial && settings.tables ? chooseTables(settings.tables, tables, children) : tables,
      },
      run,
    );
  } catch (error) {
    yield failed('snapshot', error);
    return;
  }
  try {
    const second = await joinSnapshot(access, psql, snapshot.id, run);
    await second.close();
    yield good('snapshot', `${snapshot.tables.length} tables locked, and a second connection sees the same snapshot`);
    yield* await attempt('probes', () => probeLines(snapshot, source));
  } catch (error) {
    yield failed('snapshot', error);
  } finally {
    await snapshot.session.close();
  }
}

async function probeLines({ session, searchPath }: Snapshot, source: SourceRef): Promise<CheckLine[]> {
  await setSearchPath(session, searchPath);
  const lines: CheckLine[] = [];
  for (const { name, query, expect } of probesOf(source.settings.probes)) {
    const first = await ask(session, query);
    const second = await ask(session, query);
    const line = { name: `probe ${name}`, ok: false, hint: 'look at the query in the plan' };
    if (first.rows === null) lines.push({ ...line, message: first.failed });
    else if (expect === 'equal' && JSON.stringify(first.rows) !== JSON.stringify(second.rows))
      lines.push({
        ...line,
        message: 'answers differently each time, so that a restored copy cannot be equal',
        hint: 'give it an expect, such as { query: …, expect: { atLeast: 1 } }',
      });
    else lines.push(good(`probe ${name}`, `answers: ${first.rows.length} ${first.rows.length === 1 ? 'row' : 'rows'}`));
  }
  return lines;
}

async function databasesLines(session: Session): Promise<CheckLine[]> {
  const rows = await session.query(`
    select datname from pg_catalog.pg_database
    where datallowconn and datname not in ('template0', 'template1') and not pg_catalog.has_database_privilege(oid, 'CONNECT')`);
  if (rows.length === 0) return [good('databases', 'every database may be connected to')];
  const names = rows.map(([name]) => name as string);
  return [
    {
      name: 'databases',
      ok: false,
      message: `may not connect to ${names.join(', ')}`,
      hint: names.map((name) => `GRANT CONNECT ON DATABASE "${name}" TO …;`).join(' '),
    },
  ];
}
