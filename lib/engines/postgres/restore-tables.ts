import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CommandFailed, Disproven, TargetNotEmpty, TargetUnusable, ToolMissing, UsageError } from '#core/errors';
import { compactTime } from '#core/manifest';
import type { RunContext } from '#core/ports';
import { type Access, atDatabase, clientCommand } from '#engines/postgres/access';
import { named } from '#engines/postgres/chosen-tables';
import { compareDatabase } from '#engines/postgres/compare';
import { contentsList } from '#engines/postgres/contents-list';
import { createDatabase, createRoles } from '#engines/postgres/create-database';
import type { DigestId } from '#engines/postgres/digest';
import type { DatabasePrint, TablePrint } from '#engines/postgres/fingerprint';
import { loadDump } from '#engines/postgres/load-dump';
import { listed, type Restoring } from '#engines/postgres/restoring';
import { openSession, type Session } from '#engines/postgres/session';
import { qualified, quoteName, quoteText, spoken } from '#engines/postgres/sql';
import { takeAway } from '#engines/postgres/take-away';

/**
 * `--only TABLE…`: beside what else is in the target. A dump's list does not tell which index belongs to which table,
 * so the whole schema is loaded with the data of these tables alone into a database beside, and pg_dump takes the
 * tables from there with all that hangs on them.
 */
export async function restoreTables(restoring: Restoring, names: readonly string[]): Promise<void> {
  const { target, fingerprint, run, warnings } = restoring;
  const { print, tables, present } = await lookAtTables(restoring, names);
  const into = await openSession(target.access, target.psql, run);
  const beside = `holdfast_only_${randomBytes(4).toString('hex')}`;
  const maintenance = await target.maintenance(target.database);
  try {
    const created = await createRoles(maintenance, print.roles, print.superusers);
    if (created.length > 0) warnings.push(`created without login or password: ${created.join(', ')}`);
    await createDatabase(maintenance, beside, print, null);
    const source = atDatabase(target.access, beside);
    const list = await listFor(restoring, print, tables);
    try {
      const options = ['--no-tablespaces', '-L', list];
      await loadDump(restoring.backup, fingerprint, print.artifact, source, target.pgRestore, options, run);
    } finally {
      await rm(list, { force: true });
    }
    await compare(restoring, print, tables, source);
    await takeOver(restoring, tables, present, into, source);
    await compare(restoring, print, tables, target.access);
  } finally {
    await into.close();
    await takeAway({ databases: [beside], roles: [] }, maintenance, target.access, target.psql, run);
    await maintenance.close();
  }
}

interface TablesAtTarget {
  /** The database they come from. */
  readonly print: DatabasePrint;
  readonly tables: readonly TablePrint[];
  /** Those of them that the target has. */
  readonly present: readonly TablePrint[];
}

/**
 * Which tables they are, and which of them are at the target already.
 * @throws UsageError, ToolMissing, TargetUnusable, TargetNotEmpty
 */
export async function lookAtTables(
  { target, fingerprint, overwrite, run }: Restoring,
  names: readonly string[],
): Promise<TablesAtTarget> {
  if (target.access.exec.length > 0)
    throw new ToolMissing(
      `--only works with client programs of this machine, and the target is reached by ${target.access.exec.join(' ')}`,
      {
        hint: `apt-get install postgresql-client-${target.facts.major}, and name the target by an address that is reached from here`,
      },
    );
  const { print, tables } = chosen(fingerprint.databases, names);
  if (!target.mayCreate)
    throw new TargetUnusable(
      `${target.facts.user} may not create databases on the target, and --only needs one beside`,
      {
        hint: `ALTER ROLE "${target.facts.user}" CREATEDB`,
      },
    );
  const session = await openSession(target.access, target.psql, run);
  try {
    const present = await presentTables(session, tables);
    if (present.length > 0 && !overwrite)
      throw new TargetNotEmpty(`the target has ${present.map(spoken).join(', ')} already`, {
        hint: 'restore to another database beside, or say --overwrite (the old one is kept in a schema of its own)',
      });
    return { print, tables, present };
  } finally {
    await session.close();
  }
}

function chosen(
  databases: readonly DatabasePrint[],
  names: readonly string[],
): { print: DatabasePrint; tables: TablePrint[] } {
  const failures: unknown[] = [];
  for (const print of databases) {
    try {
      return { print, tables: names.map((name) => named(name, print.tables)) };
    } catch (error) {
      failures.push(error);
    }
  }
  const [first] = failures;
  throw new UsageError(
    `--only: ${first instanceof Error ? first.message.replace('in the database', 'with data in the backup') : first}`,
    {
      hint: 'name tables of one database; `holdfast show` lists them',
    },
  );
}

