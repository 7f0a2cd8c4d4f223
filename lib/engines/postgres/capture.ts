import type { Readable } from 'node:stream';
import { NotThereYet, SourceRefused } from '#core/errors';
import type { Identity, Probe } from '#core/manifest';
import { partMeasures } from '#core/measures';
import type { PostgresSettings } from '#core/plan';
import type { ArtifactBytes, ArtifactSource, Capture, CaptureResult, RunContext, SourceRef } from '#core/ports';
import { type Access, accessTo, atDatabase, clientCommand, forget, pipeClient } from '#engines/postgres/access';
import { parseAddress } from '#engines/postgres/address';
import { listRoles } from '#engines/postgres/catalog';
import { anyClient, clientOf, type Tool, type Where } from '#engines/postgres/clients';
import {
  type DatabaseCapture,
  type DatabaseRequest,
  type DatabaseResult,
  openDatabase,
} from '#engines/postgres/database-capture';
import { digestOf } from '#engines/postgres/digest';
import { dumpFailure, statementFailure } from '#engines/postgres/failures';
import type { DatabasePrint, Fingerprint } from '#engines/postgres/fingerprint';
import { refusePooler } from '#engines/postgres/pooler';
import { probesOf } from '#engines/postgres/probes';
import { restoreScript } from '#engines/postgres/restore-script';
import { readIdentity, readServer, type ServerFacts } from '#engines/postgres/server';
import { openSession, type Session } from '#engines/postgres/session';

/** The source's settings; its mode must be one that is here. */
export function settingsOf(source: SourceRef): PostgresSettings {
  const settings = source.settings.postgres;
  if (!settings) throw new Error(`source ${source.name} is not a PostgreSQL source`);
  if (settings.mode === 'physical' || settings.wal)
    throw new NotThereYet(`source ${source.name}: mode: physical and wal: do not work in this version`, {
      source: source.name,
      hint: 'leave them out: dump mode is the default',
    });
  return settings;
}

export interface Reached {
  readonly access: Access;
  readonly where: Where;
  readonly settings: PostgresSettings;
  /** Of any major: for questions. */
  readonly psql: string;
}

export async function reach(source: SourceRef, run: RunContext): Promise<Reached> {
  const settings = settingsOf(source);
  const exec = settings.exec ?? [];
  const where: Where = { bin: settings.bin ?? null, exec };
  const address = parseAddress(run.reveal(settings.url), `the url of ${source.name}`);
  const access = await accessTo(address, exec, run);
  return { access, where, settings, psql: await anyClient('psql', where, run) };
}

/** As long as `work` lasts; the password's file goes with it. */
export async function reaching<T>(
  source: SourceRef,
  run: RunContext,
  work: (reached: Reached) => Promise<T>,
): Promise<T> {
  const reached = await reach(source, run);
  try {
    return await work(reached);
  } finally {
    await forget(reached.access);
  }
}

/** One question and answer session; its failures are those of a source. */
export async function asking<T>(
  access: Access,
  psql: string,
  run: RunContext,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await openSession(access, psql, run);
  try {
    return await work(session);
  } catch (error) {
    throw statementFailure(error, 'asking the server');
  } finally {
    await session.close();
  }
}

/** Databases of managed servers that nobody but the provider may enter. */
const PROVIDERS_OWN = ['rdsadmin', 'cloudsqladmin', 'azure_maintenance', 'azure_sys'];

interface Survey {
  readonly facts: ServerFacts;
  readonly identity: Identity;
  readonly roles: readonly string[];
  readonly preload: string;
  readonly monetary: string;
  readonly databases: readonly string[];
  /** Of `databases: all`, those that are left out, and why. */
  readonly skipped: readonly string[];
}

