import { readdirSync, readFileSync } from 'node:fs';

/**
 * Processes with a directory in their environment: the children of runs in a `Place`, whose scratch lies there. Others
 * on this machine may run the same programs.
 */
export function childrenIn(directory: string): string[] {
  return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && read(pid, 'environ').includes(directory));
}

/** With its arguments; empty when it has ended. */
export function commandOf(pid: string): string {
  return read(pid, 'cmdline').replaceAll('\0', ' ');
}

export function programOf(pid: string): string {
  return commandOf(pid).split(' ')[0]?.split('/').at(-1) ?? '';
}

/** Empty when the process has just ended, or is another user's. */
function read(pid: string, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) return '';
    throw error;
  }
}
