import { closeSync, fstatSync, openSync } from 'node:fs';
import { mkdtemp, rm, stat, statfs } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { Cancelled, CaptureIncomplete, SourceLocked, SpaceLacking } from '#core/errors';
import type { Identity } from '#core/manifest';
import { partMeasures } from '#core/measures';
import type { Capture, RunContext, SourceFacts, SourceRef } from '#core/ports';
import { formatBytes } from '#core/size';
import { askWorker, DatabaseDamaged } from '#engines/sqlite/ask-worker';
import type { Fingerprint } from '#engines/sqlite/fingerprint';
import { describeHolders, holdersOf } from '#engines/sqlite/in-use';
import { probesOf, withAnswers } from '#engines/sqlite/probes';
import type { Examination, Look, Snapshot } from '#engines/sqlite/protocol';
import { restoreScriptFor } from '#engines/sqlite/restore-script';
import { salvageHint } from '#engines/sqlite/salvage';

export const ARTIFACT = 'snapshot.db';

/** Milliseconds a snapshot waits for a writer that holds the database. */
const PATIENCE = 30_000;
/** In rollback mode the application's writers wait as long as the copy takes; from here on it is worth telling. */
const LONG_LOCK = 1000;

export function fileOf(source: SourceRef): string {
  const settings = source.settings.sqlite;
  if (!settings) throw new Error(`source ${source.name} is no SQLite database`);
  return resolve(settings.file);
}

export async function lookAt(source: SourceRef, run: RunContext): Promise<Look> {
  const file = fileOf(source);
  return namingLocks(file, askWorker({ do: 'look', file, patience: PATIENCE }, run));
}

export async function inspect(source: SourceRef, run: RunContext): Promise<SourceFacts> {
  const { schema, sqlite, bytes } = await lookAt(source, run);
  return { identity: identityOf(fileOf(source), schema), version: sqlite, bytes };
}

