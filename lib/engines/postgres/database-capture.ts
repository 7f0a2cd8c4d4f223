import { mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { SourceLocked, SourceUnsupported, SpaceLacking } from '#core/errors';
import type { Probe } from '#core/manifest';
import type { PostgresSettings } from '#core/plan';
import type { ArtifactBytes, Pipeline, RunContext } from '#core/ports';
import { formatBytes } from '#core/size';
import { removeTree } from '#engines/files/remove-tree';
import { type Access, clientCommand, runClient } from '#engines/postgres/access';
import {
  listSequences,
  readFrame,
  type SequenceFacts,
  sequencePositions,
  type TableFacts,
} from '#engines/postgres/catalog';
import { type Children, chooseTables, readChildren } from '#engines/postgres/chosen-tables';
import { type Depth, digestLargeObjects, digestTables } from '#engines/postgres/digest';
import { dumpWarnings, startDump, stopped } from '#engines/postgres/dump-process';
import { dumpFailure, rowSecurity, statementFailure } from '#engines/postgres/failures';
import type { DatabasePrint, SequencePosition } from '#engines/postgres/fingerprint';
import { type Asked, askAll, type ProbeAnswers, setSearchPath } from '#engines/postgres/probes';
import { openSnapshot, type Snapshot, withoutKeepingLocks } from '#engines/postgres/snapshot';
import { quoteName, spoken } from '#engines/postgres/sql';

export interface DatabaseRequest {
  readonly access: Access;
  /** `database.dump`, or `database.tar` with jobs. */
  readonly artifact: string;
  readonly settings: PostgresSettings;
  readonly psql: string;
  readonly pgDump: string;
  readonly standby: boolean;
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

/** Somebody who truncates in the moment between our locks and pg_dump's is let through this often. */
const ATTEMPTS = 5;

export async function openDatabase(request: DatabaseRequest, run: RunContext): Promise<DatabaseCapture> {
  for (let attempt = 1; ; attempt++) {
    const opened = await tryOpen(request, run);
    if (opened instanceof OpenDatabase) return opened;
    if (attempt >= ATTEMPTS)
      throw new SourceLocked(
        `${opened.stuck} keeps asking for an exclusive lock on a table while it is about to be dumped`,
        { hint: 'take the backup while nobody truncates or alters tables, or run it again' },
      );
    run.log.debug(`${opened.stuck} is let through, then the snapshot is taken anew`);
    await run.clock.sleep(200 * attempt, run.signal);
  }
}

async function tryOpen(request: DatabaseRequest, run: RunContext): Promise<OpenDatabase | { readonly stuck: string }> {
  const { access, settings } = request;
  const partial = settings.partial === true && settings.tables !== undefined;
  let children: Children = new Map();
  const snapshot = await openSnapshot(
    access,
    {
      psql: request.psql,
      lockTimeout: request.lockTimeout,
      prepare: async (session) => {
        if (settings.tables) children = await readChildren(session);
      },
      wanted: (tables) => (partial ? chooseTables(settings.tables ?? [], tables, children) : tables),
    },
    run,
  );
  const { session } = snapshot;
  let pipeline: Pipeline | null = null;
  try {
    const chosen = settings.schemaOnly
      ? []
      : settings.tables
        ? chooseTables(settings.tables, snapshot.tables, children)
        : snapshot.tables;
    const read = chosen.filter((table) => !table.partitioned && !(request.standby && table.unlogged));
    await refuseHiddenRows(snapshot, read);
    const sequences = settings.schemaOnly || partial ? [] : await listSequences(session);
    const before = await withoutKeepingLocks(session, () => sequencePositions(session, sequences));
    if (settings.jobs === undefined) {
      const args = ['-Fc', ...dumpArguments(settings, snapshot, chosen)];
      const started = await startDump(access, request.pgDump, args, session, run);
      if (started.stuck !== null) {
        await session.close();
        return started;
      }
      pipeline = started.pipeline;
    }
    const frame = await withoutKeepingLocks(session, () => readFrame(session));
    const answers = settings.schemaOnly ? { probes: [], warnings: [] } : await askInSnapshot(snapshot, request.probes);
    return new OpenDatabase(request, snapshot, pipeline, chosen, read, { frame, sequences, before, answers }, run);
  } catch (error) {
    if (pipeline) await stopped(pipeline);
    await session.close();
    throw statementFailure(error, `reading ${access.address.keywords['dbname'] ?? 'the database'}`);
  }
}

function dumpArguments(settings: PostgresSettings, snapshot: Snapshot, chosen: readonly TableFacts[]): string[] {
  const args = ['-Z0', `--snapshot=${snapshot.id}`, '--lock-wait-timeout=60s'];
  if (settings.schemaOnly) args.push('--schema-only');
  if (settings.tables && settings.partial)
    args.push(...chosen.map((table) => `--table=${pattern(table)}`), '--strict-names');
  else if (settings.tables && !settings.schemaOnly) {
    const kept = new Set(chosen);
    const others = snapshot.tables.filter((table) => !kept.has(table) && !table.partitioned);
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
  /** Already running; null where it is staged when its turn comes. */
  readonly #pipeline: Pipeline | null;
  #digests: Promise<Pick<DatabasePrint, 'tables' | 'largeObjects'>> | null = null;
  /** By pg_dump, on stderr. */
  #said = '';

  constructor(
    request: DatabaseRequest,
    snapshot: Snapshot,
    pipeline: Pipeline | null,
    chosen: readonly TableFacts[],
    read: readonly TableFacts[],
    before: ReadBefore,
    run: RunContext,
  ) {
    this.at = snapshot.at;
    this.#request = request;
    this.#snapshot = snapshot;
    this.#pipeline = pipeline;
    this.#chosen = chosen;
    this.#read = read;
    this.#before = before;
    this.#run = run;
    this.#staging = join(run.scratch, `${request.artifact}-staged`);
  }

  async dump(): Promise<ArtifactBytes> {
    if (this.#digests) throw new Error('the dump can be read once');
    const { session } = this.#snapshot;
    const size = this.#pipeline ? null : await session.one('select pg_database_size(current_database())');
    this.#digests = this.#digest();
    // Told by finish(); until then it must not end the process.
    this.#digests.catch(() => undefined);
    return this.#pipeline
      ? this.#stream(this.#pipeline)
      : this.#stage(this.#request.settings.jobs ?? 1, Number(size?.[0]));
  }

  #stream(pipeline: Pipeline): ArtifactBytes {
    const { access } = this.#request;
    const whole = pipeline.done.then(
      ([ended]) => {
        this.#said = ended?.stderr ?? '';
      },
      (error: unknown) => {
        throw dumpFailure(error, access);
      },
    );
    whole.catch(() => undefined);
    return { bytes: pipeline.stdout as Readable, whole };
  }

  /** `-Fd` writes a directory, so that several workers can write, and later read: it waits in the scratch directory. */
  async #stage(jobs: number, bytes: number): Promise<ArtifactBytes> {
    const { access, pgDump } = this.#request;
    const { bavail, bsize } = await statfs(this.#run.scratch);
    if (bavail * bsize < bytes)
      throw new SpaceLacking(
        `jobs: the dump waits in ${this.#run.scratch}, which has ${formatBytes(bavail * bsize)} free for a database of ${formatBytes(bytes)}`,
        { hint: 'make room, point TMPDIR to a bigger disk, or leave jobs: out to stream the dump' },
      );
    const args = dumpArguments(this.#request.settings, this.#snapshot, this.#chosen);
    await mkdir(this.#staging, { mode: 0o700 });
    const directory = join(this.#staging, 'dump');
    try {
      const dumped = clientCommand(access, pgDump, ['-Fd', '-j', String(jobs), '-f', directory, ...args]);
      this.#said = (await runClient(access, dumped, this.#run)).stderr;
    } catch (error) {
      throw dumpFailure(error, access);
    }
    const pipeline = this.#run.processes.pipe([{ program: 'tar', args: ['-C', directory, '-cf', '-', '.'] }]);
    const whole = pipeline.done.then(() => removeTree(this.#staging));
    whole.catch(() => undefined);
    return { bytes: pipeline.stdout as Readable, whole };
  }

  /**
   * Beside the dump, on the connection that holds the locks: another would have to queue for each table behind those
   * who wait for us.
   */
  async #digest(): Promise<Pick<DatabasePrint, 'tables' | 'largeObjects'>> {
    const { depth, settings } = this.#request;
    const { session } = this.#snapshot;
    try {
      // A REINDEX may hold an index longer than anybody may hold up the snapshot.
      await session.query(`set lock_timeout = '15min'`);
      // pg_dump reads with one process and is longer at it: helpers would only take the processors from it.
      await session.query('set max_parallel_workers_per_gather = 0');
      const tables = await digestTables(session, this.#read, depth);
      const withLarge = !settings.schemaOnly && !(settings.partial && settings.tables);
      return { tables, largeObjects: withLarge ? await digestLargeObjects(session, depth) : null };
    } catch (error) {
      throw statementFailure(error, 'the content digest could not be taken');
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
      const { session } = this.#snapshot;
      after = await withoutKeepingLocks(session, () => sequencePositions(session, sequences));
      await session.query('select 1');
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
        ...dumpWarnings(this.#said),
        ...(unread.length > 0
          ? [`unlogged tables are empty on a standby and not in the backup: ${unread.map(spoken).join(', ')}`]
          : []),
      ],
    };
  }

  async close(): Promise<void> {
    if (this.#pipeline) await stopped(this.#pipeline);
    await this.#snapshot.session.close();
    await removeTree(this.#staging);
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
