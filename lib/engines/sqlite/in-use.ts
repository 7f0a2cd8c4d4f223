import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync, statSync } from 'node:fs';

export interface Holder {
  readonly pid: number;
  readonly program: string;
}

/** Files that SQLite keeps beside a database. */
export const SIDECARS = ['-wal', '-shm', '-journal'] as const;

/** Whether `holdersOf` can see anything here. */
export function canSeeHolders(): boolean {
  return existsSync('/proc/self/fd');
}

/**
 * Processes that have the database or a file beside it open. Sees those of other users only as root. An idle
 * connection in rollback mode holds no lock at all, so asking SQLite for an exclusive lock would not find it.
 */
export function holdersOf(file: string): readonly Holder[] {
  if (!canSeeHolders() || !existsSync(file)) return [];
  const real = realpathSync(file);
  const wanted = new Set([real, ...SIDECARS.map((sidecar) => `${real}${sidecar}`)]);
  const { dev, ino } = statSync(real);
  const holders = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => descriptorsOf(pid).some((path) => wanted.has(path)))
    .map(Number);
  return [...new Set([...holders, ...lockersOf(dev, ino)])].map((pid) => ({ pid, program: programOf(pid) }));
}

export function describeHolders(holders: readonly Holder[]): string {
  return holders.map(({ pid, program }) => `pid ${pid} (${program})`).join(', ');
}

function descriptorsOf(pid: string): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((descriptor) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${descriptor}`);
      } catch {
        // Closed since it was listed.
        return '';
      }
    });
  } catch {
    // It has ended, or belongs to another user.
    return [];
  }
}

/** `1: POSIX  ADVISORY  READ 4711 fe:01:1234 0 EOF`: shows the locks of all users. */
function lockersOf(device: number, inode: number): readonly number[] {
  if (!existsSync('/proc/locks')) return [];
  const major = (device >> 8) & 0xfff;
  const minor = (device & 0xff) | ((device >> 12) & 0xfff00);
  const wanted = `${hex(major)}:${hex(minor)}:${inode}`;
  return readFileSync('/proc/locks', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[5] === wanted)
    .map((fields) => Number(fields[4]))
    .filter((pid) => pid > 0 && pid !== process.pid);
}

function hex(number: number): string {
  return number.toString(16).padStart(2, '0');
}

function programOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    // It has ended since.
    return 'unknown';
  }
}
