import { parseDuration } from '#core/duration';
import type { Schedule, Tier } from '#core/plan';
import { type Decision, decide, type Retention } from '#core/retention';
import type { RetentionInput, SourceRules, StoredBackup } from '#core/retention-input';
import { dueTier, expiresAt } from '#core/tiers';

/** Backups, plans and times that retention is asked about, as tests want to write them. */

export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;

export function idOf(at: string | Date, suffix = '0000'): string {
  return `${new Date(at).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z-${suffix}`;
}

/** A daily that was promised 30 days and is proven, unless told. */
export function stored(at: string | Date, change: Partial<StoredBackup> = {}): StoredBackup {
  const snapshotAt = new Date(at);
  return {
    id: idOf(at),
    tier: 'daily',
    kind: 'full',
    base: null,
    snapshotAt,
    scheduledAt: snapshotAt,
    expires: new Date(snapshotAt.getTime() + 30 * DAY),
    proof: 'proven',
    lease: 1,
    engine: 'postgres',
    identity: { system: '7000', database: 'app' },
    measures: { rows: 1000, bytes: 1_000_000 },
    point: null,
    ...change,
  };
}

export function tier(keep: string | number, every?: string): Tier {
  return {
    keep: typeof keep === 'number' ? { versions: keep } : duration(keep),
    ...(every === undefined ? {} : { every: duration(every) }),
  };
}

function duration(text: string) {
  const parsed = parseDuration(text);
  if (!parsed) throw new Error(`no duration: ${text}`);
  return parsed;
}

/** `rules('0 2 * * *', ['daily'])` */
export function rules(when: string, tiers: readonly string[], change: Partial<SourceRules> = {}): SourceRules {
  const timing = when.startsWith('every ') ? { every: duration(when.slice(6)) } : { cron: when };
  const named = tiers.length === 1 ? { tier: tiers[0] as string } : { tiers: [...tiers] };
  return { schedule: [{ ...timing, ...named, to: ['here'] } as Schedule], ...change };
}

export const NOW = new Date('2026-11-21T12:00:00Z');

export function asked(backups: readonly StoredBackup[], change: Partial<RetentionInput> = {}): RetentionInput {
  return {
    backups,
    unreadable: [],
    holds: new Map(),
    acknowledged: [],
    logs: new Map(),
    tiers: { daily: tier('30d') },
    settings: rules('0 2 * * *', ['daily']),
    zone: 'UTC',
    now: NOW,
    unchanged: new Map(),
    provenElsewhere: null,
    stop: null,
    assumeFresh: false,
    ...change,
  };
}

export function removedIds({ decisions }: Retention): string[] {
  return decisions.filter(({ action }) => action === 'remove').map(({ id }) => id);
}

export function decisionOn(retention: Retention, backup: StoredBackup): Decision {
  const found = retention.decisions.find(({ id }) => id === backup.id);
  if (!found) throw new Error(`no decision on ${backup.id}`);
  return found;
}

/** What lies there after each day's retention. */
export function afterDays(
  from: Date,
  days: number,
  madeOn: (day: Date, present: readonly StoredBackup[]) => readonly StoredBackup[],
  change: Partial<RetentionInput>,
): { readonly backups: readonly StoredBackup[]; readonly last: RetentionInput } {
  let backups: readonly StoredBackup[] = [];
  let last = asked([], change);
  for (let day = 0; day < days; day++) {
    const morning = new Date(from.getTime() + day * DAY);
    backups = [...backups, ...madeOn(morning, backups)];
    last = asked(backups, { ...change, now: new Date(morning.getTime() + 12 * HOUR) });
    const gone = new Set(removedIds(decide(last)));
    backups = backups.filter(({ id }) => !gone.has(id));
  }
  return { backups, last: { ...last, backups } };
}

/** The backup a schedule would make at this time, in the tier that is due. */
export function scheduled(
  at: Date,
  present: readonly StoredBackup[],
  { tiers, settings, zone }: Pick<RetentionInput, 'tiers' | 'settings' | 'zone'>,
  change: Partial<StoredBackup> = {},
): StoredBackup {
  const [schedule] = settings?.schedule ?? [];
  const names = schedule?.tiers ?? [schedule?.tier as string];
  const existing = present.map((one) => ({ tier: one.tier, at: one.scheduledAt ?? one.snapshotAt, proof: one.proof }));
  const due = dueTier(names, { ...tiers }, zone, at, existing).tier;
  return stored(at, { tier: due, expires: expiresAt(tiers[due] as Tier, at), ...change });
}

/** A table people can read: what is done with each, and why. */
export function tableOf(input: RetentionInput): string {
  const { decisions, stop } = decide(input);
  const byId = new Map(input.backups.map((backup) => [backup.id, backup]));
  const rows = decisions.map(({ id, action, reasons }) => {
    const one = byId.get(id) as StoredBackup;
    const kind = one.kind === 'full' ? 'full' : `${one.kind} of ${one.base?.slice(0, 13)}`;
    return [
      action,
      one.snapshotAt.toISOString().slice(0, 16).replace('T', ' '),
      one.tier,
      kind,
      one.proof,
      reasons.join('; '),
    ];
  });
  const header = ['action', 'snapshot', 'tier', 'kind', 'proof', 'why'];
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  const lines = [header, ...rows].map((row) =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
  const counted = (action: string): number => decisions.filter((one) => one.action === action).length;
  return [
    ...lines,
    '',
    `${counted('keep')} kept, ${counted('hold')} held, ${counted('remove')} removed${stop ? `; stopped: ${stop.reason}` : ''}`,
    '',
  ].join('\n');
}
