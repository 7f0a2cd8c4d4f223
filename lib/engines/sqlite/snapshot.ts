import { closeSync, fsyncSync, openSync } from 'node:fs';
import { backup } from 'node:sqlite';
import { explain, isOfWriting, openLive, pin, schemaHash, soundSqliteVersion } from '#engines/sqlite/database';
import { readHeader } from '#engines/sqlite/header';
import type { Look, LookRequest, Snapshot, SnapshotRequest } from '#engines/sqlite/protocol';

/** Pages a step. In WAL mode small steps cost nothing; in rollback mode writers wait until all is copied. */
const RATE = { wal: 500, rollback: 1_000_000 } as const;

export interface SnapshotEvents {
  /** The copy will be of this moment. */
  pinned(): void;
  progress(bytes: number): void;
}

/**
 * A read transaction on the same connection pins what `backup()` copies. Without it every commit of another process
 * restarts the copy, which then never ends under a steady writer.
 */
export async function takeSnapshot(request: SnapshotRequest, events: SnapshotEvents): Promise<Snapshot> {
  soundSqliteVersion();
  const { journal, mode } = readHeader(request.file);
  let pages: number;
  let pinnedMilliseconds: number;
  try {
    const database = openLive(request.file);
    try {
      await pin(database, request.patience);
      const pinnedAt = performance.now();
      events.pinned();
      const { page_size: pageSize } = database.prepare('pragma page_size').get() as { page_size: number };
      let copied = 0;
      pages = await backup(database, request.into, {
        rate: RATE[journal],
        progress: ({ totalPages, remainingPages }) => {
          const done = (totalPages - remainingPages) * pageSize;
          events.progress(done - copied);
          copied = done;
        },
      }).catch((error: unknown) => {
        throw explain(error, isOfWriting(error) ? request.into : request.file);
      });
      database.exec('commit');
      pinnedMilliseconds = Math.round(performance.now() - pinnedAt);
    } finally {
      database.close();
    }
  } catch (error) {
    throw explain(error, request.file);
  }
  makeDurable(request.into);
  return { pages, journal, pinnedMilliseconds, mode };
}

/** @throws WorkerFailure the database cannot be read, with why */
export async function look(request: LookRequest): Promise<Look> {
  const sqlite = soundSqliteVersion();
  const { journal, writtenBy } = readHeader(request.file);
  try {
    const database = openLive(request.file);
    try {
      await pin(database, request.patience);
      const schema = schemaHash(database);
      const { bytes } = database
        .prepare('select page_count * page_size as bytes from pragma_page_count(), pragma_page_size()')
        .get() as { bytes: number };
      return { sqlite, journal, writtenBy, bytes, schema };
    } finally {
      database.close();
    }
  } catch (error) {
    throw explain(error, request.file);
  }
}

function makeDurable(file: string): void {
  const descriptor = openSync(file, 'r+');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