/** Copies the database into the scratch directory and reads the copy from end to end, before any byte is given out. */
export async function capture(source: SourceRef, run: RunContext): Promise<Capture> {
  const file = fileOf(source);
  const folder = await mkdtemp(join(run.scratch, 'sqlite-'));
  try {
    const path = join(folder, ARTIFACT);
    const { snapshotAt, snapshot } = await snapshotTo(path, source, run);
    run.progress.stage(`reading the snapshot of ${source.name}`, null);
    const probes = probesOf(source);
    const seen = await examined(path, file, askWorker({ do: 'examine', file: path, probes }, run));
    refuseDamaged(file, seen);
    return openCapture({ source, folder, path, snapshotAt, snapshot, seen }, run);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

export interface Taken {
  readonly snapshotAt: Date;
  readonly snapshot: Snapshot;
}

/** @throws SpaceLacking before anything is written, if it will not fit */
export async function snapshotTo(path: string, source: SourceRef, run: RunContext): Promise<Taken> {
  const file = fileOf(source);
  const bytes = await sizeOf(file);
  await wantSpace(bytes, run);
  run.progress.stage(`copying ${source.name}`, bytes);
  let snapshotAt: Date | null = null;
  const snapshot = await namingLocks(
    file,
    askWorker({ do: 'snapshot', file, into: path, patience: PATIENCE }, run, {
      pinned: () => {
        snapshotAt = run.clock.now();
      },
      progress: (copied) => run.progress.advance(copied),
    }),
  );
  if (snapshotAt === null) throw new CaptureIncomplete(`${file} was copied without being pinned`);
  run.log.debug(`${file}: ${snapshot.pages} pages, pinned for ${snapshot.pinnedMilliseconds} ms`);
  return { snapshotAt, snapshot };
}

/** The most that a snapshot can be: what is still in the -wal may be new. 0 when it cannot be seen; the worker says why. */
async function sizeOf(file: string): Promise<number> {
  const sizes = await Promise.all(
    [file, `${file}-wal`].map((path) =>
      stat(path).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function wantSpace(bytes: number, run: RunContext): Promise<void> {
  const { bavail, bsize } = await statfs(run.scratch);
  const free = bavail * bsize;
  if (free < bytes)
    throw new SpaceLacking(`${formatBytes(free)} free in ${run.scratch}, the snapshot needs ${formatBytes(bytes)}`, {
      hint: 'make room there, or point TMPDIR at a larger disk',
    });
}

/** A snapshot is as damaged as the file it is of, which is the one that somebody can still look at. */
export async function examined(
  snapshot: string,
  file: string,
  examination: Promise<Examination>,
): Promise<Examination> {
  try {
    return await examination;
  } catch (error) {
    if (!(error instanceof DatabaseDamaged)) throw error;
    throw new DatabaseDamaged(error.message.replaceAll(snapshot, file), { hint: salvageHint(file), cause: error });
  }
}

export function refuseDamaged(file: string, seen: Examination): void {
  if (seen.complaints.length === 0) return;
  throw new DatabaseDamaged(`${file} is damaged, integrity_check says: ${seen.complaints.slice(0, 3).join('; ')}`, {
    hint: salvageHint(file),
  });
}

interface Held extends Taken {
  readonly source: SourceRef;
  readonly folder: string;
  readonly path: string;
  readonly seen: Examination;
}

function openCapture(held: Held, run: RunContext): Capture {
  const { source, folder, path, seen, snapshot } = held;
  const file = fileOf(source);
  const descriptors: number[] = [];
  return {
    snapshotAt: held.snapshotAt,
    identity: identityOf(file, seen.schema),
    tools: { sqlite: seen.sqlite, node: process.versions.node },
    artifacts: [
      {
        name: ARTIFACT,
        async open() {
          const descriptor = openSync(path, 'r');
          descriptors.push(descriptor);
          const { size } = fstatSync(descriptor);
          if (size !== seen.bytes)
            throw new CaptureIncomplete(`the snapshot in ${folder} is ${size} bytes, it was ${seen.bytes}`);
          // It was written, synced, hashed and checked before: nothing produces it any more.
          return { bytes: descriptor, whole: Promise.resolve() };
        },
      },
    ],
    async finish() {
      if (run.signal.aborted) throw new Cancelled('the backup was stopped', { cause: run.signal.reason });
      const { probes, warnings } = withAnswers(probesOf(source), seen.probes);
      return {
        digest: 'sqlite1',
        fingerprint: fingerprintOf(seen, snapshot),
        measures: {
          bytes: seen.bytes,
          tables: seen.tables.length,
          rows: seen.tables.reduce((sum, { rows }) => sum + (rows ?? 0), 0),
          ...partMeasures(
            'rows',
            seen.tables.map(({ name, rows }) => ({ name, count: rows })),
          ),
        },
        probes,
        restoreScript: restoreScriptFor(basename(file), seen.sha256),
        warnings: [...warningsOf(seen, snapshot), ...warnings],
      };
    },
    async close() {
      for (const descriptor of descriptors) closeSync(descriptor);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function identityOf(file: string, schema: string): Identity {
  return { path: file, schema };
}

function fingerprintOf(seen: Examination, { journal, mode }: Snapshot): Fingerprint {
  const { bytes, sha256, schema, encoding, userVersion, applicationId, unchecked, tables } = seen;
  return {
    bytes,
    sha256,
    schema,
    encoding,
    userVersion,
    applicationId,
    journal,
    mode,
    unchecked: [...unchecked],
    tables: [...tables],
  };
}

function warningsOf(seen: Examination, { journal, pinnedMilliseconds }: Snapshot): readonly string[] {
  const warnings = seen.unchecked.map(
    (lacking) =>
      `not checked, because only the application can: ${lacking} (the snapshot's bytes are compared all the same)`,
  );
  if (seen.violations.length > 0) warnings.push(brokenConstraints(seen));
  if (journal === 'rollback' && pinnedMilliseconds >= LONG_LOCK)
    warnings.push(
      `writers waited ${(pinnedMilliseconds / 1000).toFixed(1)} s for the copy: in WAL mode they would not (pragma journal_mode=wal)`,
    );
  return warnings;
}

export function brokenConstraints({ violations }: Examination): string {
  return `some rows break a constraint of their table, and are in the backup as they are: ${violations.slice(0, 3).join('; ')}`;
}

/** "Locked" without a name helps nobody. */
async function namingLocks<T>(file: string, asked: Promise<T>): Promise<T> {
  try {
    return await asked;
  } catch (error) {
    if (!(error instanceof SourceLocked)) throw error;
    const holders = holdersOf(file);
    throw new SourceLocked(
      `${error.message} for more than ${PATIENCE / 1000} s${holders.length > 0 ? `: ${describeHolders(holders)}` : ''}`,
      { hint: error.hint, cause: error },
    );
  }
}
