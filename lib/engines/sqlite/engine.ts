import type { StreamingEngine } from '#core/ports';
import { capture, inspect } from '#engines/sqlite/capture';
import { check } from '#engines/sqlite/check';
import { load } from '#engines/sqlite/load';
import { lookAtSqliteTarget, restore } from '#engines/sqlite/restore';

/** SQLite: a pinned copy of the file, taken and read by a child process, proven byte for byte. */
export const sqlite: StreamingEngine = {
  name: 'sqlite',
  inspect,
  check,
  capture,
  load: (backup, _source, run) => load(backup, run),
  restore: (backup, request, _source, run) => restore(backup, request, run),
  lookAtTarget: (backup, request) => lookAtSqliteTarget(backup, request),
};
