import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { placesOf } from '#jobs/catalog';
import { hold, release } from '#jobs/holds';
import { retain } from '#jobs/retain';
import type { Retained } from '#jobs/retain-result';
import { historyIn, keepHistory } from '#jobs/source-history';
import type { LifecycleBucket, Version, Versions } from '#test/cloud/lifecycle-bucket';
import { GATEWAY_DAY_MILLISECONDS, type Scenario, THIEF, VAULT } from '#test/cloud/lifecycle-scenario';
import type { Night } from '#test/examples/memory-year';
import type { SimulatedWorld } from '#test/examples/simulated-world';
import { realRun, type Sample, sampleOf, storeLike } from '#test/examples/stored-year';
import type { YearRun } from '#test/examples/year';

/** The rule that every vault has: how long what was deleted can be had back. */
const UNDELETE_DAYS = 30;
/** The gateway counts from the whole second before: with a day of one second, up to a day too early. */
const ROUNDING_DAYS = 1;
export interface Walked {
  readonly nights: number;
  readonly stored: number;
  readonly givenUp: number;
  /** Midnights at which at least one source was stopped although something was over. */
  readonly stopped: number;
  readonly rounds: number;
  /** Objects in an archive class at the end. */
  readonly moved: number;
  /** Rounds after which something given up was read again as a noncurrent version. */
  readonly readAgain: number;
  /** Objects of which nothing is left, not even a marker. */
  readonly ended: number;
}

/** An object under `backups/`, and when it was seen; times are of `performance.now()`. */
interface Known {
  readonly etag: string;
  /** Before it was put, and after it was first seen. */
  readonly born: readonly [Date: number, seen: number];
  /** When the last look began that found it. */
  lastSeen: number;
  /** When the first look ended that did not. */
  missing: number | null;
  /** The round after which it came back. */
  cameBack: number | null;
}

interface Looked {
  readonly versions: Versions;
  readonly began: number;
  readonly ended: number;
}

type Fate = 'there' | 'gone' | 'either';

/**
 * A year in a bucket that deletes by itself. Each day the runs of the schedules store what they would, and the real retain
 * job comes at midnight; every few nights the gateway goes through the bucket's rules. At every midnight what is kept is
 * there; after every round what is left is exactly what `core/retention` says.
 *
 * The gateway's time is the machine's, and its day a second: it knows nothing of the year. Before a round the walk waits
 * until what was marked is old enough by that time too; it may be older.
 */
export class LifecycleWalk {
  readonly #scenario: Scenario;
  readonly #world: SimulatedWorld;
  readonly #bucket: LifecycleBucket;
  readonly #round: () => Promise<void>;
  readonly #samples = new Map<string, Sample>();
  /** A real run's id depends on its lease's number, which no simulation knows. */
  readonly #real = new Map<string, string>();
  readonly #known = new Map<string, Known>();
  /** Folders that retention has given up. */
  readonly #marked = new Set<string>();
  /** Folders of what `core/retention` kept at the last midnight. */
  #kept = new Set<string>();
  #dayBegan = 0;
  #halfBegan: number | null = null;
  #stored = 0;
  #stopped = 0;
  /** When each round began. */
  readonly #rounds: number[] = [];
  #readAgain = 0;
  #cameBack = 0;

  /** @param round makes the gateway go through the bucket's rules once */
  constructor(scenario: Scenario, world: SimulatedWorld, bucket: LifecycleBucket, round: () => Promise<void>) {
    this.#scenario = scenario;
    this.#world = world;
    this.#bucket = bucket;
    this.#round = round;
  }