async function survey(session: Session, all: boolean): Promise<Survey> {
  const facts = await readServer(session);
  const [preload, monetary] = await session.one(
    `select coalesce((select setting from pg_catalog.pg_settings where name = 'shared_preload_libraries'), ''),
      pg_catalog.current_setting('lc_monetary')`,
  );
  const databases: string[] = [];
  const skipped: string[] = [];
  if (all) {
    const rows = await session.query(`
      select datname, pg_catalog.has_database_privilege(oid, 'CONNECT'), datallowconn, datconnlimit = -2
      from pg_catalog.pg_database where datname not in ('template0', 'template1') order by datname collate "C"`);
    for (const [name, enter, open, broken] of rows) {
      if (PROVIDERS_OWN.includes(name as string)) skipped.push(`database ${name} belongs to the provider`);
      else if (broken === 't') skipped.push(`database ${name} is what a DROP DATABASE that was cut off has left`);
      else if (open !== 't') skipped.push(`database ${name} allows no connections (ALLOW_CONNECTIONS false)`);
      else if (enter !== 't')
        throw new SourceRefused(`${facts.user} may not connect to database ${name}, and the plan says databases: all`, {
          hint: `GRANT CONNECT ON DATABASE "${name}" TO "${facts.user}"`,
        });
      else databases.push(name as string);
    }
  } else databases.push(facts.database);
  return {
    facts,
    identity: await readIdentity(session, facts),
    roles: await listRoles(session),
    preload: preload ?? '',
    monetary: monetary ?? 'C',
    databases,
    skipped,
  };
}

/** @param lockTimeout how long one table's lock may be waited for */
export async function capturePostgres(source: SourceRef, run: RunContext, lockTimeout = '30s'): Promise<Capture> {
  const reached = await reach(source, run);
  try {
    return await captureFrom(reached, source, run, lockTimeout);
  } catch (error) {
    await forget(reached.access);
    throw error;
  }
}

async function captureFrom(
  { access, where, settings, psql: someClient }: Reached,
  source: SourceRef,
  run: RunContext,
  lockTimeout: string,
): Promise<Capture> {
  const all = settings.databases === 'all';
  const surveyed = await asking(access, someClient, run, async (session) => {
    await refusePooler(session, access, someClient, run);
    return survey(session, all);
  });
  const { facts } = surveyed;
  const psql = await clientOf(facts.major, 'psql', where, run);
  const pgDump = await clientOf(facts.major, 'pg_dump', where, run);
  const globals = settings.globals === true || all;
  const pgDumpall = globals ? await clientOf(facts.major, 'pg_dumpall', where, run) : null;
  const extension = settings.jobs === undefined ? 'dump' : 'tar';
  const requests = surveyed.databases.map(
    (name, index): DatabaseRequest => ({
      access: atDatabase(access, name),
      artifact: all ? `database-${String(index + 1).padStart(3, '0')}.${extension}` : `database.${extension}`,
      settings,
      psql: psql.path,
      pgDump: pgDump.path,
      standby: facts.standby,
      depth: settings.fingerprint === 'counts' ? 'counts' : { digest: digestOf(facts.major) },
      probes: name === facts.database ? probesOf(source.settings.probes) : [],
      lockTimeout,
    }),
  );
  const first = await openDatabase(requests[0] as DatabaseRequest, run);
  return new PostgresCapture(surveyed, settings, requests, first, access, pgDump, pgDumpall, run);
}

class PostgresCapture implements Capture {
  readonly snapshotAt: Date;
  readonly identity: Identity;
  readonly tools: Readonly<Record<string, string>>;
  readonly artifacts: readonly ArtifactSource[];
  readonly #survey: Survey;
  readonly #settings: PostgresSettings;
  readonly #results: DatabaseResult[] = [];
  readonly #run: RunContext;
  readonly #access: Access;
  #current: DatabaseCapture | null;

