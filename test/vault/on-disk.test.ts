import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Busy, Disproven } from '#core/errors';
import { type LedgerEntry, verifyChain } from '#core/ledger';
import { isGone, thisHolder } from '#host/holder';
import { realClock } from '#test/contracts/run-context';
import {
  type Bench,
  FOLDER,
  fromMemory,
  openBench,
  readWhole,
  sampleBytes,
  sealInto,
  unsealFrom,
} from '#test/vault/sealed';
import { DiskVault } from '#vault/disk-vault';
import { createVaultIdentity } from '#vault/identity';
import { acquireLease } from '#vault/lease';
import { readLedger } from '#vault/ledger-store';
import { seal } from '#vault/seal';
import { verifyStored } from '#vault/unseal';

const WORKER = fileURLToPath(import.meta.resolve('#test/vault/vault-worker'));

describe('seal, lease and ledger in a directory', () => {
  let bench: Bench;
  let root: string;
  let vault: DiskVault;
  before(async () => {
    bench = await openBench();
    root = await mkdtemp(join(tmpdir(), 'holdfast-on-disk-'));
    vault = new DiskVault({ name: 'ssd', root, processes: bench.processes, volumeBytes: 1_000_000 });
    await createVaultIdentity(vault, { plan: 'test', id: 'x', created: new Date() });
  });
  after(async () => {
    await bench.close();
    await rm(root, { recursive: true, force: true });
  });

  test('what is sealed into it comes out of it, and one byte changed on the disk is caught', async () => {
    const plain = sampleBytes(5_000_000);
    const artifact = await sealInto(vault, fromMemory(plain), bench.sealing, bench);
    assert.equal(artifact.volumes.length, 3);
    assert.ok((await readWhole(await unsealFrom(vault, artifact, bench))).equals(plain));
    await verifyStored(vault, FOLDER, [artifact]);
    const path = join(root, FOLDER, artifact.volumes[1]?.name as string);
    const bytes = await readFile(path);
    bytes[777_777] = (bytes[777_777] as number) ^ 1;
    await rm(path);
    await writeFile(path, bytes);
    await assert.rejects(unsealFrom(vault, artifact, bench).then(readWhole), Disproven);
    await assert.rejects(verifyStored(vault, FOLDER, [artifact]), /database\.dump\.zst\.age\.002 in ssd/);
    await truncate(path, 10);
    await assert.rejects(verifyStored(vault, FOLDER, [artifact]), /10 bytes, the manifest has 1000000/);
  });

  test('I2: a producer that dies leaves nothing under the artifact’s name', async () => {
    const source = bench.processes.pipe([{ program: 'sh', args: ['-c', 'head -c 2000000 /dev/urandom; exit 1'] }]);
    const bytes = {
      bytes: source.stdout as NonNullable<typeof source.stdout>,
      whole: source.done.then(() => undefined),
    };
    const sealed = seal(bytes, bench.sealing, bench.processes, bench.signal);
    const folder = 'backups/events/daily/20261121T030000Z-0000';
    await assert.rejects(vault.store(folder, 'database.dump.zst.age', sealed.bytes, { signal: bench.signal }));
    await assert.rejects(sealed.done, /sh failed with exit code 1/);
    const found: string[] = [];
    for await (const { key } of vault.list(`${folder}/`)) found.push(key);
    assert.deepEqual(found, []);
  });

  test('I12: a lease is busy for another process, and free at once after kill -9', { timeout: 30_000 }, async () => {
    const child = spawn(process.execPath, [WORKER, 'hold', root], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [number] = (await once(child.stdout, 'data')) as [Buffer];
    assert.equal(String(number).trim(), '1');
    const request = { source: 'events', job: 'backup', holder: thisHolder() };
    await assert.rejects(acquireLease(vault, request, realClock, isGone), (error: Error) => {
      assert.ok(error instanceof Busy);
      assert.match(error.message, new RegExp(`process ${child.pid} on `));
      return true;
    });
    child.kill('SIGKILL');
    await once(child, 'exit');
    const lease = await acquireLease(vault, request, realClock, isGone);
    assert.equal(lease.number, 2);
    await lease.confirm();
    await lease.release();
  });

  test('I15: four processes at the same time write one unbroken chain', { timeout: 60_000 }, async () => {
    const workers = Array.from({ length: 4 }, () =>
      spawn(process.execPath, [WORKER, 'append', root, '5'], { stdio: ['ignore', 'ignore', 'inherit'] }),
    );
    const codes = await Promise.all(workers.map(async (worker) => (await once(worker, 'exit'))[0] as number));
    assert.deepEqual(codes, [0, 0, 0, 0]);
    const entries: LedgerEntry[] = [];
    for await (const entry of readLedger(vault, 'events')) entries.push(entry);
    assert.equal(entries.length, 20);
    assert.deepEqual(verifyChain(entries, { source: 'events' }), []);
    assert.equal((await readdir(join(root, 'ledger/events'))).length, 20);
  });
});
