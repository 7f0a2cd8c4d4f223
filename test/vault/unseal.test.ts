import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import fc from 'fast-check';
import {
  Cancelled,
  CommandFailed,
  Disproven,
  IdentityWrong,
  KeysMissing,
  ToolMissing,
  VaultUnreachable,
} from '#core/errors';
import type { Artifact } from '#core/manifest';
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
import { fingerprintOf, keygen, type Sealing } from '#vault/encryption';
import { unsealArtifact, verifyStored } from '#vault/unseal';

const NONE: Sealing = { method: 'none', recipients: [], fingerprints: [] };

describe('unseal', () => {
  let bench: Bench;
  const vault = new MemoryVault({ volume: 60_000, chunk: 10_007 });
  const plain = sampleBytes(300_000);
  let artifact: Artifact;
  before(async () => {
    bench = await openBench();
    artifact = await sealInto(vault, fromMemory(plain), bench.sealing, bench);
    assert.ok(artifact.volumes.length >= 3);
  });
  after(() => bench.close());

  /** A vault with the same objects, to be broken. */
  function copyOf(original: MemoryVault): MemoryVault {
    const copy = new MemoryVault({ chunk: 10_007 });
    for (const [key, { bytes, modified }] of original.objects)
      copy.objects.set(key, { bytes: Buffer.from(bytes), modified });
    return copy;
  }

  function volumeKey(index: number): string {
    return `${FOLDER}/${artifact.volumes[index]?.name}`;
  }

  function bytesOf(broken: MemoryVault, index: number): { bytes: Buffer } {
    return broken.objects.get(volumeKey(index)) as { bytes: Buffer };
  }

  async function read(broken: MemoryVault, sealing = bench.sealing, of = artifact): Promise<Buffer> {
    return readWhole(await unsealFrom(broken, of, bench, { sealing }));
  }

  /** Both ways of looking say so, and name the volume. */
  async function assertDisproven(
    broken: MemoryVault,
    volume: RegExp,
    sealing = bench.sealing,
    of = artifact,
  ): Promise<void> {
    for (const look of [() => read(broken, sealing, of), () => verifyStored(broken, FOLDER, [of])])
      await assert.rejects(look, (error: Error) => {
        assert.ok(error instanceof Disproven, `${error.name}: ${error.message}`);
        assert.match(error.message, /database\.dump/);
        assert.match(error.message, volume);
        return true;
      });
  }

  test('the manifest decides which volumes are read, in its order', async () => {
    assert.ok((await read(vault)).equals(plain));
    await verifyStored(vault, FOLDER, [artifact]);
  });

  test('Done-when 4: one bit changed anywhere in a sealed artifact is caught, and blamed on its volume', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(artifact.volumes.length - 1),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.nat(7),
        async (index, where, bit) => {
          const broken = copyOf(vault);
          const { bytes } = bytesOf(broken, index);
          const at = Math.min(Math.floor(where * bytes.length), bytes.length - 1);
          bytes[at] = (bytes[at] as number) ^ (1 << bit);
          await assertDisproven(broken, new RegExp(`${artifact.volumes[index]?.name} in memory`));
        },
      ),
      { numRuns: 60 },
    );
  });

  test('Done-when 4: so it is where nothing is encrypted', async () => {
    const open = new MemoryVault();
    const stored = await sealInto(open, fromMemory(plain), NONE, bench);
    const key = `${FOLDER}/${stored.volumes[0]?.name}`;
    await fc.assert(
      fc.asyncProperty(fc.double({ min: 0, max: 1, noNaN: true }), async (where) => {
        const broken = copyOf(open);
        const { bytes } = broken.objects.get(key) as { bytes: Buffer };
        const at = Math.min(Math.floor(where * bytes.length), bytes.length - 1);
        bytes[at] = (bytes[at] as number) ^ 0x80;
        await assertDisproven(broken, /\.zst in memory/, NONE, stored);
      }),
      { numRuns: 30 },
    );
  });

  test('a volume cut short, made longer, emptied, or exchanged with another is caught', async () => {
    const last = artifact.volumes.length - 1;
    const breakings: ((broken: MemoryVault) => void)[] = [
      (broken) => {
        bytesOf(broken, last).bytes = bytesOf(broken, last).bytes.subarray(0, -1);
      },
      (broken) => {
        bytesOf(broken, 0).bytes = bytesOf(broken, 0).bytes.subarray(1);
      },
      (broken) => {
        bytesOf(broken, last).bytes = Buffer.concat([bytesOf(broken, last).bytes, Buffer.of(0)]);
      },
      (broken) => {
        bytesOf(broken, 1).bytes = Buffer.alloc(0);
      },
      (broken) => {
        const [first, second] = [bytesOf(broken, 0), bytesOf(broken, 1)];
        [first.bytes, second.bytes] = [second.bytes, first.bytes];
      },
    ];
    for (const breakIt of breakings) {
      const broken = copyOf(vault);
      breakIt(broken);
      await assertDisproven(broken, /volume backups\/events/);
    }
  });

  test('a volume that is gone is disproof, not a vault that does not answer', async () => {
    const broken = copyOf(vault);
    broken.objects.delete(volumeKey(1));
    await assertDisproven(broken, /is missing/);
  });

  test('stored as recorded, and yet of other content than was sealed: caught by the plain count', async () => {
    const other = { ...artifact, plain: { bytes: plain.length - 1, sha256: null } };
    await assert.rejects(read(vault, bench.sealing, other), /unseals to 300000 bytes, the manifest has 299999/);
  });

  test('a plain sha256 in the manifest is compared', async () => {
    const sha256 = createHash('sha256').update(plain).digest('hex');
    const right = { ...artifact, plain: { bytes: plain.length, sha256 } };
    assert.ok((await read(vault, bench.sealing, right)).equals(plain));
    const wrong = {
      ...artifact,
      plain: { bytes: plain.length, sha256: sha256.replace(/^./, (c) => (c === '0' ? '1' : '0')) },
    };
    await assert.rejects(read(vault, bench.sealing, wrong), Disproven);
  });

  test('what was damaged before it was stored is disproven too', async () => {
    const early = new MemoryVault();
    const sealed = Buffer.from('age-encryption.org/v1\nthis is no age file\n');
    const name = 'database.dump.zst.age';
    await early.putOnce(`${FOLDER}/${name}`, sealed);
    const sha256 = createHash('sha256').update(sealed).digest('hex');
    const of = { ...artifact, volumes: [{ name, bytes: sealed.length, sha256 }] };
    await verifyStored(early, FOLDER, [of]);
    await assert.rejects(read(early, bench.sealing, of), (error: Error) => {
      assert.ok(error instanceof Disproven);
      assert.match(error.message, /does not unseal, although it lies as it was stored: age: error/);
      return true;
    });
  });

  test('peers 3A: a wrong identity is named as such, with the keys that would do, and is no disproof', async () => {
    const file = join(bench.folder, 'other.key');
    const offered = fingerprintOf(await keygen(bench.processes, file));
    const opened = await unsealFrom(vault, artifact, bench, { identity: { file } });
    await assert.rejects(readWhole(opened), (error: Error) => {
      assert.ok(error instanceof IdentityWrong, error.message);
      assert.match(error.hint ?? '', new RegExp(bench.sealing.fingerprints[0] as string));
      assert.match(error.hint ?? '', new RegExp(offered));
      return true;
    });
  });

  test('damage is blamed before the identity', async () => {
    const file = join(bench.folder, 'third.key');
    await keygen(bench.processes, file);
    const broken = copyOf(vault);
    const { bytes } = bytesOf(broken, 2);
    bytes[5] = (bytes[5] as number) ^ 1;
    await assert.rejects(readWhole(await unsealFrom(broken, artifact, bench, { identity: { file } })), Disproven);
  });

  test('an identity file that holds no key, half a key, or a key sealed itself, is named as such', async () => {
    const file = join(bench.folder, 'bad.key');
    // The last is what `age -p` writes: without a terminal its passphrase cannot be asked for.
    const locked = [
      'age-encryption.org/v1',
      `-> scrypt ${'A'.repeat(22)} 18`,
      'A'.repeat(43),
      `--- ${'A'.repeat(43)}`,
      '',
    ];
    for (const text of ['not a key\n', '', 'AGE-SECRET-KEY-1QQQ\n', locked.join('\n')]) {
      await writeFile(file, text);
      await assert.rejects(readWhole(await unsealFrom(vault, artifact, bench, { identity: { file } })), IdentityWrong);
    }
    const absent = { file: join(bench.folder, 'absent.key') };
    await assert.rejects(readWhole(await unsealFrom(vault, artifact, bench, { identity: absent })), IdentityWrong);
  });

  test('without an identity age is not even started', async () => {
    await assert.rejects(unsealFrom(vault, artifact, bench, { identity: null }), KeysMissing);
  });

  test('a vault that stops answering in the middle is that, not a disproof', async () => {
    const away = copyOf(vault);
    away.before = (operation, key) => {
      if (operation === 'open' && key === volumeKey(1)) throw new VaultUnreachable('the vault answers 503');
    };
    await assert.rejects(read(away), VaultUnreachable);
    await assert.rejects(verifyStored(away, FOLDER, [artifact]), VaultUnreachable);
  });

  test('a stream of the vault that breaks is that, not a disproof', async () => {
    const away = copyOf(vault);
    const open = away.open.bind(away);
    away.open = async (key) => {
      if (key !== volumeKey(1)) return open(key);
      return Readable.from(
        (async function* () {
          yield Buffer.alloc(1000);
          throw new VaultUnreachable('connection lost');
        })(),
        { objectMode: false },
      );
    };
    await assert.rejects(read(away), VaultUnreachable);
  });

  test('a child inherits the plain bytes by their descriptor', async () => {
    const opened = await unsealFrom(vault, artifact, bench);
    await wait(150);
    const counting = bench.processes.pipe([{ program: 'sha256sum', args: [] }], { stdin: opened.bytes });
    let said = '';
    for await (const chunk of counting.stdout as Readable) said += chunk;
    await counting.done;
    await opened.whole;
    assert.equal(said.split(' ')[0], createHash('sha256').update(plain).digest('hex'));
  });

  test('a reader that dies early does not hang it, and does not disprove the backup', { timeout: 20_000 }, async () => {
    const large = new MemoryVault();
    const stored = await sealInto(large, fromMemory(sampleBytes(8_000_000)), bench.sealing, bench);
    const opened = await unsealFrom(large, stored, bench);
    const reader = bench.processes.pipe([{ program: 'sh', args: ['-c', 'head -c 10 >/dev/null; exit 1'] }], {
      stdin: opened.bytes,
    });
    await assert.rejects(reader.done, CommandFailed);
    await assert.rejects(opened.whole, (error: Error) => {
      assert.ok(error instanceof CommandFailed, error.name);
      assert.match(error.message, /was not read to its end/);
      return true;
    });
  });

  test('a reader that chokes on damaged bytes does not hide the damage', { timeout: 20_000 }, async () => {
    const large = new MemoryVault();
    const stored = await sealInto(large, fromMemory(sampleBytes(8_000_000)), NONE, bench);
    const { bytes } = large.objects.get(`${FOLDER}/${stored.volumes[0]?.name}`) as { bytes: Buffer };
    bytes[bytes.length - 10] = (bytes[bytes.length - 10] as number) ^ 1;
    const opened = await unsealFrom(large, stored, bench, { sealing: NONE });
    const reader = bench.processes.pipe([{ program: 'head', args: ['-c', '10'] }], { stdin: opened.bytes });
    reader.stdout?.resume();
    await reader.done;
    await assert.rejects(opened.whole, Disproven);
  });

  test('stop ends it, also when nobody reads', { timeout: 20_000 }, async () => {
    const large = new MemoryVault();
    const stored = await sealInto(large, fromMemory(sampleBytes(8_000_000)), bench.sealing, bench);
    const opened = await unsealFrom(large, stored, bench);
    await wait(50);
    opened.stop();
    await assert.rejects(opened.whole, Cancelled);
  });

  test('a cancelled run ends it, also when the vault stalls', { timeout: 20_000 }, async () => {
    const stalled = copyOf(vault);
    stalled.open = async () => new Readable({ read: () => undefined });
    const controller = new AbortController();
    const { identity, processes } = bench;
    const opened = await unsealArtifact(stalled, FOLDER, artifact, 'age', identity, processes, controller.signal);
    const verifying = verifyStored(stalled, FOLDER, [artifact], controller.signal);
    setTimeout(() => controller.abort(new Error('deadline')), 50);
    await Promise.all([assert.rejects(opened.whole, Cancelled), assert.rejects(verifying, Cancelled)]);
  });

  test('an age killed in the middle says nothing about the backup', { timeout: 20_000 }, async () => {
    const slow = copyOf(vault);
    const controller = new AbortController();
    const killed = createProcesses(process.env, controller.signal, null);
    slow.before = async (operation, key) => {
      if (operation === 'open' && key === volumeKey(1)) await killChild('age');
    };
    const opened = await unsealArtifact(slow, FOLDER, artifact, 'age', bench.identity, killed, controller.signal);
    await assert.rejects(readWhole(opened), (error: Error) => {
      assert.ok(error instanceof CommandFailed, `${error.name}: ${error.message}`);
      assert.match(error.message, /^age failed with signal SIGKILL/);
      return true;
    });
  });

  test('a missing tool is named, with how to get it', async () => {
    const { processes, signal, identity } = bench;
    const bare = {
      ...processes,
      pipe: (commands: Parameters<typeof processes.pipe>[0], io: Parameters<typeof processes.pipe>[1]) =>
        processes.pipe(
          commands.map((one) => ({ ...one, program: `/nonexistent/${one.program}` })),
          io,
        ),
    };
    const opened = await unsealArtifact(vault, FOLDER, artifact, 'age', identity, bare, signal);
    opened.bytes.on('error', () => undefined).resume();
    await assert.rejects(opened.whole, (error: Error) => {
      assert.ok(error instanceof ToolMissing, error.message);
      assert.equal(error.hint, 'apt-get install age');
      return true;
    });
  });
});
