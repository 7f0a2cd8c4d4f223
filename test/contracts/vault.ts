import { strict as assert } from 'node:assert';
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import {
  Cancelled,
  Disproven,
  HoldfastError,
  KeyExists,
  KeyMissing,
  RecordInvalid,
  UnsafePath,
  VaultForeign,
  VaultMissing,
  VaultUnreachable,
} from '#core/errors';
import type { Vault, VaultEntry } from '#core/ports';
import { createVaultIdentity, readVaultIdentity } from '#vault/identity';
import { verifyCreateOnly } from '#vault/open';

export interface VaultUnderTest {
  readonly vault: Vault;
  /** The same place, as another process opens it. */
  again(): Vault;
  /** A vault of the kind whose place was never made: no directory, no bucket. */
  missing(): Vault;
  /** A vault of the kind that does not answer: a broken mount, a server that is down. Null where this machine can make none. */
  unreachable(): Promise<Vault | null>;
  /** What unfinished puts left behind where no listing looks. */
  leftovers(): Promise<readonly string[]>;
  /** Where volumes end here. */
  readonly volumeBytes: number;
  /** Enough keys for several pages of a listing here. */
  readonly manyKeys: number;
  close(): Promise<void>;
}

/** The suite that every vault passes. `open` makes an empty place, without `vault.json`. */
export function vaultContract(title: string, open: () => Promise<VaultUnderTest>): void {
  describe(`${title} keeps the vault contract`, () => {
    let kit: VaultUnderTest;
    let vault: Vault;
    let count = 0;
    /** A place of the test's own. */
    const fresh = (): string => `backups/test-${++count}`;

    before(async () => {
      kit = await open();
      vault = kit.vault;
    });
    after(() => kit?.close());

    test('I14: a place without vault.json is not a vault, and nothing is put into it', async () => {
      await rejects(readVaultIdentity(vault, 'plan'), VaultMissing);
      await createVaultIdentity(vault, { plan: 'plan', id: 'one', created: new Date('2026-11-21T02:00:00Z') });
      assert.deepEqual(await readVaultIdentity(vault, 'plan'), {
        format: 1,
        id: 'one',
        plan: 'plan',
        created: '2026-11-21T02:00:00.000Z',
      });
      await rejects(createVaultIdentity(vault, { plan: 'plan', id: 'two', created: new Date() }), KeyExists);
    });

    test('a vault that belongs to another plan is refused', async () => {
      const error = await rejects(readVaultIdentity(vault, 'other'), VaultForeign);
      assert.match(error.message, /"plan".*"other"/);
      assert.equal(error.exit, 2);
    });

    test('what was put once is read back as it was, and refuses to be put again', async () => {
      const key = `${fresh()}/manifest.json`;
      const body = randomBytes(5000);
      await vault.putOnce(key, body);
      assert.deepEqual(Buffer.from(await kit.again().get(key)), body);
      await rejects(vault.putOnce(key, Buffer.from('other')), KeyExists);
      assert.deepEqual(Buffer.from(await vault.get(key)), body);
    });

    test('an empty object is an object', async () => {
      const key = `${fresh()}/empty`;
      await vault.putOnce(key, Buffer.alloc(0));
      assert.equal((await vault.get(key)).length, 0);
      assert.equal((await toBuffer(await vault.open(key))).length, 0);
      assert.equal((await entries(vault, key))[0]?.bytes, 0);
    });

    test('I3: of twenty racers for one key exactly one wins, and its bytes stay', async () => {
      assert.equal(vault.features.createOnly, true);
      for (let round = 0; round < 3; round++) {
        const key = `${fresh()}/0000000001.json`;
        const results = await Promise.allSettled(
          Array.from({ length: 20 }, async (_, index) => {
            await kit.again().putOnce(key, Buffer.from(`racer ${index}`));
            return index;
          }),
        );
        const winners = results.filter((result) => result.status === 'fulfilled');
        assert.equal(winners.length, 1);
        for (const result of results) if (result.status === 'rejected') assert.ok(result.reason instanceof KeyExists);
        assert.equal(Buffer.from(await vault.get(key)).toString(), `racer ${winners[0]?.value}`);
      }
    });

    test('check finds that the vault refuses to overwrite, and finds it again the next day', async () => {
      await verifyCreateOnly(vault);
      await verifyCreateOnly(kit.again());
      assert.ok(!(await entries(vault, 'leases')).some(({ key }) => key.includes('.check')));
    });

    test('putAgain overwrites, and makes what was not there', async () => {
      const key = `${fresh()}/RUNBOOK.md`;
      await vault.putAgain(key, Buffer.from('first, and longer'));
      await vault.putAgain(key, Buffer.from('second'));
      assert.equal(Buffer.from(await vault.get(key)).toString(), 'second');
    });

    test('I2: a stored artifact is equal byte for byte, and its hash is the one told', async () => {
      const folder = fresh();
      for (const size of [0, 1, 65_536, kit.volumeBytes - 1, kit.volumeBytes]) {
        const bytes = randomBytes(size);
        const seen: number[] = [];
        const volumes = await vault.store(folder, `a${size}`, inChunks(bytes), {
          signal: never(),
          onBytes: (more) => seen.push(more),
        });
        assert.deepEqual(volumes, [{ name: `a${size}`, bytes: size, sha256: sha256(bytes) }]);
        assert.ok((await toBuffer(await vault.open(`${folder}/a${size}`))).equals(bytes));
        assert.equal(
          seen.reduce((sum, more) => sum + more, 0),
          size,
        );
      }
    });

    test('I6: what is longer than a volume goes on in the next, and the volumes in their order are the artifact', async () => {
      const folder = fresh();
      const bytes = randomBytes(Math.floor(kit.volumeBytes * 2.3));
      const volumes = await vault.store(folder, 'x.dump', inChunks(bytes), { signal: never() });
      assert.deepEqual(
        volumes.map(({ name, bytes: size }) => [name, size]),
        [
          ['x.dump', kit.volumeBytes],
          ['x.dump.002', kit.volumeBytes],
          ['x.dump.003', bytes.length - 2 * kit.volumeBytes],
        ],
      );
      const parts: Buffer[] = [];
      for (const { name, sha256: told } of volumes) {
        const part = await toBuffer(await vault.open(`${folder}/${name}`));
        assert.equal(sha256(part), told);
        parts.push(part);
      }
      assert.ok(Buffer.concat(parts).equals(bytes));
      assert.deepEqual(await kit.leftovers(), []);
    });

    test('an artifact that ends where a volume ends leaves no empty volume behind', async () => {
      const bytes = randomBytes(kit.volumeBytes * 2);
      const volumes = await vault.store(fresh(), 'x', inChunks(bytes), { signal: never() });
      assert.deepEqual(
        volumes.map((volume) => volume.bytes),
        [kit.volumeBytes, kit.volumeBytes],
      );
    });

    test('I2, I3: of a copy only the bytes that were promised get a name, as one that is given is never taken back', async () => {
      for (const share of [0, 0.001, 0.8, 1]) {
        const folder = fresh();
        const bytes = randomBytes(Math.floor(kit.volumeBytes * share));
        const expect = { bytes: bytes.length, sha256: sha256(bytes) };
        const wrong = [
          { ...expect, sha256: sha256(Buffer.from('other')) },
          { ...expect, bytes: expect.bytes + 1 },
        ];
        for (const other of wrong) {
          const options = { signal: never(), expect: other };
          const error = await rejects(vault.store(folder, 'x.002', inChunks(bytes), options), Disproven);
          assert.match(error.message, /not what their manifest says/);
        }
        assert.deepEqual(await entries(vault, `${folder}/`), []);
        assert.deepEqual(await kit.leftovers(), []);
        const [volume] = await vault.store(folder, 'x.002', inChunks(bytes), { signal: never(), expect });
        assert.deepEqual(volume, { name: 'x.002', ...expect });
      }
    });

    for (const [what, share] of [
      ['at its beginning', 0],
      ['half way', 0.5],
      ['in its second volume', 1.5],
    ] as const) {
      test(`I2, peers 3A: a source that fails ${what} leaves no object, and its own error is what is told`, async () => {
        const folder = fresh();
        const failure = new Error('pg_dump died');
        async function* failing(): AsyncGenerator<Buffer> {
          yield* chunksOf(randomBytes(Math.floor(kit.volumeBytes * share)));
          throw failure;
        }
        await assert.rejects(
          vault.store(folder, 'x', Readable.from(failing(), { objectMode: false }), { signal: never() }),
          (thrown) => thrown === failure,
        );
        assert.deepEqual(await entries(vault, folder), []);
        assert.deepEqual(await kit.leftovers(), []);
      });
    }

    test('I2: a source that is closed before its end is a failure, and not a shorter artifact', async () => {
      const folder = fresh();
      const source = new Readable({ read() {} });
      source.push(randomBytes(1000));
      const storing = vault.store(folder, 'x', source, { signal: never() });
      setTimeout(() => source.destroy(), 100);
      await assert.rejects(storing, HoldfastError);
      assert.deepEqual(await entries(vault, folder), []);
      assert.deepEqual(await kit.leftovers(), []);
    });

    test('a run that is told to stop ends its put at once and leaves nothing', async () => {
      const folder = fresh();
      const stop = new AbortController();
      const source = Readable.from(endless(), { objectMode: false });
      const storing = vault.store(folder, 'x', source, { signal: stop.signal });
      setTimeout(() => stop.abort(), 300);
      const error = await rejects(storing, Cancelled);
      assert.equal(error.code, 'cancelled');
      assert.ok(source.destroyed);
      assert.deepEqual(await entries(vault, folder), []);
      assert.deepEqual(await kit.leftovers(), []);
      await rejects(vault.store(folder, 'y', inChunks(randomBytes(10)), { signal: stop.signal }), Cancelled);
    });

    test('I3: an artifact is not stored over another', async () => {
      const folder = fresh();
      // One that is put whole, and one in parts and volumes: the second also where the store itself would overwrite.
      for (const size of [100, Math.floor(kit.volumeBytes * 1.1)]) {
        const bytes = randomBytes(size);
        await vault.store(folder, `x${size}`, inChunks(bytes), { signal: never() });
        const other = vault.store(folder, `x${size}`, inChunks(randomBytes(size)), { signal: never() });
        await rejects(other, KeyExists);
        const stored = await toBuffer(await vault.open(`${folder}/x${size}`));
        assert.ok(stored.equals(bytes.subarray(0, kit.volumeBytes)));
      }
      assert.deepEqual(await kit.leftovers(), []);
    });

    test('a listing is in byte order, begins after a key, ends at a limit, and knows sizes and times', async () => {
      const root = fresh();
      const names = ['a-b/1', 'a/0000000001.json', 'a/0000000002.json', 'a.json', 'a/Z', 'a/a/deep', 'a0', 'B', '_'];
      const started = Date.now();
      for (const name of names) await vault.putOnce(`${root}/${name}`, Buffer.from(name));
      await vault.putAgain(`${root}/a/.hidden`, Buffer.from('x'));
      const keys = names.map((name) => `${root}/${name}`).sort();
      assert.deepEqual(await keysOf(vault, `${root}/`), keys);
      for (const key of [...keys, `${root}/a`, `${root}/a/`, `${root}/a/0`, `${root}/zzz`, `${root}/A`]) {
        const later = keys.filter((other) => other > key);
        assert.deepEqual(await keysOf(vault, `${root}/`, { after: key }), later, `after ${key}`);
      }
      assert.deepEqual(await keysOf(vault, `${root}/`, { limit: 4 }), keys.slice(0, 4));
      assert.deepEqual(await keysOf(vault, `${root}/`, { limit: 0 }), []);
      assert.deepEqual(
        await keysOf(vault, `${root}/a/0`),
        keys.filter((key) => key.startsWith(`${root}/a/0`)),
      );
      const [entry] = await entries(vault, `${root}/a/a/`);
      assert.equal(entry?.bytes, 'a/a/deep'.length);
      assert.ok(Math.abs((entry?.modified.getTime() ?? 0) - started) < 60_000);
    });

    test('many keys are listed over pages, none twice and none lost', async () => {
      const root = fresh();
      const keys = Array.from(
        { length: kit.manyKeys },
        (_, index) => `${root}/${String(index).padStart(10, '0')}.json`,
      );
      const left = [...keys];
      await Promise.all(
        Array.from({ length: 24 }, async () => {
          for (let key = left.pop(); key !== undefined; key = left.pop()) await vault.putAgain(key, Buffer.from('{}'));
        }),
      );
      const half = keys.length >> 1;
      assert.deepEqual(await keysOf(vault, `${root}/`), keys);
      assert.deepEqual(await keysOf(vault, `${root}/`, { after: keys[half] as string }), keys.slice(half + 1));
      assert.deepEqual(await keysOf(vault, `${root}/`, { limit: half }), keys.slice(0, half));
      assert.equal(await vault.lastNumber(`${root}/`), keys.length - 1);
      assert.equal(await vault.lastNumber(root), keys.length - 1);
    });

    test('folders are the names below which something lies', async () => {
      const root = fresh();
      for (const key of ['b/1/x', 'b/2/x', 'a/x', 'a-b/x', 'file'])
        await vault.putOnce(`${root}/${key}`, Buffer.from('x'));
      assert.deepEqual(await Array.fromAsync(vault.folders(`${root}/`)), ['a-b', 'a', 'b']);
      assert.deepEqual(await Array.fromAsync(vault.folders(`${root}/b/`)), ['1', '2']);
      await vault.remove(`${root}/a/x`);
      assert.deepEqual(await Array.fromAsync(vault.folders(`${root}/`)), ['a-b', 'b']);
      assert.deepEqual(await Array.fromAsync(vault.folders(`${fresh()}/`)), []);
    });

    test('the last number is found beside beats and across gaps', async () => {
      const root = fresh();
      assert.equal(await vault.lastNumber(`${root}/`), null);
      await vault.putOnce(`${root}/notes.txt`, Buffer.from('x'));
      await vault.putAgain(`${root}/.hidden`, Buffer.from('x'));
      assert.equal(await vault.lastNumber(`${root}/`), null);
      for (const number of [1, 2, 3, 7, 4096, 999_999_999]) {
        const name = String(number).padStart(10, '0');
        await vault.putOnce(`${root}/${name}.json`, Buffer.from('x'));
        assert.equal(await vault.lastNumber(`${root}/`), number);
        await vault.putAgain(`${root}/${name}.beat.json`, Buffer.from('x'));
        assert.equal(await vault.lastNumber(`${root}/`), number);
      }
    });

    test('I14, peers 3I (DBackup #82): nothing there, no such vault and no answer are three different results', async () => {
      const nothing = fresh();
      assert.deepEqual(await keysOf(vault, `${nothing}/`), []);
      const [missing, unreachable] = [kit.missing(), await kit.unreachable()];
      const places: [Vault | null, ErrorClass][] = [
        [missing, VaultMissing],
        [unreachable, VaultUnreachable],
      ];
      for (const [gone, errorClass] of places) {
        if (gone === null) continue;
        await rejects(keysOf(gone, ''), errorClass);
        await rejects(keysOf(gone, `${nothing}/`), errorClass);
        await rejects(Array.fromAsync(gone.folders('backups/')), errorClass);
        await rejects(gone.lastNumber('ledger/x/'), errorClass);
        await rejects(gone.get(`${nothing}/x`), errorClass);
        await rejects(gone.open(`${nothing}/x`), errorClass);
        await rejects(gone.remove(`${nothing}/x`), errorClass);
        await rejects(gone.putOnce(`${nothing}/x`, Buffer.from('x')), errorClass);
        await rejects(gone.putAgain(`${nothing}/x`, Buffer.from('x')), errorClass);
        await rejects(gone.now(), errorClass);
        await rejects(gone.store(nothing, 'x', inChunks(randomBytes(10)), { signal: never() }), errorClass);
        await rejects(readVaultIdentity(gone, 'plan'), errorClass);
      }
    });

    test('a key that is not there is missing for get, open and remove', async () => {
      const root = fresh();
      await vault.putOnce(`${root}/there/x`, Buffer.from('x'));
      for (const key of [`${root}/x`, `${root}/there`, `${root}/there/x/y`]) {
        await rejects(vault.get(key), KeyMissing);
        await rejects(vault.open(key), KeyMissing);
        await rejects(vault.remove(key), KeyMissing);
      }
    });

    test('what was removed is gone, and may be put anew', async () => {
      const key = `${fresh()}/deep/down/x`;
      await vault.putOnce(key, Buffer.from('x'));
      await vault.remove(key);
      await rejects(vault.get(key), KeyMissing);
      await rejects(vault.remove(key), KeyMissing);
      await vault.putOnce(key, Buffer.from('y'));
      assert.equal(Buffer.from(await vault.get(key)).toString(), 'y');
    });

    test('a key that leaves the vault, or is odd, is refused before anything is asked', async () => {
      const odd = [
        '',
        '/',
        '/etc/passwd',
        '..',
        '../x',
        'a/../b',
        'a/..',
        'a/.',
        './a',
        'a//b',
        'a/',
        'a\\b',
        'a\0b',
        'a\nb',
        'a b',
        'ä',
        'C:/x',
        '.incoming/x',
        `${'a'.repeat(256)}`,
        Array.from({ length: 300 }, () => 'aaa').join('/'),
      ];
      const body = Buffer.from('x');
      for (const key of odd) {
        await rejects(vault.putOnce(key, body), UnsafePath);
        await rejects(vault.putAgain(key, body), UnsafePath);
        await rejects(vault.get(key), UnsafePath);
        await rejects(vault.open(key), UnsafePath);
        await rejects(vault.remove(key), UnsafePath);
        await rejects(vault.store('backups/x', `${key}/`, inChunks(body), { signal: never() }), UnsafePath);
      }
      for (const prefix of ['../', '/', 'a/../', 'a//', 'a\0'])
        for (const list of [
          () => keysOf(vault, prefix),
          () => Array.fromAsync(vault.folders(prefix)),
          () => vault.lastNumber(prefix),
        ])
          await rejects(list(), UnsafePath);
    });

    test('get refuses what is too large for a record', async () => {
      const folder = fresh();
      const name = 'large';
      await vault.putOnce(`${folder}/${name}`, Buffer.alloc(16 * 1024 * 1024 + 1));
      const error = await rejects(vault.get(`${folder}/${name}`), RecordInvalid);
      assert.match(error.message, /16777217 bytes/);
    });

    test('a stream that nobody reads to its end can be closed', async () => {
      const folder = fresh();
      await vault.store(folder, 'x', inChunks(randomBytes(kit.volumeBytes)), { signal: never() });
      for (let times = 0; times < 60; times++) (await vault.open(`${folder}/x`)).destroy();
      const half = await vault.open(`${folder}/x`);
      for await (const _ of half) break;
      assert.ok(half.destroyed);
      assert.equal((await toBuffer(await vault.open(`${folder}/x`))).length, kit.volumeBytes);
    });

    test('the vault tells its own time, and its free space where it knows', async () => {
      assert.ok(Math.abs((await vault.now()).getTime() - Date.now()) < 5000);
      const free = await vault.free();
      assert.equal(free !== null, vault.features.knowsSpace);
      if (free !== null) assert.ok(Number.isInteger(free) && free > 0);
    });

    test('whatever was done to it, the vault holds nothing unfinished', async () => {
      assert.deepEqual(await kit.leftovers(), []);
    });
  });
}

