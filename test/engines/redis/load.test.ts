import { strict as assert } from 'node:assert';
import { spawnSync } from 'node:child_process';
import { appendFile, chmod, mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { HoldfastError } from '#core/errors';
import { sha256Hex } from '#core/manifest';
import type { OpenBackup, RunContext, SourceRef } from '#core/ports';
import { redis } from '#engines/redis/engine';
import { openRun } from '#test/contracts/run-context';
import { livingProcesses } from '#test/contracts/seen-processes';
import { type StoredBackup, storeCapture } from '#test/contracts/stored-backup';
import { commands, write } from '#test/engines/redis/contents';
import { fillWithEverything } from '#test/engines/redis/data';
import { createBench, sourceOf } from '#test/engines/redis/kit';
import type { RedisServer } from '#test/servers/redis';

const bench = createBench();
after(() => bench.clear());

interface Taken {
  readonly source: SourceRef;
  readonly stored: StoredBackup;
  readonly run: RunContext;
  /** The artifact, as it lies. */
  readonly file: string;
}

async function withBackup(
  fill: (server: RedisServer) => Promise<unknown>,
  work: (taken: Taken) => Promise<void>,
  config: readonly string[] = [],
): Promise<void> {
  const server = await bench.server({ config });
  await fill(server);
  const source = sourceOf(`redis://127.0.0.1:${server.port}`);
  const { run, close } = await openRun();
  try {
    const capture = await redis.capture(source, run);
    try {
      const stored = await storeCapture(capture, source, run);
      await work({ source, stored, run, file: join(stored.folder, 'dump.rdb') });
      await stored.remove();
    } finally {
      await capture.close();
    }
  } finally {
    await close();
  }
}

/** The same backup, its hash forgotten: only what the engine's own tools see can tell. */
async function asIfCapturedSo({ stored, run, file }: Taken): Promise<OpenBackup> {
  const backup = stored.backup(run, { through: 'child', trusting: true });
  const bytes = await readFile(file);
  return {
    ...backup,
    async fingerprint() {
      const fingerprint = (await backup.fingerprint()) as { rdb: { sha256: string; bytes: number } };
      return { ...fingerprint, rdb: { ...fingerprint.rdb, sha256: sha256Hex(bytes), bytes: bytes.length } };
    },
  };
}

async function proof({ source, run }: Taken, backup: OpenBackup, change?: readonly (readonly string[])[]) {
  const copy = await redis.load(backup, source, run);
  try {
    if (change) {
      const socket = copy.where.replace('unix://', '');
      const { stdout } = spawnSync('redis-cli', ['-s', socket, '--pipe'], { input: commands(change) });
      assert.match(String(stdout), /errors: 0,/);
    }
    return await copy.compare();
  } finally {
    await copy.close();
  }
}

function isDisproven(pattern: RegExp): (error: HoldfastError) => true {
  return (error) => {
    assert.equal(error.code, 'disproven', error.message);
    assert.match(error.message, pattern);
    return true;
  };
}

function isInconclusive(pattern: RegExp): (error: HoldfastError) => true {
  return (error) => {
    assert.equal(error.code, 'not-provable-here', error.message);
    assert.match(error.message, pattern);
    assert.notEqual(error.hint, null);
    return true;
  };
}

test('a difference names database, type and number, and no key', async () => {
  await withBackup(fillWithEverything, async (taken) => {
    const backup = taken.stored.backup(taken.run, { through: 'child' });
    const found = await proof(taken, backup, [
      ['SET', 'number', '12346'],
      ['HSET', 'hash', 'field', 'other'],
      ['SREM', 'set', 'member-1'],
      ['XGROUP', 'DESTROY', 'stream', 'workers'],
      ['FUNCTION', 'DELETE', 'mylib'],
      ['SELECT', '3'],
      ['DEL', 'list'],
      ['SET', 'more', '1'],
      ['SELECT', '15'],
      ['PEXPIRE', 'in-fifteen', '99999999'],
    ]);
    assert.deepEqual([...found].sort(), [
      'db 0: hash with another value (1 key)',
      'db 0: set with another value (1 key)',
      'db 0: stream with other ids or consumer groups (1 key)',
      'db 0: string with another value (1 key)',
      'db 15: string with another expiry (1 key)',
      'db 3: list missing (1 key)',
      'db 3: string that was not captured (1 key)',
      'functions: other libraries than were captured',
    ]);
  });
});

test('peers 3H: keys whose time comes before, during and after the load are no false alarm', async () => {
  await withBackup(
    async (server) => {
      await server.cli(['DEBUG', 'SET-ACTIVE-EXPIRE', '0']);
      const soon = Array.from({ length: 400 }, (_, index) => ['SET', `soon${index}`, 'x', 'PX', String(1 + index * 5)]);
      await write(server, [...soon, ['SET', 'later', 'x', 'EX', '5000'], ['SET', 'stays', 'x']]);
    },
    async (taken) => {
      const copy = await redis.load(taken.stored.backup(taken.run, { through: 'child' }), taken.source, taken.run);
      try {
        assert.deepEqual(await copy.compare(), []);
        await wait(2100);
        assert.deepEqual(await copy.compare(), []);
      } finally {
        await copy.close();
      }
    },
  );
});

test('a flipped byte is seen by redis-check-rdb, even where no hash was kept', async () => {
  await withBackup(fillWithEverything, async (taken) => {
    await taken.stored.damage(0.4);
    await assert.rejects(proof(taken, await asIfCapturedSo(taken)), isDisproven(/redis-check-rdb refuses the backup/));
  });
});

test('a truncated RDB is seen, even where no hash was kept', async () => {
  await withBackup(fillWithEverything, async (taken) => {
    await truncate(taken.file, (await readFile(taken.file)).length - 9);
    await assert.rejects(proof(taken, await asIfCapturedSo(taken)), isDisproven(/redis-check-rdb refuses the backup/));
  });
});

test('junk behind the end, of which redis-check-rdb says OK, is seen', async () => {
  await withBackup(fillWithEverything, async (taken) => {
    await appendFile(taken.file, 'x'.repeat(40));
    assert.match(String(spawnSync('redis-check-rdb', [taken.file]).stdout), /RDB looks OK/);
    await assert.rejects(proof(taken, await asIfCapturedSo(taken)), isDisproven(/40 bytes of junk/));
  });
});

test('keys that are not those that were counted at capture are seen', async () => {
  await withBackup(fillWithEverything, async (taken) => {
    const backup = await asIfCapturedSo(taken);
    const fewer: OpenBackup = {
      ...backup,
      async fingerprint() {
        const fingerprint = (await backup.fingerprint()) as { keys: { read: number } };
        return { ...fingerprint, keys: { ...fingerprint.keys, read: fingerprint.keys.read - 1 } };
      },
    };
    await assert.rejects(proof(taken, fewer), isDisproven(/\d+ keys, \d+ were captured/));
  });
});

test('peers 3H: an RDB version that is newer than the server here is inconclusive, not disproven', async () => {
  await withBackup(fillWithEverything, async (taken) => {
    const bytes = await readFile(taken.file);
    bytes.write('REDIS0099', 'latin1');
    await writeFile(taken.file, bytes);
    await assert.rejects(proof(taken, await asIfCapturedSo(taken)), isInconclusive(/RDB format version 99/));
  });
});

test('peers 3H: data of a module that is not here is inconclusive, not disproven', async () => {
  await withBackup(
    async () => undefined,
    async (taken) => {
      // RDB 10 with MODULE_AUX of an unknown module, and no checksum.
      const id = moduleId('nosuchmod', 1);
      const rdb = Buffer.concat([
        Buffer.from('REDIS0010'),
        Buffer.from([0xf7, 0x81]),
        id,
        Buffer.from([2, 2, 0, 0xff]),
        Buffer.alloc(8),
      ]);
      await writeFile(taken.file, rdb);
      const backup = await asIfCapturedSo(taken);
      await assert.rejects(proof(taken, backup), isInconclusive(/module/));
    },
  );
});

test('peers 3H: no redis-server in the directory the plan names is inconclusive', async () => {
  await withBackup(fillWithEverything, async (taken) => {
    const bin = await bench.directory();
    const settings = { ...taken.source.settings, prove: { with: { bin } } };
    const backup = taken.stored.backup(taken.run, { through: 'child' });
    const elsewhere = { ...taken, source: { ...taken.source, settings } };
    await assert.rejects(proof(elsewhere, backup), isInconclusive(/redis-server/));
  });
});

test('Valkey: its programs are found by their own names', async () => {
  await withBackup(fillWithEverything, async (taken) => {
    // The same programs under the other name: what differs beyond it cannot be tried without Valkey installed.
    const bin = join(await bench.directory(), 'bin');
    await mkdir(bin);
    for (const name of ['server', 'check-rdb']) {
      await writeFile(join(bin, `valkey-${name}`), `#!/bin/sh\nexec redis-${name} "$@"\n`);
      await chmod(join(bin, `valkey-${name}`), 0o755);
    }
    const settings = { ...taken.source.settings, prove: { with: { bin } } };
    const backup = taken.stored.backup(taken.run, { through: 'child' });
    assert.deepEqual(await proof({ ...taken, source: { ...taken.source, settings } }, backup), []);
  });
});

test('databases beyond the usual sixteen are loaded', async () => {
  await withBackup(
    (server) => server.cli(['-n', '99', 'SET', 'far', 'away']),
    async (taken) => {
      assert.deepEqual(await proof(taken, taken.stored.backup(taken.run, { through: 'child' })), []);
    },
    ['databases 100'],
  );
});

test('a scratch server that is killed while it loads is inconclusive, and leaves nothing', async () => {
  await withBackup(
    (server) => server.cli(['DEBUG', 'POPULATE', '300000', 'key', '200']),
    async (taken) => {
      const loading = proof(taken, taken.stored.backup(taken.run, { through: 'child' }));
      loading.catch(() => undefined);
      const killed = await killWhenSeen(taken.run.scratch);
      assert.ok(killed, 'no scratch server was seen');
      await assert.rejects(loading, isInconclusive(/was killed while loading/));
    },
  );
});

/** Kills the scratch server as soon as there is one. */
async function killWhenSeen(scratch: string): Promise<boolean> {
  for (let tries = 0; tries < 1000; tries++, await wait(5)) {
    const server = livingProcesses(scratch).find(
      ({ args }) => args[0]?.includes('redis-server') && args[1] !== '--version',
    );
    if (!server) continue;
    process.kill(server.pid, 'SIGKILL');
    return true;
  }
  return false;
}

/** Nine letters of six bits, ten bits of version. */
function moduleId(name: string, version: number): Buffer {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  let id = 0n;
  for (const letter of name) id = (id << 6n) | BigInt(letters.indexOf(letter));
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE((id << 10n) | BigInt(version));
  return bytes;
}
