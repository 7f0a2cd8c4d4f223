import { strict as assert } from 'node:assert';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import {
  access,
  chmod,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { promisify } from 'node:util';
import {
  KeyExists,
  KeyMissing,
  SpaceLacking,
  StoredBytesDiffer,
  UnsafePath,
  VaultMissing,
  VaultRefused,
  VaultUnreachable,
} from '#core/errors';
import { createProcesses } from '#host/processes';
import { inChunks, keysOf, never, rejects, toBuffer, vaultContract } from '#test/contracts/vault';
import { diskError } from '#vault/disk-errors';
import { DiskVault, type DiskVaultOptions } from '#vault/disk-vault';
import { createVaultIdentity, readVaultIdentity } from '#vault/identity';

const VOLUME = 3_000_000;
const HOUR = 60 * 60 * 1000;
const processes = createProcesses(process.env, new AbortController().signal, null);
const run = promisify(execFile);

function vaultAt(root: string, options: Partial<DiskVaultOptions> = {}): DiskVault {
  return new DiskVault({ name: 'ssd', root, processes, volumeBytes: VOLUME, ...options });
}

/** What a file system without hard links answers. */
const noLink = async (): Promise<void> => {
  throw Object.assign(new Error('EPERM: operation not permitted, link'), { code: 'EPERM', errno: -1, syscall: 'link' });
};

/** Mounts need root, and not every container gives it. */
async function mount(...args: string[]): Promise<boolean> {
  return run('mount', args).then(
    () => true,
    () => false,
  );
}

/** A mount whose server is gone: each call says "transport endpoint is not connected". */
async function deadMount(folder: string): Promise<boolean> {
  await mkdir(folder, { recursive: true });
  const script = 'exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none "$0"';
  return run('sh', ['-c', script, folder]).then(
    () => true,
    () => false,
  );
}

async function kit(options: Partial<DiskVaultOptions> = {}, manyKeys = 2500) {
  const place = await mkdtemp(join(tmpdir(), 'holdfast-vault-'));
  const root = join(place, 'vault');
  const dead = join(place, 'dead');
  let mounted = false;
  return {
    vault: vaultAt(root, options),
    again: () => vaultAt(root, options),
    missing: () => vaultAt(join(place, 'absent'), options),
    unreachable: async () => {
      mounted = await deadMount(dead);
      return mounted ? vaultAt(dead, options) : null;
    },
    leftovers: () => readdir(join(root, '.incoming')),
    volumeBytes: VOLUME,
    manyKeys,
    close: async () => {
      if (mounted) await run('umount', [dead]);
      await rm(place, { recursive: true, force: true });
    },
  };
}

vaultContract('a disk vault', () => kit());
vaultContract('a disk vault on a file system without hard links', () => kit({ link: noLink, capacity: 1e12 }, 250));

describe('a disk vault', () => {
  const places: string[] = [];
  const mounts: string[] = [];

  afterEach(async () => {
    for (const folder of mounts.splice(0)) await run('umount', [folder]);
    for (const place of places.splice(0)) await rm(place, { recursive: true, force: true });
  });

  async function emptyPlace(): Promise<string> {
    const place = await mkdtemp(join(tmpdir(), 'holdfast-vault-'));
    places.push(place);
    return place;
  }

  async function founded(root: string, options: Partial<DiskVaultOptions> = {}): Promise<DiskVault> {
    const vault = vaultAt(root, options);
    await createVaultIdentity(vault, { plan: 'plan', id: 'id', created: new Date() });
    return vault;
  }

  test('only its owner may look into it, and nobody writes to what is stored', async () => {
    const root = join(await emptyPlace(), 'deep', 'vault');
    const vault = await founded(root);
    await vault.putOnce('backups/a/daily/x/manifest.json', Buffer.from('x'));
    await vault.store('backups/a/daily/x', 'dump', inChunks(randomBytes(10)), { signal: never() });
    const modes: [string, number][] = [
      ['.', 0o700],
      ['backups', 0o700],
      ['backups/a/daily/x', 0o700],
      ['vault.json', 0o400],
      ['backups/a/daily/x/manifest.json', 0o400],
      ['backups/a/daily/x/dump', 0o400],
    ];
    for (const [path, mode] of modes) assert.equal((await stat(join(root, path))).mode & 0o777, mode, path);
  });

  test('I14: an unmounted mount point is not an empty vault, and no byte is put into it', async () => {
    const root = await emptyPlace();
    const vault = vaultAt(root);
    await rejects(readVaultIdentity(vault, 'plan'), VaultMissing);
    await rejects(keysOf(vault, ''), VaultMissing);
    await rejects(keysOf(vault, 'backups/'), VaultMissing);
    await rejects(Array.fromAsync(vault.folders('backups/')), VaultMissing);
    await rejects(vault.lastNumber('leases/a/backup/'), VaultMissing);
    await rejects(vault.putOnce('leases/a/backup/0000000001.json', Buffer.from('x')), VaultMissing);
    await rejects(vault.putAgain('RUNBOOK.md', Buffer.from('x')), VaultMissing);
    await rejects(vault.store('backups/a', 'x', inChunks(randomBytes(10)), { signal: never() }), VaultMissing);
    await rejects(vault.now(), VaultMissing);
    assert.deepEqual(await readdir(root), []);
    const error = await rejects(readVaultIdentity(vaultAt(join(root, 'absent')), 'plan'), VaultMissing);
    assert.match(error.hint ?? '', /check --create/);
  });

  test('a full disk is said to be full, and holds nothing half written', async () => {
    const root = await emptyPlace();
    if (await mount('-t', 'tmpfs', '-o', 'size=4m', 'none', root)) mounts.push(root);
    else await limitedInstead(root);
    const vault = await founded(root);
    if (mounts.length === 0) return;
    const free = (await vault.free()) ?? 0;
    assert.ok(free > 3e6 && free < 5e6, String(free));
    await vault.putOnce('backups/a/first', randomBytes(1_000_000));
    const folder = 'backups/a/daily/20261121T020000Z-7f3a';
    for (let round = 0; round < 2; round++) {
      const storing = vault.store(folder, 'dump', inChunks(randomBytes(6_000_000)), { signal: never() });
      const error = await rejects(storing, SpaceLacking);
      assert.match(error.message, /no space/);
      assert.ok(error.hint);
      await rejects(vault.putOnce('backups/a/second', randomBytes(5_000_000)), SpaceLacking);
      assert.deepEqual(await keysOf(vault, 'backups/'), ['backups/a/first']);
      assert.deepEqual(await readdir(join(root, '.incoming')), []);
    }
    await vault.store(folder, 'dump', inChunks(randomBytes(1_000_000)), { signal: never() });
  });

  /** Without root: the same error from the device that is always full. */
  async function limitedInstead(root: string): Promise<void> {
    const full = await open('/dev/full', 'w');
    const error = await full.writeFile('x').catch((thrown: unknown) => thrown);
    await full.close();
    assert.ok(diskError(error, 'store', 'x', root) instanceof SpaceLacking);
  }

  test('a read-only vault can be read, and says that it is read-only when written', async () => {
    const root = await emptyPlace();
    const vault = await founded(root);
    await vault.putOnce('backups/a/x', Buffer.from('x'));
    if (await mount('--bind', root, root)) {
      mounts.push(root);
      await run('mount', ['-o', 'remount,ro,bind', root]);
    } else await chmod(join(root, '.incoming'), 0o500);
    for (const writing of [
      () => vault.putOnce('backups/a/y', Buffer.from('y')),
      () => vault.putAgain('RUNBOOK.md', Buffer.from('y')),
      () => vault.store('backups/a', 'z', inChunks(randomBytes(10)), { signal: never() }),
    ]) {
      const error = await rejects(writing(), VaultRefused);
      assert.match(error.message, /read-only|permission denied/);
    }
    assert.equal(Buffer.from(await vault.get('backups/a/x')).toString(), 'x');
    assert.equal((await readVaultIdentity(vault, 'plan')).id, 'id');
    assert.ok(Math.abs((await vault.now()).getTime() - Date.now()) < 5000);
    await chmod(join(root, '.incoming'), 0o700).catch(() => undefined);
  });

  test('I2: one byte changed on the disk between writing and comparing is caught, in any volume', async () => {
    for (const volume of [1, 2]) {
      let compared = 0;
      const root = await emptyPlace();
      const vault = await founded(root, {
        beforeCompare: async (path) => {
          if (++compared !== volume) return;
          await chmod(path, 0o600);
          const file = await open(path, 'r+');
          const byte = Buffer.alloc(1);
          await file.read(byte, 0, 1, 1234);
          await file.write(Buffer.from([(byte[0] as number) ^ 4]), 0, 1, 1234);
          await file.close();
        },
      });
      const storing = vault.store('backups/a', 'dump', inChunks(randomBytes(VOLUME + 5000)), { signal: never() });
      const error = await rejects(storing, StoredBytesDiffer);
      assert.match(error.message, /sha256 [0-9a-f]{64}.*sha256|sha256 [0-9a-f]{64}, sent were \d+ with [0-9a-f]{64}/);
      assert.equal(compared, volume);
      assert.deepEqual(await keysOf(vault, 'backups/'), []);
      assert.deepEqual(await readdir(join(root, '.incoming')), []);
    }
  });

  test('I2: bytes that a disk lost are caught', async () => {
    const vault = await founded(await emptyPlace(), {
      beforeCompare: async (path) => {
        await chmod(path, 0o600);
        const file = await open(path, 'r+');
        await file.truncate(100);
        await file.close();
      },
    });
    const storing = vault.store('backups/a', 'dump', inChunks(randomBytes(5000)), { signal: never() });
    assert.match((await rejects(storing, StoredBytesDiffer)).message, /gives back 100 bytes/);
  });

  test('a machine without a usable dd still compares', async () => {
    const empty = createProcesses({ PATH: '/nonexistent' }, new AbortController().signal, null);
    const failing = { ...empty, run: () => empty.run({ program: '/bin/false', args: [] }) };
    for (const tools of [failing, { ...empty, run: () => empty.run({ program: '/no/such/dd', args: [] }) }]) {
      const vault = await founded(await emptyPlace(), { processes: tools, direct: false });
      const bytes = randomBytes(5000);
      await vault.store('backups/a', 'dump', inChunks(bytes), { signal: never() });
      assert.ok((await toBuffer(await vault.open('backups/a/dump'))).equals(bytes));
    }
  });

  test('what a killed run left on its way is swept by a later put, and what is being written is not', async () => {
    const root = await emptyPlace();
    const vault = await founded(root);
    const [left, living] = [join(root, '.incoming', 'left'), join(root, '.incoming', 'living')];
    for (const path of [left, living]) await writeFile(path, 'half');
    const [old, recent] = [new Date(Date.now() - 2 * HOUR), new Date(Date.now() - HOUR / 2)];
    await utimes(left, old, old);
    await utimes(living, recent, recent);
    await vault.putOnce('backups/a/x', Buffer.from('x'));
    assert.deepEqual(await readdir(join(root, '.incoming')), ['living']);
    assert.deepEqual(await keysOf(vault, ''), ['backups/a/x', 'vault.json']);
  });

  test('I1: a put that is killed at any moment leaves the whole record or none', async () => {
    const root = await emptyPlace();
    const vault = await founded(root);
    const script = `
      import { DiskVault } from '#vault/disk-vault';
      import { createProcesses } from '#host/processes';
      const processes = createProcesses(process.env, new AbortController().signal, null);
      const vault = new DiskVault({ name: 'v', root: process.argv[1], processes });
      console.log('ready');
      for (let n = 0; ; n++) await vault.putOnce(\`backups/\${process.pid}/\${n}\`, Buffer.alloc(20000, 'x'));`;
    let keys: readonly string[] = [];
    // A slow machine comes to few puts in each.
    for (let round = 0; round < 8 || (keys.length <= 10 && round < 60); round++) {
      const writer = execFile(process.execPath, ['--input-type=module-typescript', '-e', script, root]);
      await new Promise((resolve) => writer.stdout?.once('data', resolve));
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 60));
      const ended = new Promise((resolve) => writer.once('close', resolve));
      writer.kill('SIGKILL');
      await ended;
      keys = await keysOf(vault, 'backups/');
    }
    assert.ok(keys.length > 10);
    for (const key of keys) assert.equal((await vault.get(key)).length, 20_000);
  });

  test('a symbolic link out of the vault is refused for reading, writing and listing', async () => {
    const place = await emptyPlace();
    const vault = await founded(join(place, 'vault'));
    await mkdir(join(place, 'outside'));
    await writeFile(join(place, 'outside', 'secret'), 'secret');
    await vault.putOnce('backups/a/x', Buffer.from('x'));
    await symlink(join(place, 'outside'), join(place, 'vault', 'backups', 'out'));
    await symlink(join(place, 'outside', 'secret'), join(place, 'vault', 'backups', 'a', 'file'));
    await symlink(join(place, 'nowhere'), join(place, 'vault', 'nowhere'));
    const body = Buffer.from('x');
    for (const call of [
      () => vault.get('backups/out/secret'),
      () => vault.open('backups/a/file'),
      () => vault.putOnce('backups/out/new', body),
      () => vault.putOnce('backups/out/deep/new', body),
      () => vault.putAgain('backups/out/new', body),
      () => vault.store('backups/out', 'new', inChunks(randomBytes(10)), { signal: never() }),
      () => vault.remove('backups/out/secret'),
      () => keysOf(vault, 'backups/'),
      () => keysOf(vault, ''),
      () => Array.fromAsync(vault.folders('backups/')),
    ]) {
      const error = await rejects(call(), UnsafePath);
      assert.ok(error.hint);
    }
    assert.deepEqual(await readdir(join(place, 'outside')), ['secret']);
    assert.equal(await readFile(join(place, 'outside', 'secret'), 'utf8'), 'secret');
    assert.deepEqual(await readdir(join(place, 'vault', '.incoming')), []);
  });

  test('a pipe or a folder in a record’s place is no record, and nobody waits for it', {
    timeout: 10_000,
  }, async () => {
    const place = await emptyPlace();
    const vault = await founded(place);
    await vault.putOnce('backups/a/x', Buffer.from('x'));
    await run('mkfifo', [join(place, 'backups', 'a', 'pipe')]);
    await mkdir(join(place, 'backups', 'a', 'folder'));
    for (const name of ['pipe', 'folder', 'x/y', 'absent']) await rejects(vault.get(`backups/a/${name}`), KeyMissing);
    assert.equal(Buffer.from(await vault.get('backups/a/x')).toString(), 'x');
  });

  test('a vault that is itself a symbolic link works', async () => {
    const place = await emptyPlace();
    await mkdir(join(place, 'real'));
    await symlink(join(place, 'real'), join(place, 'link'));
    const vault = await founded(join(place, 'link'));
    await vault.putOnce('backups/a/x', Buffer.from('x'));
    assert.deepEqual(await keysOf(vaultAt(join(place, 'real')), 'backups/'), ['backups/a/x']);
  });

  test('files that are not ours are not told and not harmed', async () => {
    const root = await emptyPlace();
    const vault = await founded(root);
    await vault.putOnce('backups/a/x', Buffer.from('x'));
    await mkdir(join(root, 'lost+found'));
    for (const name of ['my notes.txt', '.DS_Store', 'backups/ä', 'backups/a/.x.swp'])
      await writeFile(join(root, name), '');
    assert.deepEqual(await keysOf(vault, ''), ['backups/a/x', 'vault.json']);
    await vault.remove('backups/a/x');
    await access(join(root, 'backups/a/.x.swp'), constants.R_OK);
  });

  test('a folder in the place of a file, and a file in the place of a folder, are said to be that', async () => {
    const root = await emptyPlace();
    const vault = await founded(root);
    await vault.putOnce('backups/a', Buffer.from('x'));
    await rejects(vault.putOnce('backups/a/b', Buffer.from('x')), VaultRefused);
    await mkdir(join(root, 'logs'));
    await rejects(vault.putOnce('logs', Buffer.from('x')), KeyExists);
    await rejects(vault.get('logs'), KeyMissing);
    await rejects(vaultAt(join(root, 'vault.json')).get('x'), VaultMissing);
  });

  test('a damaged vault.json and one of a newer format are refused, each in its words', async () => {
    const root = await emptyPlace();
    const vault = await founded(root);
    await chmod(join(root, 'vault.json'), 0o600);
    for (const [text, words] of [
      ['{', /not JSON/],
      ['{"format":2,"id":"x"}', /format 2/],
      ['{"format":1}', /not a vault's/],
      ['null', /not a vault's/],
    ] as const) {
      await writeFile(join(root, 'vault.json'), text);
      await assert.rejects(readVaultIdentity(vault, 'plan'), words);
    }
  });

  test('capacity is what the vault may hold, however big the disk', async () => {
    const root = await emptyPlace();
    const vault = await founded(root, { capacity: 1_000_000 });
    await vault.putOnce('backups/a/x', randomBytes(400_000));
    const free = (await vault.free()) ?? 0;
    assert.ok(free <= 600_000 && free > 590_000, String(free));
    await vault.putOnce('backups/a/y', randomBytes(700_000));
    assert.equal(await vault.free(), 0);
  });

  test('what the system says is told as what it means', () => {
    const said = (code: string): Error =>
      diskError(Object.assign(new Error(`${code}: x`), { code, errno: -1 }), 'store', 'backups/x', '/mnt/vault');
    for (const code of ['EIO', 'ENOTCONN', 'ESTALE', 'ETIMEDOUT', 'EHOSTDOWN'])
      assert.ok(said(code) instanceof VaultUnreachable, code);
    for (const code of ['ENOSPC', 'EDQUOT']) assert.ok(said(code) instanceof SpaceLacking, code);
    for (const code of ['EROFS', 'EACCES', 'EPERM']) assert.ok(said(code) instanceof VaultRefused, code);
    for (const code of ['EIO', 'ENOSPC', 'EROFS']) {
      const error = said(code) as VaultUnreachable;
      assert.match(error.message, new RegExp(`backups/x in /mnt/vault: ${code}`));
      assert.ok(error.hint);
    }
    const defect = new TypeError('a defect stays a defect');
    assert.equal(diskError(defect, 'store', 'x', '/'), defect);
  });
});

test('a capacity larger than the disk is the disk: an empty vault on a small one is not nearly full', async () => {
  const root = await mkdtemp(join(tmpdir(), 'holdfast-total-'));
  try {
    const vault = vaultAt(root);
    await createVaultIdentity(vault, { plan: 'shop', id: 'x', created: new Date() });
    const disk = (await vault.total()) as number;
    assert.equal(await vaultAt(root, { capacity: disk * 20 }).total(), disk);
    assert.equal(await vaultAt(root, { capacity: 1000 }).total(), 1000);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
});
