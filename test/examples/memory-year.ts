import { engineOf, type Plan, type Source } from '#core/plan';
import { decide, type Retention } from '#core/retention';
import type { StoredBackup } from '#core/retention-input';
import { settingsIn } from '#core/retention-settings';
import { previousRun } from '#core/schedule';
import { expiresAt } from '#core/tiers';
import { midnights, type Year, type YearRun } from '#test/examples/year';

/** What was decided at one midnight about one source in one vault. */
export interface Night {
  readonly at: Date;
  readonly source: string;
  readonly vault: string;
  /** Before anything went, oldest first. */
  readonly before: readonly StoredBackup[];
  readonly after: readonly StoredBackup[];
  /** What stopped it. Not each decision with its reasons: a year of a dense schedule has millions. */
  readonly retention: Pick<Retention, 'stop' | 'heldBack'>;
}

/**
 * A year of a source in memory: every run of its schedules (`all`), and at every midnight the decision of
 * `core/retention` for every vault, carried out by leaving out what it gives up. No disk, no ledger, no clock.
 * @param begin what another year's night left, to go on from
 * @param holdsAt backups that somebody holds at a midnight, and why
 */
export function* memoryYear(
  plan: Plan,
  source: string,
  year: Year,
  all: readonly YearRun[],
  begin: readonly Night[] = [],
  holdsAt: (at: Date) => ReadonlyMap<string, string> = () => new Map(),
): Generator<Night> {
  const settings = plan.sources[source] as Source;
  const vaults = [...new Set(settings.schedule.flatMap(({ to }) => to))];
  const kept = new Map<string, StoredBackup[]>(vaults.map((vault) => [vault, []]));
  for (const { vault, after } of begin) kept.set(vault, [...after]);
  let next = all.findIndex((run) => run.at >= year.from);
  for (const at of midnights(plan, year)) {
    for (let run = all[next]; run && run.at < at; run = all[++next])
      for (const vault of run.vaults) kept.get(vault)?.push(backupOf(run, year, plan));
    for (const vault of vaults) {
      const before = kept.get(vault) as StoredBackup[];
      const { decisions, stop, heldBack } = decide({
        backups: before,
        unreadable: [],
        holds: holdsAt(at),
        acknowledged: [],
        logs: new Map(),
        tiers: plan.tiers,
        settings: settingsIn(plan, settings, vault),
        zone: plan.timezone,
        now: at,
        unchanged: unchangedAt(plan, settings, before, at),
        provenElsewhere: null,
        stop: null,
        assumeFresh: false,
      });
      const gone = new Set(decisions.filter(({ action }) => action === 'remove').map(({ id }) => id));
      const after = before.filter(({ id }) => !gone.has(id));
      kept.set(vault, [...after]);
      yield { at, source, vault, before, after, retention: { stop, heldBack } };
    }
  }
}

function backupOf(run: YearRun, year: Year, plan: Plan): StoredBackup {
  const tier = plan.tiers[run.tier];
  return {
    id: run.id,
    tier: run.tier,
    kind: 'full',
    base: null,
    engine: engineOf(plan.sources[run.source] as Source),
    identity: { source: run.source },
    measures: { bytes: 200_000 },
    point: null,
    proof: year.proofAt(run.at),
    lease: 1,
    snapshotAt: run.at,
    scheduledAt: run.at,
    expires: tier ? expiresAt(tier, run.at) : null,
  };
}

/** A run on change that stored nothing found the source equal to the newest backup. */
function unchangedAt(
  plan: Plan,
  { files, schedule }: Source,
  backups: readonly StoredBackup[],
  at: Date,
): ReadonlyMap<string, Date> {
  const newest = backups.at(-1);
  if (!files?.onChange || !newest) return new Map();
  const last = schedule.flatMap((one) => previousRun(one, plan.timezone, new Date(at.getTime() - 1000)) ?? []);
  return new Map([[newest.id, last.sort((a, b) => a.getTime() - b.getTime()).at(-1) as Date]]);
}
