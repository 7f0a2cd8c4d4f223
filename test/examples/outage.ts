import assert from 'node:assert/strict';
import { objectivesOf } from '#core/objectives';
import type { Source } from '#core/plan';
import { stateOf } from '#core/proof';
import { nextRun } from '#core/schedule';
import { findBackup, outcomesOf, placesOf } from '#jobs/catalog';
import { OpenedBackup } from '#jobs/open-backup';
import { proveBackup } from '#jobs/prove';
import { retain } from '#jobs/retain';
import { type Watched, watch } from '#jobs/watch';
import type { SimulatedWorld } from '#test/examples/simulated-world';
import { noteUnchanged, realRun, type Sample, sampleOf, storeLike } from '#test/examples/stored-year';
import { DAY, type YearRun } from '#test/examples/year';

const MINUTE = 60_000;
const WATCH = 5 * MINUTE;
/** A source's RPO may be over two days and an hour after its last proven backup. */
const HOURS = 54;

export interface Told {
  readonly source: string;
  readonly kind: string;
  /** What was to be told, and when it was: minutes between the two. */
  readonly after: number;
}

/**
 * The first two days of proofs that break, and their mending, on disk. The day before the break and every run since are
 * in the vaults and their ledgers, the first of each source before and after the break by the real job; `watch` and
 * `retain` are the real ones. `watch` looks on a grid of five minutes: at the point before something is wrong and the
 * point after, not at all of them.
 * @param runs of all sources, in order
 */
