import assert from 'node:assert/strict';
import type { Source } from '#core/plan';
import type { StoredBackup } from '#core/retention-input';
import { previousRun } from '#core/schedule';
import { placesOf } from '#jobs/catalog';
import { retain } from '#jobs/retain';
import { historyIn, keepHistory } from '#jobs/source-history';
import type { SimulatedWorld } from '#test/examples/simulated-world';
import { noteUnchanged, realRun, type Sample, sampleOf, storeLike } from '#test/examples/stored-year';
import { DAY, type YearRun } from '#test/examples/year';

/** What lies in the vaults at one moment: by `source vault`, oldest first. */
export type Contents = ReadonlyMap<string, readonly Pick<StoredBackup, 'id'>[]>;

export interface Nights {
  /** Runs of all sources, in the order of their times. */
  readonly runs: readonly YearRun[];
  /** The first midnight that is simulated on disk, and what was kept at it. */
  readonly from: Date;
  readonly before: Contents;
  readonly until: Date;
  /** What `core/retention` says is left after this midnight. */
  after(midnight: Date): Contents;
  /** Whether a run is made by the real job: all others are like it, and stored by the test. */
  isReal(run: YearRun): boolean;
}

export interface NightsDone {
  readonly stored: number;
  readonly real: number;
  readonly removed: number;
}

/**
 * Nights on real disk vaults: what was kept before them is put there, the runs of each day follow, and at each midnight
 * the real `retain` has to leave what the decision in memory left.
 */
export async function diskNights(nights: Nights, world: SimulatedWorld): Promise<NightsDone> {
  const samples = new Map<string, Sample>();
  const there = new Set([...nights.before.values()].flatMap((backups) => backups.map(({ id }) => id)));
  /** A real run's id depends on its lease's number, which no simulation knows. */
  const real = new Map<string, string>();
  const done = { stored: 0, real: 0, removed: 0 };
  let midnight = nights.from;
  for (const run of nights.runs) {
    const isFirst = !samples.has(run.source);
    if (run.at < nights.from && !there.has(run.id) && !isFirst) continue;
    for (; run.at >= midnight; midnight = new Date(midnight.getTime() + DAY)) done.removed += await night(midnight);
    if (isFirst || (run.at >= nights.from && nights.isReal(run))) {
      world.change(run.source);
      const made = await realRun(run, world);
      assert.deepEqual(
        [made.status, made.tier, made.vaults, made.proof],
        ['ok', run.tier, run.vaults, 'proven'],
        `${run.source} at ${run.at.toISOString()}: ${made.error?.message}`,
      );
      real.set(run.id, made.id as string);
      samples.set(run.source, await sampleOf(made, world));
      done.real += 1;
    } else await storeLike(samples.get(run.source) as Sample, run, done.stored + 2, world);
    done.stored += 1;
  }
  for (; midnight <= nights.until; midnight = new Date(midnight.getTime() + DAY)) done.removed += await night(midnight);
  return done;

  async function night(at: Date): Promise<number> {
    const unchanged = Object.entries(world.plan.sources)
      .filter(([, settings]) => settings.files?.onChange)
      .map(([source, settings]) => ({ source, last: lastRun(settings, at) }));
    const now = world.clock.now();
    for (const { source, last } of unchanged)
      await noteUnchanged(source, new Date(Math.max(last.getTime(), now.getTime())), world);
    world.clock.set(at);
    // As every real run does: so that who looks next need not read the ledger from its start.
    for (const [name, settings] of Object.entries(world.plan.sources))
      for (const vault of new Set(settings.schedule.flatMap(({ to }) => to)))
        await keepHistory(world.vault(vault), name, await historyIn(world.vault(vault), name));
    const retained = await retain({ sources: [], vault: null, dryRun: false, at: null }, world.environment);
    assert.deepEqual(retained.stopped, [], at.toISOString());
    const wanted = nights.after(at);
    for (const [key, backups] of wanted) {
      const [source, vault] = key.split(' ') as [string, string];
      assert.deepEqual(
        (await placesOf(world.vault(vault), source)).map(({ id }) => id),
        backups.map(({ id }) => real.get(id) ?? id).sort(),
        `${source} in ${vault} after ${at.toISOString()}`,
      );
    }
    return retained.decisions.filter(({ done: how }) => how !== null).length;
  }

  function lastRun({ schedule }: Source, at: Date): Date {
    const second = new Date(at.getTime() - 1000);
    return previousRun(schedule[0] as Source['schedule'][number], world.plan.timezone, second) as Date;
  }
}