  async walk(): Promise<Walked> {
    const { midnights, runs, half, roundNights } = this.#scenario;
    let next = 0;
    for (const [night, at] of midnights.entries()) {
      this.#dayBegan = performance.now();
      for (let run = runs[next]; run && run.at < at; run = runs[++next]) await this.#store(run);
      if (night === half.night) {
        this.#halfBegan = performance.now();
        await this.#bucket.beginUpload(half.key);
      }
      await this.#changeHolds(at);
      await this.#midnight(at, night);
      if ((night + 1) % roundNights === 0 || night === midnights.length - 1) await this.#comeRound(`of night ${night}`);
    }
    await this.#end();
    const versions = await this.#bucket.versions('backups/');
    const ended = [...this.#known.keys()].filter((key) => !isLeft(key, versions));
    return {
      nights: midnights.length,
      stored: this.#stored,
      givenUp: this.#marked.size,
      stopped: this.#stopped,
      rounds: this.#rounds.length,
      moved: [...versions.current.values()].filter(({ storageClass }) => storageClass !== 'STANDARD').length,
      readAgain: this.#readAgain,
      ended: ended.length,
    };
  }

  /** How often something that was gone was listed once more. */
  get cameBack(): number {
    return this.#cameBack;
  }

  async #store(run: YearRun): Promise<void> {
    const sample = this.#samples.get(run.source);
    this.#stored += 1;
    if (sample) return storeLike(sample, run, this.#stored, this.#world, true);
    this.#world.change(run.source);
    const made = await realRun(run, this.#world);
    assert.deepEqual([made.status, made.tier, made.proof], ['ok', run.tier, run.proof], made.error?.message);
    this.#real.set(run.id, made.id as string);
    this.#samples.set(run.source, await sampleOf(made, this.#world));
  }

  async #changeHolds(at: Date): Promise<void> {
    const { environment, clock } = this.#world;
    clock.set(at);
    for (const { run, from, until } of this.#scenario.holds) {
      if (from.getTime() === at.getTime()) await hold(run.source, this.#idOf(run.id), 'an auditor asks', environment);
      if (until?.getTime() === at.getTime()) await release(run.source, this.#idOf(run.id), null, environment);
    }
  }

  async #midnight(at: Date, night: number): Promise<void> {
    const { environment } = this.#world;
    const vault = this.#world.vault(VAULT);
    // As every real run does: so that who looks next need not read the ledger from its start.
    for (const source of Object.keys(this.#world.plan.sources))
      if (this.#samples.has(source)) await keepHistory(vault, source, await historyIn(vault, source));
    const retained = await retain({ sources: [], vault: null, dryRun: false, at: null }, environment);
    assert.deepEqual(retained.warnings, [], at.toISOString());
    const decided = this.#scenario.nightsAt(at);
    this.#kept = new Set();
    let stopped = false;
    for (const one of decided) {
      this.#isDecidedAlike(one, retained);
      stopped ||= one.retention.stop !== null && one.retention.heldBack > 0;
      for (const backup of one.after) this.#kept.add(this.#folderOf({ ...backup, source: one.source }));
      const newest = one.before.findLast(({ proof }) => proof === 'proven');
      assert.ok(newest && one.after.includes(newest), `I5: the newest proven one of ${one.source} is kept`);
    }
    if (stopped) this.#stopped += 1;
    if (night === THIEF.night) await this.#steal();
    const looked = await this.#look();
    this.#keepsWhatItMust(looked, at.toISOString());
  }

  /** The real job and the decision in memory give up the same. */
  #isDecidedAlike({ source, after, retention, at }: Night, { decisions, stopped }: Retained): void {
    const left = decisions.filter((one) => one.source === source && one.action !== 'remove');
    assert.deepEqual(
      left.map(({ id }) => id).sort(),
      after.map(({ id }) => this.#idOf(id)).sort(),
      `${source} at ${at.toISOString()}`,
    );
    const why = retention.stop && retention.heldBack > 0 ? [retention.stop.why] : [];
    assert.deepEqual(
      stopped.filter((one) => one.source === source).map(({ code }) => code),
      why,
      `${source} at ${at.toISOString()}: ${stopped.map(({ reason }) => reason)}`,
    );
    for (const one of decisions)
      if (one.source === source && one.action === 'remove')
        this.#marked.add(this.#folderOf({ source, tier: one.tier, id: one.id }));
  }

  /** Somebody has the retain job's rights, and marks what is young. */
  async #steal(): Promise<void> {
    const vault = this.#world.vault(VAULT);
    const places = await placesOf(vault, THIEF.source);
    assert.deepEqual(places.map(({ tier }) => tier).sort(), ['weekly', 'yearly']);
    const keys = await Array.fromAsync(vault.list(`backups/${THIEF.source}/`), ({ key }) => key);
    await vault.expiryMarks?.mark(keys);
  }

  async #look(): Promise<Looked> {
    const began = performance.now();
    const versions = await this.#bucket.versions('backups/');
    const ended = performance.now();
    for (const { key, etag } of versions.current.values()) {
      const known = this.#known.get(key);
      if (!known)
        this.#known.set(key, { etag, born: [this.#dayBegan, ended], lastSeen: began, missing: null, cameBack: null });
      else {
        assert.equal(etag, known.etag, `I3: ${key} was overwritten`);
        known.lastSeen = began;
        if (known.missing !== null) this.#comesBack(key, known);
      }
    }
    for (const [key, known] of this.#known) if (!versions.current.has(key)) known.missing ??= ended;
    return { versions, began, ended };
  }

  /** What retention gave up, where the listing has an edge; anything else is never back. */
  #comesBack(key: string, known: Known): void {
    const folder = folderOfKey(key);
    assert.ok(this.#scenario.edgeRounds > 0, `${key} is back`);
    assert.ok(this.#marked.has(folder) || folder.startsWith(`backups/${THIEF.source}/`), `${key} is back`);
    known.missing = null;
    known.cameBack = this.#rounds.length;
    this.#cameBack += 1;
  }

  /** What nobody gave up is there, whole and as it was put; what was deleted lately can be had back. */
  #keepsWhatItMust({ versions, began, ended }: Looked, when: string): void {
    for (const [key, known] of this.#known) {
      if (this.#fateOf(key, known, began, ended) === 'there')
        assert.ok(versions.current.has(key), `${when}: ${key} is gone, and nobody gave it up`);
      else if (!versions.current.has(key) && days(ended - known.lastSeen) < UNDELETE_DAYS - ROUNDING_DAYS)
        assert.deepEqual(
          versions.noncurrent.get(key)?.map(({ etag }) => etag),
          [known.etag],
          `${when}: ${key} cannot be had back`,
        );
    }
    const whole = new Set([...this.#known.keys()].filter((key) => key.endsWith('/manifest.json')).map(folderOfKey));
    for (const folder of this.#kept) assert.ok(whole.has(folder), `${when}: ${folder} was never whole`);
  }

  #fateOf(key: string, { born }: Known, began: number, ended: number): Fate {
    const folder = folderOfKey(key);
    if (this.#kept.has(folder)) return 'there';
    if (!folder.startsWith(`backups/${THIEF.source}/`)) return 'gone';
    const keep = this.#scenario.daysOf(tierOf(folder));
    if (keep === null || days(ended - born[0]) < keep - ROUNDING_DAYS) return 'there';
    return days(began - born[1]) > keep ? 'gone' : 'either';
  }

  async #comeRound(which: string): Promise<void> {
    await sleep(Math.max(0, this.#ripe() - performance.now()));
    const round = performance.now();
    await this.#round();
    this.#rounds.push(round);
    const looked = await this.#look();
    const when = `after the round ${which}`;
    this.#keepsWhatItMust(looked, when);
    assert.deepEqual([...this.#undone(looked, round), ...(await this.#undoneUploads(round))], [], when);
    await this.#readsAgain(looked.versions);
  }

  /** When all that is marked has, by the machine's clock, the age that its rule wants. */
  #ripe(): number {
    const ripe = [...this.#known].map(([key, { born, missing }]) => {
      const folder = folderOfKey(key);
      if (missing !== null || !this.#marked.has(folder)) return 0;
      return born[1] + (this.#scenario.daysOf(tierOf(folder)) ?? 0) * GATEWAY_DAY_MILLISECONDS;
    });
    return Math.max(0, ...ripe);
  }

  /** What a round should have done that began at this time. */
  #undone({ versions, ended }: Looked, round: number): string[] {
    const undone: string[] = [];
    const { edgeRounds } = this.#scenario;
    // A marker stands alone only after the round that took the version.
    const [last, before] = [-1, -2].map((index) => this.#rounds.at(index - edgeRounds) ?? 0) as [number, number];
    for (const [key, known] of this.#known) {
      const version = versions.current.get(key);
      const atEdge = known.cameBack !== null && this.#rounds.length - known.cameBack <= edgeRounds;
      const isOver = !atEdge && this.#fateOf(key, known, round, ended) === 'gone';
      if (version && isOver) undone.push(`${key} is still listed`);
      if (version) undone.push(...this.#wrongClass(version, known, round, ended));
      if (known.missing === null) continue;
      if (days(last - known.missing) > UNDELETE_DAYS && versions.noncurrent.has(key))
        undone.push(`${key} can still be had back`);
      if (days(before - known.missing) > UNDELETE_DAYS && versions.deleted.has(key))
        undone.push(`${key} has left its marker`);
    }
    return undone;
  }

  #wrongClass({ key, storageClass }: Version, { born }: Known, round: number, ended: number): string[] {
    const cold = this.#scenario.coldOf(tierOf(key));
    const age = days(ended - born[0]);
    if (cold === null || age < cold.days - ROUNDING_DAYS)
      return storageClass === 'STANDARD' ? [] : [`${key} of ${age} days was moved to ${storageClass}`];
    // The gateway moves nothing whose tags were changed.
    const stays = folderOfKey(key).startsWith(`backups/${THIEF.source}/`);
    return !stays && days(round - born[1]) > cold.days && storageClass !== cold.storageClass
      ? [`${key} of ${age} days is ${storageClass}, not ${cold.storageClass}`]
      : [];
  }

  async #undoneUploads(round: number): Promise<string[]> {
    const { half } = this.#scenario;
    if (this.#halfBegan === null) return [];
    const [began, uploads] = [this.#halfBegan, await this.#bucket.uploads()];
    if (days(performance.now() - began) < half.days - ROUNDING_DAYS) assert.deepEqual(uploads, [half.key]);
    // A day more: when it was begun is known only from before.
    const over = days(round - began) > half.days + 1;
    return over ? uploads.map((key) => `the upload of ${key} was not ended`) : [];
  }

  /** One of those that can be had back is read. */
  async #readsAgain({ current, noncurrent }: Versions): Promise<void> {
    const key = [...noncurrent.keys()].findLast((one) => one.endsWith('/manifest.json') && !current.has(one));
    const [version] = noncurrent.get(key ?? '') ?? [];
    if (!key || !version) return;
    const { id } = JSON.parse(await this.#bucket.read(version)) as { id: string };
    assert.equal(id, key.split('/')[3]);
    this.#readAgain += 1;
  }

  /** So much later that the first that was given up is gone for good, and the past of beats and pages is too. */
  async #end(): Promise<void> {
    const first = Math.min(...[...this.#known.values()].flatMap(({ missing }) => missing ?? []));
    const later = Math.max(
      performance.now() + 2 * GATEWAY_DAY_MILLISECONDS,
      first + (UNDELETE_DAYS + 1) * GATEWAY_DAY_MILLISECONDS,
    );
    await sleep(later - performance.now());
    // The first ends versions, the second the markers that they leave.
    await this.#comeRound('first of the end');
    await this.#comeRound('last');
    assert.deepEqual([...(await this.#bucket.versions('leases/')).noncurrent.keys()], []);
  }

  #idOf(id: string): string {
    return this.#real.get(id) ?? id;
  }

  #folderOf({ source, tier, id }: { readonly source: string; readonly tier: string; readonly id: string }): string {
    return `backups/${source}/${tier}/${this.#idOf(id)}`;
  }
}

function isLeft(key: string, { current, noncurrent, deleted }: Versions): boolean {
  return current.has(key) || noncurrent.has(key) || deleted.has(key);
}

function folderOfKey(key: string): string {
  return key.slice(0, key.lastIndexOf('/'));
}

/** `backups/<source>/<tier>/…` */
function tierOf(key: string): string {
  return key.split('/')[2] as string;
}

function days(milliseconds: number): number {
  return milliseconds / GATEWAY_DAY_MILLISECONDS;
}