export async function outage(runs: readonly YearRun[], from: Date, world: SimulatedWorld): Promise<readonly Told[]> {
  const { environment, plan } = world;
  const begin = new Date(from.getTime() - DAY);
  const end = new Date(from.getTime() + HOURS * 60 * MINUTE);
  const sources = Object.entries(plan.sources);
  const inTime = [...firstRuns(runs, begin, from, world), ...runs.filter(({ at }) => at >= begin && at < end)];
  const firstBroken = new Map<string, YearRun>();
  const lastProven = new Map<string, YearRun>();
  for (const run of inTime)
    if (run.at < from) lastProven.set(run.source, run);
    else if (!firstBroken.has(run.source)) firstBroken.set(run.source, run);

  /** When something becomes wrong: it is to be told at the next look. */
  const expected = sources.flatMap(([source, settings]) => {
    const broken = firstBroken.get(source);
    const proven = lastProven.get(source);
    if (!broken || !proven) return [];
    // A run that finds nothing changed is as good as a new one, until a change is stored that cannot be proven.
    const equal = settings.files?.onChange ? lastTime(settings, broken.at, world) : proven.at;
    const over = new Date(equal.getTime() + objectivesOf(settings).rpoSeconds * 1000);
    return [{ source, kind: 'proof', at: broken.at }, ...(over < end ? [{ source, kind: 'age', at: over }] : [])];
  });
  const looks = expected.flatMap(({ at }) => {
    const before = Math.floor(at.getTime() / WATCH) * WATCH;
    return [before, before + WATCH];
  });

  const samples = new Map<string, Sample>();
  const watched: Watched[] = [];
  const steps = [
    ...inTime.map((run) => ({ at: run.at, order: 0, act: () => make(run) })),
    ...sources.flatMap(([source, settings]) =>
      settings.files?.onChange
        ? unchangedTimes(source, settings).map((at) => ({ at, order: 1, act: () => unchanged(source, at) }))
        : [],
    ),
    { at: new Date(from.getTime() - MINUTE), order: 2, act: look },
    ...[...new Set(looks)].map((time) => ({ at: new Date(time), order: 3, act: look })),
    ...[1, 2].map((day) => ({ at: new Date(from.getTime() + day * DAY), order: 4, act: keepAll })),
  ].sort((a, b) => a.at.getTime() - b.at.getTime() || a.order - b.order);
  for (const { at, act } of steps) {
    world.breakProofs(at >= from);
    world.clock.set(new Date(Math.max(at.getTime(), world.clock.now().getTime())));
    await act();
  }
  assert.deepEqual(watched[0]?.changes, [], 'nobody is told anything while all is well');

  const told = expected.map(({ source, kind, at }): Told => {
    const [first] = world.told.filter((one) => one.source === source && one.kind === kind && one.what === 'opened');
    assert.ok(first, `${source}: nobody was told of ${kind}`);
    return { source, kind, after: (first.at.getTime() - at.getTime()) / MINUTE };
  });
  await mend();
  return told;

  async function make(run: YearRun): Promise<void> {
    const isFirst = !samples.has(run.source) || run === firstBroken.get(run.source);
    const broken = run.at >= from;
    if (!isFirst) {
      const sample = samples.get(run.source) as Sample;
      return storeLike(sample, { ...run, proof: broken ? 'inconclusive' : 'proven' }, 1000, world, true);
    }
    world.change(run.source);
    const made = await realRun(run, world);
    assert.deepEqual([made.status, made.proof], ['ok', broken ? 'inconclusive' : 'proven'], made.error?.message);
    samples.set(run.source, await sampleOf(made, world));
  }

  function unchangedTimes(source: string, { schedule }: Source): Date[] {
    const stored = new Set(inTime.filter((run) => run.source === source).map(({ at }) => at.getTime()));
    const times: Date[] = [];
    const [timing] = schedule;
    if (!timing) return times;
    // Before its first run of these days there is nothing that it could be equal to.
    const first = inTime.find((run) => run.source === source)?.at ?? end;
    for (let at = nextRun(timing, plan.timezone, first); at < end; at = nextRun(timing, plan.timezone, at))
      if (!stored.has(at.getTime())) times.push(at);
    return times;
  }

  async function unchanged(source: string, at: Date): Promise<void> {
    await noteUnchanged(source, at, world);
  }

  async function look(): Promise<void> {
    watched.push(await watch(environment));
  }

  async function keepAll(): Promise<void> {
    const had = await contents();
    await retain({ sources: [], vault: null, dryRun: false, at: null }, environment);
    assert.deepEqual(await contents(), had, 'nothing goes while nothing is proven');
  }

  async function contents(): Promise<string[]> {
    const all: string[] = [];
    for (const [source, { schedule }] of sources)
      for (const vault of new Set(schedule.flatMap(({ to }) => to)))
        for (const { id } of await placesOf(world.vault(vault), source)) all.push(`${source} ${vault} ${id}`);
    return all;
  }

  /** What was missing is back, and somebody proves the newest backups: each alert is told to be over, once. */
  async function mend(): Promise<void> {
    world.breakProofs(false);
    world.clock.set(end);
    for (const [source, { schedule }] of sources) {
      const home = world.vault(schedule[0]?.to[0] as string);
      const newest = (await placesOf(home, source)).at(-1);
      if (!newest) continue;
      const states = (await outcomesOf(home, source)).get(newest.id) ?? [];
      if (stateOf(states.map(({ outcome }) => outcome)) === 'proven') continue;
      const manifest = await findBackup(home, source, newest.id);
      const proof = await proveBackup(
        new OpenedBackup(manifest, home, environment),
        environment.source(source),
        [home],
        environment,
      );
      assert.equal(proof.result, 'proven', `${source} ${newest.id}: ${proof.reason}`);
    }
    world.clock.set(new Date(end.getTime() + WATCH));
    const { open } = await watch(environment);
    assert.deepEqual(
      open.map(({ source, key, title }) => `${source} ${key}: ${title}`),
      [],
    );
    for (const { source, kind } of expected)
      assert.equal(
        world.told.filter((one) => one.source === source && one.kind === kind && one.what === 'closed').length,
        1,
        `${source}: ${kind} is over`,
      );
  }
}

/** Of sources that stored nothing on the day before the break: a first run, as every source has one in a new vault. */
function firstRuns(runs: readonly YearRun[], begin: Date, from: Date, { plan }: SimulatedWorld): YearRun[] {
  return Object.entries(plan.sources).flatMap(([source, { schedule }]) => {
    const own = runs.filter((run) => run.source === source && run.at < from);
    const [last, timing] = [own.at(-1), schedule[0]];
    return last && timing && last.at < begin ? [{ ...last, at: nextRun(timing, plan.timezone, begin) }] : [];
  });
}

function lastTime({ schedule }: Source, before: Date, { plan }: SimulatedWorld): Date {
  const [timing] = schedule;
  if (!timing) return before;
  let last = new Date(before.getTime() - DAY);
  for (let at = last; at < before; at = nextRun(timing, plan.timezone, at)) last = at;
  return last;
}
