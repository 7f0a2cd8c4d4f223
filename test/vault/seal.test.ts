import assert from 'node:assert/strict';
import { open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { Cancelled, CaptureIncomplete, CommandFailed, KeysMissing, SourceUnreachable, ToolMissing } from '#core/errors';
import type { ArtifactBytes, Command } from '#core/ports';
import { createProcesses } from '#host/processes';
import { killChild } from '#test/vault/kill-child';
import { MemoryVault } from '#test/vault/memory-vault';
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
import { seal, sealedName } from '#vault/seal';

const CALM = { signal: new AbortController().signal };

describe('seal', () => {
  let bench: Bench;
  before(async () => {
    bench = await openBench();
  });
  after(() => bench.close());

  /** Bytes of a child, as from pg_dump: `whole` is its exit code. */
  function fromChild(command: Command): ArtifactBytes {
    const pipeline = bench.processes.pipe([command]);
    return { bytes: pipeline.stdout as Readable, whole: pipeline.done.then(() => undefined) };
  }

  for (const length of [0, 1, 65_536, 3_000_001])
    test(`gives back what went in, ${length} bytes, and has counted them`, async () => {
      const vault = new MemoryVault({ volume: 400_000 });
      const plain = sampleBytes(length);
      const artifact = await sealInto(vault, fromMemory(plain), bench.sealing, bench);
      assert.equal(artifact.plain.bytes, length);
      assert.equal(artifact.volumes[0]?.name, 'database.dump.zst.age');
      assert.ok((await readWhole(await unsealFrom(vault, artifact, bench))).equals(plain));
    });

  test('reads a child by its descriptor, also one that has ended before anybody came for its output', async () => {
    for (const bytes of [1000, 5_000_000]) {
      const vault = new MemoryVault();
      const source = fromChild({ program: 'head', args: ['-c', String(bytes), '/dev/zero'] });
      await wait(150);
      const artifact = await sealInto(vault, source, bench.sealing, bench);
      assert.equal(artifact.plain.bytes, bytes);
      assert.ok((await readWhole(await unsealFrom(vault, artifact, bench))).equals(Buffer.alloc(bytes)));
    }
  });

  test('reads an open file from where it stands', async () => {
    const path = join(bench.folder, 'plain');
    const plain = sampleBytes(500_000);
    await writeFile(path, plain);
    const file = await open(path);
    try {
      const vault = new MemoryVault();
      const artifact = await sealInto(vault, { bytes: file.fd, whole: Promise.resolve() }, bench.sealing, bench);
      assert.ok((await readWhole(await unsealFrom(vault, artifact, bench))).equals(plain));
    } finally {
      await file.close();
    }
  });

  test('I6: stock age and zstd open what was sealed', async () => {
    const vault = new MemoryVault({ volume: 100_000 });
    const plain = sampleBytes(700_000);
    const artifact = await sealInto(vault, fromMemory(plain), bench.sealing, bench);
    assert.ok(artifact.volumes.length > 2);
    const volumes = await Promise.all(artifact.volumes.map((volume) => vault.get(`${FOLDER}/${volume.name}`)));
    const path = join(bench.folder, 'stock.zst.age');
    await writeFile(path, Buffer.concat(volumes));
    const out = join(bench.folder, 'stock');
    await bench.processes.run({
      program: 'sh',
      args: ['-c', 'age -d -i "$1" "$2" | zstd -dc > "$3"', 'sh', bench.identity.file, path, out],
    });
    assert.ok((await readFile(out)).equals(plain));
  });

  test('I2: a producer that dies half way is a failure, and the store never sees an end', async () => {
    const vault = new MemoryVault();
    const source = fromChild({ program: 'sh', args: ['-c', 'head -c 300000 /dev/zero; echo "no route" >&2; exit 3'] });
    const sealed = seal(source, bench.sealing, bench.processes, bench.signal);
    const storing = vault.store(FOLDER, 'x', sealed.bytes, CALM);
    await assert.rejects(storing, CommandFailed);
    await assert.rejects(sealed.done, (error: Error) => {
      assert.match(error.message, /^sh failed with exit code 3: no route/);
      return true;
    });
    assert.equal(vault.objects.size, 0);
  });

  test('I2: a producer whose server reset its connection is to blame, though it sounds like a broken pipe', async () => {
    const said = 'echo "could not receive data from server: Connection reset by peer" >&2; exit 1';
    const source = fromChild({ program: 'sh', args: ['-c', `head -c 300000 /dev/zero; ${said}`] });
    const sealed = seal(source, bench.sealing, bench.processes, bench.signal);
    await assert.rejects(new MemoryVault().store(FOLDER, 'x', sealed.bytes, CALM));
    await assert.rejects(sealed.done, (error: Error) => {
      assert.match(error.message, /^sh failed with exit code 1: could not receive data from server/);
      return true;
    });
  });

  test('I2: a producer whose children ended well, but which says it is not whole, is a failure', async () => {
    const missing = new CaptureIncomplete('the end marker is missing');
    const source = { ...fromMemory(sampleBytes(10_000)), whole: wait(100).then(() => Promise.reject(missing)) };
    const vault = new MemoryVault();
    const sealed = seal(source, bench.sealing, bench.processes, bench.signal);
    const storing = vault.store(FOLDER, 'x', sealed.bytes, CALM);
    await assert.rejects(storing, missing);
    await assert.rejects(sealed.done, missing);
    assert.equal(vault.objects.size, 0);
  });

  test('I2: a producer that fails and leaves its stream open does not hang the run', { timeout: 20_000 }, async () => {
    const gone = new SourceUnreachable('the server went away');
    const bytes = new PassThrough();
    bytes.write(sampleBytes(10_000));
    const sealed = seal({ bytes, whole: Promise.reject(gone) }, bench.sealing, bench.processes, bench.signal);
    await assert.rejects(sealed.done, gone);
    await assert.rejects(new MemoryVault().store(FOLDER, 'x', sealed.bytes, CALM));
  });

  test('I2: a stream that errors is a failure with that error', async () => {
    const broken = new SourceUnreachable('connection lost');
    const bytes = Readable.from(
      (async function* () {
        yield sampleBytes(200_000);
        await wait(50);
        throw broken;
      })(),
      { objectMode: false },
    );
    const sealed = seal({ bytes, whole: Promise.resolve() }, bench.sealing, bench.processes, bench.signal);
    await assert.rejects(new MemoryVault().store(FOLDER, 'x', sealed.bytes, CALM), broken);
    await assert.rejects(sealed.done, broken);
  });

  for (const program of ['zstd', 'age'])
    test(`I2: ${program} killed in the middle is a failed backup, not a small one`, { timeout: 20_000 }, async () => {
      const source = fromChild({
        program: 'sh',
        args: ['-c', 'head -c 3000000 /dev/urandom; sleep 1; exec cat /dev/zero'],
      });
      const sealed = seal(source, bench.sealing, bench.processes, bench.signal);
      const vault = new MemoryVault();
      const storing = vault.store(FOLDER, 'x', sealed.bytes, CALM);
      storing.catch(() => undefined);
      await wait(300);
      await killChild(program);
      await assert.rejects(sealed.done, (error: Error) => {
        assert.match(error.message, new RegExp(`^${program} failed with signal SIGKILL`));
        return true;
      });
      await assert.rejects(storing);
      assert.equal(vault.objects.size, 0);
    });

  test('a reader that gives up ends everything, and says that it was no failure of the seal', {
    timeout: 20_000,
  }, async () => {
    const source = fromChild({ program: 'cat', args: ['/dev/urandom'] });
    const sealed = seal(source, bench.sealing, bench.processes, bench.signal);
    for await (const chunk of sealed.bytes) if (chunk.length > 0) break;
    await assert.rejects(sealed.done, Cancelled);
  });

  test('stop ends everything', { timeout: 20_000 }, async () => {
    const source = fromChild({ program: 'cat', args: ['/dev/urandom'] });
    const sealed = seal(source, bench.sealing, bench.processes, bench.signal);
    await wait(100);
    sealed.stop();
    await assert.rejects(sealed.done, Cancelled);
    await assert.rejects(source.whole);
  });

  test('a cancelled run ends it', { timeout: 20_000 }, async () => {
    const controller = new AbortController();
    const sealed = seal(
      fromChild({ program: 'cat', args: ['/dev/urandom'] }),
      bench.sealing,
      bench.processes,
      controller.signal,
    );
    await wait(50);
    controller.abort(new Error('deadline'));
    await assert.rejects(sealed.done, Cancelled);
    assert.throws(() => seal(fromMemory(Buffer.of(1)), bench.sealing, bench.processes, controller.signal), Cancelled);
  });

  test('a missing tool is named, with how to get it', async () => {
    const bare = createProcesses({ PATH: '/nonexistent' }, bench.signal, null);
    const { sealing } = bench;
    const sealed = seal(
      fromMemory(sampleBytes(1000)),
      sealing,
      {
        ...bare,
        pipe: (commands, io) =>
          bare.pipe(
            commands.map((one) => ({ ...one, program: `/nonexistent/${one.program}` })),
            io,
          ),
      },
      bench.signal,
    );
    sealed.bytes.on('error', () => undefined).resume();
    await assert.rejects(sealed.done, (error: Error) => {
      assert.ok(error instanceof ToolMissing);
      assert.equal(error.hint, 'apt-get install zstd');
      return true;
    });
  });

  test('I9: without recipients nothing is sealed, let alone stored as plaintext', () => {
    assert.throws(
      () =>
        seal(
          fromMemory(sampleBytes(10)),
          { method: 'age', recipients: [], fingerprints: [] },
          bench.processes,
          bench.signal,
        ),
      KeysMissing,
    );
  });

  test('I9: only `encryption: none` stores plaintext, and it says so in the name', async () => {
    const vault = new MemoryVault();
    const plain = sampleBytes(100_000);
    const none = { method: 'none', recipients: [], fingerprints: [] } as const;
    const artifact = await sealInto(vault, fromMemory(plain), none, bench);
    assert.equal(artifact.volumes[0]?.name, 'database.dump.zst');
    const opened = await unsealFrom(vault, artifact, bench, { sealing: none, identity: null });
    assert.ok((await readWhole(opened)).equals(plain));
  });

  test('the suffix tells which tools open it', () => {
    assert.equal(sealedName('tree.tar', 'age'), 'tree.tar.zst.age');
    assert.equal(sealedName('tree.tar', 'gpg'), 'tree.tar.zst.gpg');
    assert.equal(sealedName('tree.tar', 'none'), 'tree.tar.zst');
  });
});
