import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { readManifest } from '#core/manifest';
import { type AgedPlace, agedPlace } from '#test/cli/aged-place';
import { good, SCHEDULE } from '#test/cli/small-plan';

const KILLS = 60;
/** Each a full and two differentials, and one that is disproven, all of them over. */
const CHAINS = 8;

/** A seed that is printed, so that a failure can be run again: HOLDFAST_TEST_SEED=… */
const seed = Number(process.env['HOLDFAST_TEST_SEED'] ?? Date.now() % 100_000);
let state = seed;
function random(): number {
  state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
  return state / 2_147_483_648;
}

describe(`kill -9 at ${KILLS} random moments of retain (seed ${seed})`, () => {
  let aged: AgedPlace;
  /** What is not over: these must be there after each kill. */
  const kept: string[] = [];
  /** Counts up, so that no id is made twice. */
  let minute = 0;

  before(async () => {
    aged = await agedPlace([`app: { sqlite: { file: app.db }, ${SCHEDULE} }`]);
    const full = await aged.add(45);
    kept.push(full, await aged.add(20, { kind: 'differential', base: full }), await aged.add(3), await aged.add(0.1));
  });
  after(() => aged.place.remove());

  function folders(): string[] {
    return readdirSync(aged.place.path('vault', 'backups', 'app', 'daily'));
  }

  async function addChains(): Promise<void> {
    for (let chain = 0; chain < CHAINS; chain++) {
      const daysAgo = (): number => 60 - ++minute / 1440;
      const base = await aged.add(daysAgo());
      for (let n = 0; n < 2; n++) await aged.add(daysAgo(), { kind: 'differential', base });
      await aged.add(daysAgo(), { proof: 'disproven' });
    }
  }

  /** Ids with a manifest; each of them must be whole, and have its full. */
  async function listed(): Promise<Set<string>> {
    const keys = new Set<string>();
    for await (const { key } of aged.vault.list('backups/app/')) keys.add(key);
    const ids = new Set<string>();
    const needed: { id: string; base: string }[] = [];
    for (const key of keys) {
      if (!key.endsWith('/manifest.json')) continue;
      const manifest = readManifest(Buffer.from(await aged.vault.get(key)).toString('utf8'), key);
      ids.add(manifest.id);
      if (manifest.base !== null) needed.push({ id: manifest.id, base: manifest.base });
      for (const { name } of manifest.artifacts.flatMap(({ volumes }) => volumes))
        assert.ok(keys.has(key.replace('manifest.json', name)), `${manifest.id} is listed, and half gone`);
    }
    for (const { id, base } of needed) assert.ok(ids.has(base), `${id} is listed without its full ${base}`);
    for (const id of kept) assert.ok(ids.has(id), `${id} is gone`);
    return ids;
  }

  test('I5: no chain is broken, the newest proven stays, nothing half is listed, the next run finishes the work', async () => {
    const { place, vault } = aged;
    const began = performance.now();
    let [kills, midway] = [0, 0];
    while (kills < KILLS) {
      const before = await listed();
      if (before.size < kept.length + CHAINS) await addChains();
      const present = folders().length;
      const child = place.start(['retain']);
      const ended = new Promise((done) => child.once('close', done));
      // A few in the dark, at its beginning; most of them at some point of its work, and a random moment after that.
      const dark = random() < 0.2;
      const point = present - Math.floor(random() * CHAINS);
      const started = performance.now();
      const watching = setInterval(() => {
        if (dark ? performance.now() - started < 500 * random() : folders().length >= point) return;
        clearInterval(watching);
        setTimeout(() => child.kill('SIGKILL'), dark ? 0 : random() * 12);
      }, 2);
      await ended;
      clearInterval(watching);
      const left = await listed();
      if (child.signalCode !== 'SIGKILL') continue;
      kills++;
      if (left.size > kept.length && folders().length < present) midway++;
    }
    assert.ok(midway > KILLS / 4, `only ${midway} of ${KILLS} kills came in the midst of removing`);

    await good(place.run('retain'));
    assert.deepEqual([...(await listed())].toSorted(), kept.toSorted());
    const left = new Set<string>();
    for (const prefix of ['backups/app/daily/', 'proofs/app/'])
      for await (const { key } of vault.list(prefix)) left.add(key.slice(prefix.length).split('/')[0] as string);
    assert.deepEqual([...left].toSorted(), kept.toSorted(), 'no artifact and no proof is left of the others');
    const verified = await place.run('ledger', 'verify', '--json');
    assert.equal(verified.code, 0, verified.stdout);
    if (process.env['SHOW']) console.error({ midway, seconds: (performance.now() - began) / 1000 });
  });
});