async function presentTables(session: Session, tables: readonly TablePrint[]): Promise<TablePrint[]> {
  const present: TablePrint[] = [];
  for (const table of tables) {
    const [found] = await session.one(`select pg_catalog.to_regclass(${quoteText(qualified(table))})`);
    if (found !== null) present.push(table);
  }
  return present;
}

/**
 * The dump's list without the data of other tables and without foreign keys, which would miss it. A line that fits two
 * tables because of odd names is kept: too much data beside does no harm.
 */
async function listFor(restoring: Restoring, print: DatabasePrint, tables: readonly TablePrint[]): Promise<string> {
  const { run } = restoring;
  const lines = (await contentsList(restoring, print.artifact)).split('\n');
  const wanted = tables.map((table) => ` TABLE DATA ${table.schema} ${table.name} `.replace(/[\r\n]/g, ' '));
  const kept = lines.filter((line) => {
    if (LEFT_OUT.test(line)) return false;
    return !/^\d+; \d+ \d+ TABLE DATA /.test(line) || wanted.some((text) => line.includes(text));
  });
  const file = join(run.scratch, `list-${randomBytes(4).toString('hex')}`);
  await writeFile(file, kept.join('\n'), { mode: 0o600 });
  return file;
}

const LEFT_OUT =
  /^\d+; \d+ \d+ (?:FK CONSTRAINT|MATERIALIZED VIEW DATA|BLOBS?|BLOB METADATA|(?:ACL|COMMENT|SECURITY LABEL) - LARGE OBJECTS?) /;

/** Moves old tables out of the way, loads the new ones in one transaction, moves the old ones back if that fails. */
async function takeOver(
  restoring: Restoring,
  tables: readonly TablePrint[],
  present: readonly TablePrint[],
  into: Session,
  source: Access,
): Promise<void> {
  const { target, run, warnings } = restoring;
  const aside = `holdfast_before_${compactTime(run.clock.now()).toLowerCase()}`;
  for (const schema of new Set(tables.map((table) => table.schema)))
    await into.query(`create schema if not exists ${quoteName(schema)}`);
  if (present.length > 0) {
    await into.query(`create schema ${quoteName(aside)}`);
    for (const table of present) await into.query(`alter table ${qualified(table)} set schema ${quoteName(aside)}`);
  }
  try {
    await copyTables(tables, source, target.access, target.pgDump, target.pgRestore, run);
  } catch (error) {
    for (const table of present)
      await into.query(
        `alter table ${qualified({ schema: aside, name: table.name })} set schema ${quoteName(table.schema)}`,
      );
    if (present.length > 0) await into.query(`drop schema ${quoteName(aside)}`);
    throw error;
  }
  warnings.push('foreign keys of these tables are not restored: add them when the tables they point to are there');
  if (present.length > 0)
    warnings.push(
      `what was there is kept in schema ${aside}, and views and foreign keys still point to it; when it is no longer needed: drop schema ${aside} cascade`,
    );
}

async function copyTables(
  tables: readonly TablePrint[],
  from: Access,
  to: Access,
  pgDump: string,
  pgRestore: string,
  run: RunContext,
): Promise<void> {
  const pipeline = run.processes.pipe([
    clientCommand(from, pgDump, [
      '-Fc',
      '-Z0',
      '--strict-names',
      ...tables.map((table) => `--table=${qualified(table)}`),
    ]),
    clientCommand(to, pgRestore, ['--single-transaction', '--no-tablespaces']),
  ]);
  pipeline.stdout?.resume();
  try {
    await pipeline.done;
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    const said = /ERROR: {2}(.*)/.exec(error.stderr)?.[1];
    throw new TargetUnusable(`the tables do not fit into the target: ${said ?? error.message}`, {
      cause: error,
      hint: /already exists/.test(said ?? '')
        ? 'a table that was renamed keeps the names of its indexes and sequences: move it away whole, with create schema aside and alter table … set schema aside'
        : 'types and functions they use must be there; or restore all of the backup to a new database',
    });
  }
}

async function compare(
  { backup, fingerprint, target, run }: Restoring,
  print: DatabasePrint,
  tables: readonly TablePrint[],
  access: Access,
): Promise<void> {
  const differences = await compareDatabase(
    access,
    target.psql,
    {
      print,
      scope: fingerprint.scope,
      digest: backup.manifest.fingerprint.digest as DigestId,
      major: target.facts.major,
      sourceMajor: fingerprint.server.major,
      probes: [],
      only: tables,
    },
    run,
  );
  if (differences.length > 0)
    throw new Disproven(`restored, and not equal to the source: ${listed(differences)}`, {
      hint: 'restore another backup: holdfast list',
    });
}