  constructor(
    surveyed: Survey,
    settings: PostgresSettings,
    requests: readonly DatabaseRequest[],
    first: DatabaseCapture,
    access: Access,
    pgDump: Tool,
    pgDumpall: Tool | null,
    run: RunContext,
  ) {
    this.snapshotAt = first.at;
    this.identity = surveyed.identity;
    this.tools = { server: surveyed.facts.version, pg_dump: pgDump.version };
    this.#survey = surveyed;
    this.#settings = settings;
    this.#current = first;
    this.#access = access;
    this.#run = run;
    this.artifacts = [
      ...(pgDumpall
        ? [{ name: 'globals.sql', open: async () => dumpGlobals(access, pgDumpall, surveyed.facts, run) }]
        : []),
      ...requests.map((request, index) => ({ name: request.artifact, open: () => this.#open(request, index) })),
    ];
  }

  /** With `databases: all` each has a snapshot of its own, open no longer than its dump. */
  async #open(request: DatabaseRequest, index: number): Promise<ArtifactBytes> {
    if (index > 0) {
      await this.#finishCurrent();
      this.#current = await openDatabase(request, this.#run);
    }
    if (!this.#current) throw new Error(`${request.artifact} was opened out of turn`);
    return this.#current.dump();
  }

  async #finishCurrent(): Promise<void> {
    if (!this.#current) return;
    this.#results.push(await this.#current.finish());
    await this.#current.close();
    this.#current = null;
  }

  async finish(): Promise<CaptureResult> {
    await this.#finishCurrent();
    const { facts, skipped } = this.#survey;
    const settings = this.#settings;
    const prints = this.#results.map((result) => result.print);
    const globals = settings.globals === true || settings.databases === 'all';
    const fingerprint: Fingerprint = {
      server: {
        version: facts.version,
        major: facts.major,
        preload: this.#survey.preload,
        monetary: this.#survey.monetary,
      },
      scope: {
        schemaOnly: settings.schemaOnly === true,
        tables: settings.tables ? [...settings.tables] : null,
        partial: settings.partial === true && settings.tables !== undefined,
        all: settings.databases === 'all',
      },
      format: settings.jobs === undefined ? 'custom' : 'directory',
      jobs: settings.jobs ?? 1,
      globals,
      roles: [...this.#survey.roles],
      databases: prints,
    };
    return {
      digest: digestOf(facts.major),
      fingerprint,
      measures: measuresOf(prints, settings.databases === 'all'),
      probes: this.#results.flatMap((result): readonly Probe[] => result.probes),
      restoreScript: restoreScript(fingerprint),
      warnings: [
        ...this.#results.flatMap((result) => result.warnings),
        ...(prints.length > 1 ? ['each database is of a snapshot of its own: they are not of the same instant'] : []),
        ...skipped.map((what) => `${what}, and is not in the backup`),
        ...(globals && !facts.superuser
          ? [`${facts.user} is no superuser: the roles are in the backup without their passwords`]
          : []),
      ],
    };
  }

  async close(): Promise<void> {
    const current = this.#current;
    this.#current = null;
    try {
      await current?.close();
    } finally {
      await forget(this.#access);
    }
  }
}

function measuresOf(prints: readonly DatabasePrint[], all: boolean): Record<string, number> {
  const tables = prints.flatMap(({ name: database, tables }) =>
    tables.map(({ schema, name, rows }) => ({ name: `${all ? `${database}.` : ''}${schema}.${name}`, count: rows })),
  );
  return {
    tables: tables.length,
    rows: tables.reduce((sum, { count }) => sum + count, 0),
    ...partMeasures('rows', tables),
  };
}

function dumpGlobals(access: Access, pgDumpall: Tool, facts: ServerFacts, run: RunContext): ArtifactBytes {
  const args = ['--globals-only', ...(facts.superuser ? [] : ['--no-role-passwords'])];
  const pipeline = pipeClient(access, clientCommand(access, pgDumpall.path, args), run);
  const whole = pipeline.done.then(
    () => undefined,
    (error: unknown) => {
      throw dumpFailure(error, access);
    },
  );
  whole.catch(() => undefined);
  return { bytes: pipeline.stdout as Readable, whole };
}
