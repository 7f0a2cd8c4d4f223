import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { loadPlan } from '#core/plan-load';
import { placesOf } from '#jobs/catalog';
import { type Contents, diskNights, type NightsDone } from '#test/examples/disk-nights';
import { golden, goldenText, type Kept } from '#test/examples/golden';
import { memoryYear, type Night } from '#test/examples/memory-year';
import { outage, type Told } from '#test/examples/outage';
import { textOf } from '#test/examples/plans';
import { type SimulatedWorld, simulatedWorld } from '#test/examples/simulated-world';
import { DAY, type Year, type YearRun, yearOf } from '#test/examples/year';

const YEAR: Year = {
  from: new Date('2027-01-01T00:00:00Z'),
  until: new Date('2028-01-01T00:00:00Z'),
  proofAt: () => 'proven',
};
/** For forty days nothing is proven: the program that would load it is gone. */
const BREAK = { from: new Date('2027-06-01T00:00:00Z'), until: new Date('2027-07-11T00:00:00Z') };

/** Real jobs on disk beside the first of each source. */
const SAMPLES = 12;

/**
 * A year of one example by its own schedules, tiers and retention, and the same year with proofs broken for forty days.
 *
 * In memory: every run of the year, and `core/retention` at every midnight for every source and vault. On disk: the last
 * nights of that year, and the first two days of the break, by the real `retain` and `watch` on real vaults. After each
 * midnight the vaults hold what the decision in memory left. There the first run of each source, one run each night of the last twelve, and
 * the first run of the break are real jobs (capture, store, restore, compare); the others store the bytes of these again,
 * with manifests and proofs of their own. What is not real: see `simulated-world.ts`.
 * @param nightsOnDisk how many of the year's last; a dense schedule writes thousands of backups in each
 */
export async function yearTests(name: string, nightsOnDisk: number): Promise<void> {
  const { plan } = loadPlan(textOf(name), `${name}.yaml`);
  const sources = Object.keys(plan.sources);
  const runs = new Map(sources.map((source) => [source, yearOf(plan, source, YEAR)]));
  const nights = sources.flatMap((source) => [...memoryYear(plan, source, YEAR, runs.get(source) ?? [])]);

  const inOrder = [...runs.values()].flat().sort((a, b) => a.at.getTime() - b.at.getTime());
  const at = (moment: Date): readonly Night[] => nights.filter((night) => night.at.getTime() === moment.getTime());
  const contents = (moment: Date): Contents =>
    new Map(at(moment).map(({ source, vault, after }) => [`${source} ${vault}`, after]));

  async function inWorld<T>(start: Date, act: (world: SimulatedWorld) => Promise<T>): Promise<T> {
    const world = await simulatedWorld(name, textOf(name), start);
    try {
      return await act(world);
    } finally {
      await world.close();
    }
  }

  const onDisk = await outcome(() =>
    inWorld(YEAR.from, (world): Promise<NightsDone> => {
      const from = new Date(YEAR.until.getTime() - (nightsOnDisk - 1) * DAY);
      const sampled = sampledOf(runs.get(sources[0] as string) ?? []);
      const isReal = (run: YearRun): boolean => sampled.has(run);
      return diskNights(
        { runs: inOrder, from, before: contents(from), until: YEAR.until, after: contents, isReal },
        world,
      );
    }),
  );
  const broken = await outcome(() =>
    inWorld(new Date(BREAK.from.getTime() - 1.5 * DAY), async (world) => {
      const told = await outage(inOrder, BREAK.from, world);
      for (const [source, { schedule }] of Object.entries(plan.sources))
        for (const vault of schedule[0]?.to ?? []) assert.ok((await placesOf(world.vault(vault), source)).length > 0);
      return told;
    }),
  );

  describe(`a year of ${name}`, () => {
    test('what is kept after it is what examples/golden says', () => {
      const kept = at(YEAR.until).flatMap(({ source, vault, after }) =>
        after.map(({ tier, snapshotAt }): Kept => ({ source, vault, tier, at: snapshotAt })),
      );
      const text = goldenText(name, takenIn([...runs.values()].flat()), kept);
      assert.equal(text, golden(name, text));
    });

    test(`on disk, by real jobs, each of its last ${nightsOnDisk} nights leaves the same`, () => {
      const done = onDisk();
      assert.ok(done.real >= Math.min(nightsOnDisk - 1, SAMPLES) && done.removed >= nightsOnDisk, JSON.stringify(done));
    });

    test('I5: proofs broken for 40 days: nothing goes while its source is stale, and 100 days later nothing is missing', () => {
      const later = new Date(BREAK.until.getTime() + 100 * DAY);
      const broken: Year = {
        from: BREAK.from,
        until: later,
        proofAt: (time) => (time < BREAK.until ? 'inconclusive' : 'proven'),
      };
      for (const source of sources) {
        const begin = at(BREAK.from).filter((night) => night.source === source);
        const isOnChange = plan.sources[source]?.files?.onChange === true;
        let stale = 0;
        for (const night of memoryYear(plan, source, broken, runs.get(source) ?? [], begin)) {
          const { before: had, after: left, retention } = night;
          const newest = had.findLast(({ proof }) => proof === 'proven');
          assert.ok(newest && left.includes(newest), `the newest proven one of ${source} is left`);
          if (retention.stop) {
            assert.equal(retention.stop.why, 'stale');
            assert.deepEqual(left, had);
            stale += 1;
          }
          if (night.at.getTime() === later.getTime())
            assert.deepEqual(idsOf(left), idsOf(contents(later).get(`${source} ${night.vault}`) ?? []));
        }
        // Found unchanged it is as good as new until the first change that cannot be proven.
        assert.ok(stale >= (isOnChange ? 1 : 37), `${source} was stale for ${stale} nights`);
      }
    });

    test('I4, I10: proofs break: it is told within five minutes, nothing goes, and its end is told once', () => {
      const told: readonly Told[] = broken();
      // What is stored on change may not change in two days.
      const unheard = sources.filter((source) => !told.some((one) => one.source === source));
      assert.deepEqual(
        unheard.filter((source) => plan.sources[source]?.files?.onChange !== true),
        [],
      );
      assert.deepEqual(
        told.filter(({ after }) => after > 5),
        [],
      );
    });
  });
}

/**
 * Does it now, and gives or throws what came of it whenever that is asked. Before the first `describe`: from then on
 * node:test follows every promise, which is a fifth of such a year.
 */
async function outcome<T>(work: () => Promise<T>): Promise<() => T> {
  const [settled] = await Promise.allSettled([work()]);
  return () => {
    if (settled.status === 'rejected') throw settled.reason;
    return settled.value;
  };
}

/** The first run of each of the last dozen days. */
function sampledOf(runs: readonly YearRun[]): ReadonlySet<YearRun> {
  const days = new Map<string, YearRun>();
  for (const run of runs) {
    const day = run.at.toISOString().slice(0, 10);
    if (!days.has(day)) days.set(day, run);
  }
  return new Set([...days.values()].slice(-SAMPLES));
}

function takenIn(runs: readonly YearRun[]): ReadonlyMap<string, number> {
  const taken = new Map<string, number>();
  for (const { source, tier, vaults } of runs)
    for (const vault of vaults) {
      const key = `${source} ${vault} ${tier}`;
      taken.set(key, (taken.get(key) ?? 0) + 1);
    }
  return taken;
}

function idsOf(backups: readonly { readonly id: string }[]): string[] {
  return backups.map(({ id }) => id).sort();
}
