import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { processStart } from '#host/processes';
import type { Holder } from '#vault/lease';

/** This process, as leases and scratch directories name it. */
export function thisHolder(): Holder {
  return {
    host: hostname(),
    pid: process.pid,
    start: processStart(process.pid),
    boot: fromProc(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()),
    namespace: fromProc(() => readlinkSync('/proc/self/ns/pid')),
  };
}

/**
 * Whether a holder is a process of this very machine, boot and pid namespace that has ended. False also means "cannot
 * be told from here": another machine, another container, no /proc.
 */
export function isGone(holder: Holder): boolean {
  const here = thisHolder();
  if (holder.start === null || holder.boot === null || holder.namespace === null) return false;
  if (holder.host !== here.host || holder.boot !== here.boot || holder.namespace !== here.namespace) return false;
  return processStart(holder.pid) !== holder.start;
}

/** Null where there is no /proc, as on a Mac, or a sandbox hides it: then nothing is ever said to be gone. */
function fromProc(read: () => string): string | null {
  try {
    return read();
  } catch {
    return null;
  }
}
