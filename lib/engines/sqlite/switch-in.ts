import { chmodSync, chownSync, closeSync, existsSync, fsyncSync, linkSync, openSync, renameSync } from 'node:fs';
import { dirname } from 'node:path';
import { compactTime } from '#core/manifest';
import { SIDECARS } from '#engines/sqlite/in-use';
import type { Target } from '#engines/sqlite/target';

/**
 * Puts the finished file in the place of what is there, which is kept as `<name>.before-<time>` with its `-wal`: a
 * stale `-wal` beside the restored file would corrupt it at the first opening.
 * @param mode permission bits when nothing is there whose owner and mode would be kept
 * @returns where the old database now is; null = there was none
 */
export function switchIn({ file, beside, there }: Target, mode: number, now: Date): string | null {
  if (there) {
    // Only root may give a file away, and root restoring into another user's directory must.
    if (process.getuid?.() === 0) chownSync(beside, there.uid, there.gid);
    chmodSync(beside, there.mode & 0o777);
  } else chmodSync(beside, mode);
  const kept = there && there.size > 0 ? freeName(`${file}.before-${compactTime(now)}`) : null;
  if (kept) keep(file, kept);
  for (const sidecar of SIDECARS) {
    const stale = `${file}${sidecar}`;
    if (existsSync(stale)) renameSync(stale, `${kept ?? freeName(`${file}.before-${compactTime(now)}`)}${sidecar}`);
  }
  renameSync(beside, file);
  syncDirectory(dirname(file));
  return kept;
}

/** A second name, so that there is no moment without a database; where the file system has no links, a short one. */
function keep(file: string, kept: string): void {
  try {
    linkSync(file, kept);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw error;
    renameSync(file, kept);
  }
}

function freeName(wanted: string): string {
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? wanted : `${wanted}.${number}`;
    if (![name, ...SIDECARS.map((sidecar) => `${name}${sidecar}`)].some((path) => existsSync(path))) return name;
  }
}

function syncDirectory(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
