import { mkdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { SourceUnsupported, SpaceLacking } from '#core/errors';
import type { Probe } from '#core/manifest';
import type { PostgresSettings } from '#core/plan';
import type { ArtifactBytes, RunContext } from '#core/ports';
import { formatBytes } from '#core/size';
import { type Access, clientCommand, pipeClient, runClient } from '#engines/postgres/access';
import {
  listSequences,
  readFrame,
  type SequenceFacts,
  sequencePositions,
  type TableFacts,
} from '#engines/postgres/catalog';
import { chooseTables, readChildren } from '#engines/postgres/chosen-tables';
import { type Depth, digestLargeObjects, digestTables } from '#engines/postgres/digest';
import { dumpFailure, rowSecurity, statementFailure } from '#engines/postgres/failures';
import type { DatabasePrint, SequencePosition, TablePrint } from '#engines/postgres/fingerprint';
import { type Asked, askAll, type ProbeAnswers, setSearchPath } from '#engines/postgres/probes';
import { joinAgain, joinSnapshot, openSnapshot, type Snapshot } from '#engines/postgres/snapshot';
import { quoteName, spoken } from '#engines/postgres/sql';

export interface DatabaseRequest {
  readonly access: Access;
  /** `database.dump`, or `database.tar` with jobs. */
  readonly artifact: string;
  readonly settings: PostgresSettings;
  readonly psql: string;
  readonly pgDump: string;
  readonly major: number;
  readonly standby: boolean;
  readonly bytes: number;
  readonly depth: Depth;
  readonly probes: readonly Asked[];
  readonly lockTimeout: string;
}

export interface DatabaseResult {
  readonly print: DatabasePrint;
  readonly probes: readonly Probe[];
  readonly warnings: readonly string[];
}

/** One database in one snapshot: its dump, its digest and its probes. */
export interface DatabaseCapture {
  readonly at: Date;
  dump(): Promise<ArtifactBytes>;
  /** After the dump was read to its end. */
  finish(): Promise<DatabaseResult>;
  close(): Promise<void>;
}

/** All arguments together must stay well under the kernel's limit. */
const MOST_ARGUMENT_BYTES = 1_000_000;

export async function openDatabase(request: DatabaseRequest, run: RunContext): Promise<DatabaseCapture> {
  const { access, settings } = request;
  const partial = settings.partial === true && settings.tables !== undefined;
  let children: Awaited<ReturnType<typeof readChildren>> = new Map();
  const snapshot = await openSnapshot(
    access,
    {
      psql: request.psql,
      major: request.major,
      lockTimeout: request.lockTimeout,
      prepare: async (session) => {
        if (settings.tables) children = await readChildren(session);
      },
      wanted: (tables) => (partial ? chooseTables(settings.tables ?? [], tables, children) : tables),
    },
    run,
  );
  try {
    const chosen = settings.schemaOnly
      ? []
      : settings.tables
        ? chooseTables(settings.tables, snapshot.tables, children)
        : snapshot.tables;
    const read = chosen.filter((table) => !table.partitioned && !(request.standby && table.unlogged));
    await refuseHiddenRows(snapshot, read);
    const frame = await readFrame(snapshot.session);
    const sequences = settings.schemaOnly || partial ? [] : await listSequences(snapshot.session);
    const before = await sequencePositions(snapshot.session, sequences);
    const answers = settings.schemaOnly ? { probes: [], warnings: [] } : await askInSnapshot(snapshot, request.probes);
    return new OpenDatabase(request, snapshot, chosen, read, { frame, sequences, before, answers }, run);
  } catch (error) {
    await snapshot.session.close();
    throw statementFailure(error, `reading ${request.access.address.keywords['dbname'] ?? 'the database'}`);
  }
}

interface ReadBefore {
  readonly frame: Awaited<ReturnType<typeof readFrame>>;
  readonly sequences: readonly SequenceFacts[];
  readonly before: readonly SequencePosition[];
  readonly answers: ProbeAnswers;
}

class OpenDatabase implements DatabaseCapture {
  readonly at: Date;
  readonly #request: DatabaseRequest;
  readonly #snapshot: Snapshot;
  readonly #chosen: readonly TableFacts[];
  readonly #read: readonly TableFacts[];
  readonly #before: ReadBefore;
  readonly #run: RunContext;
  readonly #staging: string;
  #digests: Promise<Pick<DatabasePrint, 'tables' | 'largeObjects'>> | null = null;

  constructor(
    request: DatabaseRequest,
    snapshot: Snapshot,
    chosen: readonly TableFacts[],
    read: readonly TableFacts[],
    before: ReadBefore,
    run: RunContext,
  ) {
    this.at = snapshot.at;
    this.#request = request;
    this.#snapshot = snapshot;
    this.#chosen = chosen;
    this.#read = read;
    this.#before = before;
    this.#run = run;
    this.#staging = join(run.scratch, `${request.artifact}-staged`);
  }

  async dump(): Promise<ArtifactBytes> {
    this.#digests = this.#digest();
    // Told by finish(); until then it must not end the process.
    this.#digests.catch(() => undefined);
    return this.#request.settings.jobs === undefined ? this.#stream() : this.#stage(this.#request.settings.jobs);
  }

  #arguments(): string[] {
    const { settings } = this.#request;
    const args = ['-Z0', `--snapshot=${this.#snapshot.id}`];
    if (settings.schemaOnly) args.push('--schema-only');
    if (settings.tables && settings.partial)
      args.push(...this.#chosen.map((table) => `--table=${pattern(table)}`), '--strict-names');
    else if (settings.tables && !settings.schemaOnly) {
      const chosen = new Set(this.#chosen);
      const others = this.#snapshot.tables.filter((table) => !chosen.has(table) && !table.partitioned);
      args.push(...others.map((table) => `--exclude-table-data=${pattern(table)}`));
    }
    const bytes = args.reduce((sum, argument) => sum + Buffer.byteLength(argument) + 9, 0);
    if (bytes > MOST_ARGUMENT_BYTES)
      throw new SourceUnsupported(
        `the database has too many tables beside those under tables: for pg_dump's arguments (${formatBytes(bytes)})`,
        { hint: 'leave tables: out, or say partial: true' },
      );
    return args;
  }

  #stream(): ArtifactBytes {
    const { access, pgDump } = this.#request;
    const pipeline = pipeClient(access, clientCommand(access, pgDump, ['-Fc', ...this.#arguments()]), this.#run);
    const whole = pipeline.done.then(
      () => undefined,
      (error: unknown) => {
        throw dumpFailure(error, access);
      },
    );
    whole.catch(() => undefined);
    return { bytes: pipeline.stdout as Readable, whole };
  }

  /** `-Fd` writes a directory, so that several workers can write, and later read: it waits in the scratch directory. */
  async #stage(jobs: number): Promise<ArtifactBytes> {
    const { access, pgDump, bytes } = this.#request;
    const { bavail, bsize } = await statfs(this.#run.scratch);
    if (bavail * bsize < bytes)
      throw new SpaceLacking(
        `jobs: the dump waits in ${this.#run.scratch}, which has ${formatBytes(bavail * bsize)} free for a database of ${formatBytes(bytes)}`,
        { hint: 'make room, point TMPDIR to a bigger disk, or leave jobs: out to stream the dump' },
      );
    await mkdir(this.#staging, { mode: 0o700 });
    const directory = join(this.#staging, 'dump');
    try {
      await runClient(
        access,
        clientCommand(access, pgDump, ['-Fd', '-j', String(jobs), '-f', directory, ...this.#arguments()]),
        this.#run,
      );
    } catch (error) {
      throw dumpFailure(error, access);
    }
    const pipeline = this.#run.processes.pipe([{ program: 'tar', args: ['-C', directory, '-cf', '-', '.'] }]);
    const whole = pipeline.done.then(() => rm(this.#staging, { recursive: true, force: true }));
    whole.catch(() => undefined);
    return { bytes: pipeline.stdout as Readable, whole };
  }

  /** Beside the dump, on a connection of its own. */
  async #digest(): Promise<Pick<DatabasePrint, 'tables' | 'largeObjects'>> {
    const { access, psql, depth, settings } = this.#request;
    const session = await joinSnapshot(access, psql, this.#snapshot.id, this.#run);
    try {
      let since = 0;
      const tables: TablePrint[] = await digestTables(session, this.#read, depth, async (count) => {
        since += count;
        // A transaction holds a lock on all it has read; with thousands of tables the server runs out of them.
        if (since < 1000) return;
        since = 0;
        await joinAgain(session, this.#snapshot.id);
      });
      const withLarge = !settings.schemaOnly && !(settings.partial && settings.tables);
      return { tables, largeObjects: withLarge ? await digestLargeObjects(session, depth) : null };
    } catch (error) {
      throw statementFailure(error, 'the content digest could not be taken');
    } finally {
      await session.close();
    }
  }

  async finish(): Promise<DatabaseResult> {
    if (!this.#digests) throw new Error('finish() before the dump was opened');
    const { tables, largeObjects } = await this.#digests;
    const { frame, sequences, before, answers } = this.#before;
    const { settings, artifact } = this.#request;
    let after: SequencePosition[];
    try {
      // Also the evidence that the snapshot stood until all had read.
      after = await sequencePositions(this.#snapshot.session, sequences);
      await this.#snapshot.session.query('select 1');
    } catch (error) {
      throw statementFailure(error, 'the snapshot did not last until the end');
    }
    const read = new Set(this.#read);
    const partial = settings.partial === true && settings.tables !== undefined;
    const others = this.#snapshot.tables
      .filter((table) => !read.has(table) && !table.partitioned)
      .map(({ schema, name }) => ({ schema, name, kind: 'table' }));
    const unread = this.#chosen.filter((table) => !read.has(table) && !table.partitioned);
    const print: DatabasePrint = {
      ...frame,
      ...(partial ? { extensions: [], matviews: [], relations: [], objects: {}, settings: [] } : {}),
      relations: partial ? [] : [...frame.relations, ...others],
      artifact,
      searchPath: this.#snapshot.searchPath,
      tables,
      sequences: sequences.map((sequence, index) => ({
        ...sequence,
        before: before[index] as SequencePosition,
        after: after[index] as SequencePosition,
      })),
      largeObjects,
    };
    return {
      print,
      probes: answers.probes,
      warnings: [
        ...answers.warnings,
        ...(unread.length > 0
          ? [`unlogged tables are empty on a standby and not in the backup: ${unread.map(spoken).join(', ')}`]
          : []),
      ],
    };
  }

  async close(): Promise<void> {
    await this.#snapshot.session.close();
    await rm(this.#staging, { recursive: true, force: true });
  }
}

/** pg_dump's patterns take what stands in quotes as it is. */
function pattern(table: TableFacts): string {
  return `${quoteName(table.schema)}.${quoteName(table.name)}`;
}

/** pg_dump and the digest would fail on them too, but in the middle and with fewer words. */
async function refuseHiddenRows(snapshot: Snapshot, read: readonly TableFacts[]): Promise<void> {
  const rows = await snapshot.session.query(`
    select c.oid from pg_catalog.pg_class c where c.relrowsecurity and pg_catalog.row_security_active(c.oid)`);
  const hidden = new Set(rows.map(([oid]) => oid));
  const found = read.filter((table) => hidden.has(table.oid));
  if (found.length > 0) throw rowSecurity(`table ${found.map(spoken).join(', ')}`);
}

async function askInSnapshot(snapshot: Snapshot, probes: readonly Asked[]): Promise<ProbeAnswers> {
  if (probes.length === 0) return { probes: [], warnings: [] };
  await setSearchPath(snapshot.session, snapshot.searchPath);
  const answers = await askAll(snapshot.session, probes);
  await setSearchPath(snapshot.session, '');
  return answers;
}
