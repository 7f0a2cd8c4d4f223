import type { Condition } from '#core/alert';
import { formatSeconds } from '#core/duration';
import { formatBytes } from '#core/size';
import { CLOCK_TOLERANCE_SECONDS } from '#core/stamped-ahead';

/** What is known of one vault at one moment. */
export interface VaultFacts {
  readonly name: string;
  readonly url: string;
  /** Why it cannot be looked at: not mounted, away, refused, another plan's. Null = it answers. */
  readonly problem: { readonly message: string; readonly hint: string | null } | null;
  /** This machine's clock less the vault's; null = not compared. */
  readonly clockAheadSeconds: number | null;
  /** Bytes it may hold: the plan's `capacity`, else its disk's size. Null = unknown, unlimited. */
  readonly capacity: number | null;
  readonly free: number | null;
  /** The largest of the newest backups of its sources. */
  readonly newest: { readonly source: string; readonly bytes: number } | null;
  /** Rules of its bucket that end backups which nobody gave up. Null = not looked at, or no bucket. */
  readonly endingRules?: readonly string[] | null;
}

const DEFAULT_STORAGE_ABOVE = 0.8;
/** An alert that is open ends so far below the line, else it would come and go with each backup. */
const HYSTERESIS = 0.02;

/**
 * Everything that is wrong with the vaults, and with the clock they are compared with.
 * @param open keys of the alerts that are open
 */
export function vaultConditions(
  vaults: readonly VaultFacts[],
  storageAbove: number = DEFAULT_STORAGE_ABOVE,
  open: ReadonlySet<string>,
  now: Date,
): Condition[] {
  return [
    ...vaults.flatMap((vault) => [...away(vault, now), ...full(vault, storageAbove, open, now), ...ending(vault, now)]),
    ...clock(vaults, now),
  ];
}

/** Part of its capacity that is in use, or null. */
export function useOf({ capacity, free }: Pick<VaultFacts, 'capacity' | 'free'>): number | null {
  return capacity === null || free === null || capacity <= 0 ? null : Math.max(0, 1 - free / capacity);
}

function* away({ name, url, problem }: VaultFacts, now: Date): Iterable<Condition> {
  if (problem === null) return;
  yield {
    key: `vault/${name}`,
    kind: 'storage',
    source: null,
    title: `vault ${name} cannot be used: ${problem.message}`,
    happened: `${url === '' ? name : url}: ${problem.message}\nWhat lies in it is not known, which is not the same as nothing. Nothing is removed from it, and backups go to the other vaults only.`,
    since: now,
    next: [...(problem.hint === null ? [] : [problem.hint]), 'holdfast check'],
  };
}

function* full(vault: VaultFacts, storageAbove: number, open: ReadonlySet<string>, now: Date): Iterable<Condition> {
  const { name, free, capacity, newest } = vault;
  const next = ['holdfast retain --dry-run', 'a larger disk or capacity, shorter tiers, or fewer copies in it'];
  const use = useOf(vault);
  const key = `storage/${name}`;
  const line = open.has(key) ? storageAbove - HYSTERESIS : storageAbove;
  if (use !== null && use > line && capacity !== null && free !== null) {
    yield {
      key,
      kind: 'storage',
      source: null,
      title: `vault ${name} is ${Math.round(use * 100)}% full, the line is ${Math.round(storageAbove * 100)}%`,
      happened: `${formatBytes(capacity - free)} of ${formatBytes(capacity)} are in use, ${formatBytes(free)} are free.`,
      since: now,
      next,
    };
  }
  if (free === null || newest === null || free >= 2 * newest.bytes) return;
  yield {
    key: `space/${name}`,
    kind: 'storage',
    source: null,
    title: `vault ${name} has room for fewer than two more backups of ${newest.source}`,
    happened: `${formatBytes(free)} are free, the newest backup of ${newest.source} has ${formatBytes(newest.bytes)}. The next run may fail.`,
    since: now,
    // Room is about to be lacking altogether: nobody should wait for the line's own route.
    severity: 'high',
    next,
  };
}

/** I5: what age alone ends, no proof and no hold keeps. */
function* ending({ name, url, endingRules }: VaultFacts, now: Date): Iterable<Condition> {
  if (!endingRules?.length) return;
  yield {
    key: `ending/${name}`,
    kind: 'storage',
    source: null,
    title: `the bucket of vault ${name} ends backups that nobody gave up`,
    happened: `${url}: ${endingRules.join(', ')}. Its lifecycle ends objects without asking for the tag holdfast=expired: proven or not, held or not, the newest too.`,
    since: now,
    severity: 'critical',
    next: ['take the rule away, or give it a prefix outside of the vault', 'holdfast check --bucket-rules DIR'],
  };
}

function* clock(vaults: readonly VaultFacts[], now: Date): Iterable<Condition> {
  const off = vaults.filter(
    ({ clockAheadSeconds: ahead }) => ahead !== null && Math.abs(ahead) > CLOCK_TOLERANCE_SECONDS,
  );
  if (off.length === 0) return;
  const words = off.map(({ name, clockAheadSeconds }) => {
    const ahead = clockAheadSeconds as number;
    return `${formatSeconds(Math.abs(ahead))} ${ahead > 0 ? 'ahead of' : 'behind'} that of vault ${name}`;
  });
  yield {
    key: 'clock',
    kind: 'age',
    source: null,
    title: `this machine's clock is ${words.join(', ')}`,
    happened:
      'One of the clocks is wrong. Ages cannot be trusted meanwhile: nothing is removed, and runs may come too early or too late.',
    since: now,
    next: ['timedatectl', 'date -u'],
  };
}
