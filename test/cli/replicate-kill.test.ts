import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { readManifest } from '#core/manifest';
import type { Vault } from '#core/ports';
import { createProcesses } from '#host/processes';
import { verifyLedger } from '#jobs/ledger-verify';
import { filesBelow, good, type SmallPlan, smallPlan } from '#test/cli/small-plan';
import { keysOf, sha256, toBuffer } from '#test/contracts/vault';
import { type S3ForTests, s3ForTests } from '#test/servers/ceph';
import { DiskVault } from '#vault/disk-vault';
import { PACE } from '#vault/s3-client';
import { S3Vault } from '#vault/s3-vault';

const KILLS_ON_DISK = 30;
const KILLS_ON_S3 = 10;
const BACKUPS = 6;

/** A seed that is printed, so that a failure can be run again: HOLDFAST_TEST_SEED=… */
const seed = Number(process.env['HOLDFAST_TEST_SEED'] ?? Date.now() % 100_000);
let state = seed;
function random(): number {
  state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
  return state / 2_147_483_648;
}

interface Target {
  /** Empties the vault that is copied to, and makes it one again. */
  anew(): Promise<void>;
  /** Keys and hashes of all below `backups/`. */
  backups(): Promise<Map<string, string>>;
  read(key: string): Promise<Uint8Array>;
  vault(): Vault;
}

describe(`kill -9 at ${KILLS_ON_DISK + KILLS_ON_S3} random moments of replicate (seed ${seed})`, () => {
  let small: SmallPlan;
  let s3: S3ForTests;
  const tree = 'tree: { files: { paths: [tree] }, schedule: [{ cron: "0 2 * * *", tier: daily, to: [here] }] }';
  before(async () => {
    [small, s3] = await Promise.all([smallPlan({ SPACES_KEY: 'x', SPACES_SECRET: 'y' }), s3ForTests()]);
    small.plan({ sources: [tree] });
    await good(small.place.run('check', '--create'));
    for (let n = 0; n < BACKUPS; n++) {
      // The first one is large; nothing that could be compressed.
      await backUp(n, n === 0 ? 4_000_000 : 300_000);
      if (n === 0) rmSync(small.place.path('tree', '0.bin'));
    }
  });
  after(async () => {
    small?.place.remove();
    await s3?.close();
  });

  async function backUp(n: number, bytes: number): Promise<void> {
    writeFileSync(small.place.path('tree', `${n}.bin`), randomBytes(bytes));
    await good(small.place.run('backup', 'tree'));
  }

  /** Kills until it has been done so often; a run that got to its end is checked, and begins again with nothing. */
  async function killed(times: number, target: Target): Promise<void> {
    const { place } = small;
    const first = performance.now();
    await good(place.run('replicate'));
    let usual = performance.now() - first;
    let [kills, ends, fresh] = [0, 0, true];
    await target.anew();
    while (kills < times) {
      const began = performance.now();
      const child = place.start(['replicate']);
      const ended = new Promise((done) => child.once('close', done));
      const timer = setTimeout(() => child.kill('SIGKILL'), (0.3 + 0.7 * random()) * usual);
      await ended;
      clearTimeout(timer);
      const took = performance.now() - began;
      await onlyWhole(target);
      if (child.signalCode === 'SIGKILL') {
        kills++;
        fresh = false;
      } else {
        assert.equal(child.exitCode, 0);
        ends++;
        // The machine has become less busy: most moments would come after the end.
        if (fresh) usual = Math.min(usual, took);
        fresh = true;
        await finished(target);
        await target.anew();
      }
    }
    const last = await place.run('replicate', '--json');
    assert.equal(last.code, 0, last.stderr);
    await finished(target);
    await good(place.run('ledger', 'verify', '--from', 'there'));
    assert.ok(ends > 0 || times < 20, 'some runs got to their end');
  }

  /** I1: what has a manifest is whole. */
  async function onlyWhole(target: Target): Promise<void> {
    const found = await target.backups();
    for (const key of found.keys()) {
      if (!key.endsWith('/manifest.json')) continue;
      const { artifacts } = readManifest(Buffer.from(await target.read(key)).toString('utf8'), key);
      for (const { name, sha256 } of artifacts.flatMap((one) => one.volumes))
        assert.equal(found.get(join(dirname(key), name)), sha256, `${key} is there, and ${name} is not whole`);
    }
  }

  /** Everything is there, told in the ledger, and no chain is broken. */
  async function finished(target: Target): Promise<void> {
    const here = filesBelow(small.place.path('vault/backups')).map(({ file }) =>
      file.slice(small.place.path('vault').length + 1),
    );
    assert.deepEqual([...(await target.backups()).keys()].sort(), here.sort());
    assert.deepEqual((await verifyLedger(target.vault(), 'tree')).findings, []);
  }

  test('I1, I3: between directories nothing half is ever listed, and the next run finishes the work', async () => {
    const root = small.place.path('other');
    small.plan({
      vaults: '{ here: { disk: ./vault, replica: { vault: there } }, there: { disk: ./other } }',
      sources: [tree],
    });
    const processes = createProcesses(process.env, new AbortController().signal, null);
    const disk = new DiskVault({ name: 'there', root, processes });
    const target: Target = {
      async anew() {
        rmSync(root, { recursive: true, force: true });
        mkdirSync(root);
        small.place.write('other/vault.json', readFileSync(small.place.path('vault/vault.json'), 'utf8'));
      },
      async backups() {
        const keys = globSync('backups/**', { cwd: root, withFileTypes: true })
          .filter((entry) => entry.isFile())
          .map((entry) => join(entry.parentPath, entry.name));
        return new Map(keys.map((file) => [file.slice(root.length + 1), sha256(readFileSync(file))]));
      },
      read: async (key) => readFileSync(join(root, key)),
      vault: () => disk,
    };
    await target.anew();
    await killed(KILLS_ON_DISK, target);
    const incoming = join(root, '.incoming');
    assert.ok(existsSync(incoming), 'what is on its way lies apart');
  });

  test('I1, I3: the same into a bucket, multipart uploads included', async () => {
    const { endpoint, accessKeyId, secretAccessKey } = s3;
    // More than one part of an upload.
    await backUp(BACKUPS, 18_000_000);
    small.place.environment['SPACES_KEY'] = accessKeyId;
    small.place.environment['SPACES_SECRET'] = secretAccessKey;
    let vault: S3Vault;
    const known = new Map<string, string>();
    const target: Target = {
      async anew() {
        known.clear();
        const bucket = await s3.another();
        const there = `there: { s3: ${bucket}, endpoint: "${endpoint}", accessKeyId: "\${SPACES_KEY}", secretAccessKey: "\${SPACES_SECRET}" }`;
        small.plan({ vaults: `{ here: { disk: ./vault, replica: { vault: there } }, ${there} }`, sources: [tree] });
        const settings = { bucket, prefix: '', region: null, endpoint, credentials: s3, sse: null };
        vault = new S3Vault({ name: 'there', settings, pace: PACE });
        await vault.putOnce('vault.json', readFileSync(small.place.path('vault/vault.json')));
      },
      async backups() {
        // Written once: what was read needs no second look.
        const found = new Map<string, string>();
        for (const key of await keysOf(vault, 'backups/')) {
          const hash = known.get(key) ?? sha256(await toBuffer(await vault.open(key)));
          known.set(key, hash);
          found.set(key, hash);
        }
        return found;
      },
      read: (key) => vault.get(key),
      vault: () => vault,
    };
    await target.anew();
    await killed(KILLS_ON_S3, target);
  });
});