// biome-ignore lint/suspicious/noExplicitAny: any constructor arguments
export type ErrorClass<Failure extends HoldfastError = HoldfastError> = new (...args: any[]) => Failure;

/** Awaits a rejection of exactly this class; every one has words and a next step, as errors for people have. */
export async function rejects<Failure extends HoldfastError>(
  promise: Promise<unknown>,
  errorClass: ErrorClass<Failure>,
): Promise<Failure> {
  const error = await promise.then(
    () => assert.fail(`expected ${errorClass.name}, and nothing failed`),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof errorClass)) throw error;
  assert.ok(error.message.length > 10, error.message);
  return error;
}

export async function entries(vault: Vault, prefix: string): Promise<VaultEntry[]> {
  return Array.fromAsync(vault.list(prefix));
}

export async function keysOf(
  vault: Vault,
  prefix: string,
  options?: { readonly after?: string; readonly limit?: number },
): Promise<string[]> {
  return (await Array.fromAsync(vault.list(prefix, options))).map(({ key }) => key);
}

export async function toBuffer(stream: Readable): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(stream as AsyncIterable<Buffer>));
}

/** In pieces of odd sizes, as a pipe gives them. */
export function inChunks(bytes: Buffer): Readable {
  return Readable.from(chunksOf(bytes), { objectMode: false });
}

export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function never(): AbortSignal {
  return new AbortController().signal;
}

function* chunksOf(bytes: Buffer): Generator<Buffer> {
  for (let from = 0; from < bytes.length; from += 60_001) yield bytes.subarray(from, from + 60_001);
}

async function* endless(): AsyncGenerator<Buffer> {
  for (;;) {
    yield Buffer.alloc(64 * 1024);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
