import { strict as assert } from 'node:assert';
import { spawnSync } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { HoldfastError } from '#core/errors';
import type { CheckLine, RunContext, SourceRef } from '#core/ports';
import { snapshotTime } from '#engines/redis/capture';
import { redis } from '#engines/redis/engine';
import { readFingerprint } from '#engines/redis/fingerprint';
import { openRun } from '#test/contracts/run-context';
import { watchArguments } from '#test/contracts/seen-processes';
import { storeCapture } from '#test/contracts/stored-backup';
import { write } from '#test/engines/redis/contents';
import { fillWithEverything } from '#test/engines/redis/data';
import { createBench, sourceOf } from '#test/engines/redis/kit';

const bench = createBench();
after(() => bench.clear());

const LEAST = '-@all +ping +info +replconf +sync';

async function inRun<T>(work: (run: RunContext) => Promise<T>): Promise<T> {
  const { run, close } = await openRun();
  try {
    return await work(run);
  } finally {
    await close();
  }
}

/** Captures and stores as a job would; the scratch directory must be empty afterwards, however it went. */
async function backUp(source: SourceRef): Promise<ReturnType<typeof readFingerprint>> {
  return inRun(async (run) => {
    try {
      const capture = await redis.capture(source, run);
      try {
        const stored = await storeCapture(capture, source, run);
        await stored.remove();
        return readFingerprint(stored.result.fingerprint);
      } finally {
        await capture.close();
      }
    } finally {
      const left = (await readdir(run.scratch)).filter((name) => name !== 'pids');
      assert.deepEqual(left, [], 'something is left in the scratch directory');
    }
  });
}

async function linesOf(source: SourceRef): Promise<readonly CheckLine[]> {
  return inRun(async (run) => {
    const lines: CheckLine[] = [];
    for await (const line of redis.check(source, run)) lines.push(line);
    return lines;
  });
}

/** Both the capture and the check must say it. */
async function refused(source: SourceRef, code: string, message: RegExp, hint: RegExp): Promise<void> {
  await assert.rejects(backUp(source), (error: HoldfastError) => {
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    assert.match(error.hint ?? '', hint);
    return true;
  });
  const wrong = (await linesOf(source)).filter(({ ok }) => ok === false);
  assert.ok(
    wrong.some((line) => message.test(line.message) && hint.test(line.hint ?? '')),
    JSON.stringify(wrong),
  );
}

test('peers 3A (DBackup #154): a wrong password never yields a backup', async () => {
  const server = await bench.server({ config: ['requirepass right'], password: 'right' });
  await refused(
    sourceOf(`redis://:wrong@127.0.0.1:${server.port}`),
    'source-refused',
    /refuses the password/,
    /percent-encode/,
  );
});

test('peers 3A: a wrong password is an error even where the default user needs none', async () => {
  const server = await bench.server({ acl: ['user default on nopass ~* +@all', 'user backup on >right ~* +@all'] });
  const url = `redis://backup:wrong@127.0.0.1:${server.port}`;
  await refused(sourceOf(url), 'source-refused', /refuses the password of user backup/, /percent-encode/);
});

test('a password for a server that has none is an error: it may be another server', async () => {
  const server = await bench.server();
  const url = `redis://:some@127.0.0.1:${server.port}`;
  await refused(sourceOf(url), 'source-refused', /has no password, and the url brings one/, /requirepass/);
});

test('no password where one is wanted', async () => {
  const server = await bench.server({ config: ['requirepass right'], password: 'right' });
  await refused(
    sourceOf(`redis://127.0.0.1:${server.port}`),
    'source-refused',
    /wants a password/,
    /redis:\/\/:PASSWORD@host/,
  );
});

test('a wrong port, host, or socket is unreachable', async () => {
  await refused(
    sourceOf('redis://127.0.0.1:1'),
    'source-unreachable',
    /127\.0\.0\.1:1.*Connection refused/,
    /host and port/,
  );
  await refused(sourceOf('redis://nowhere.invalid'), 'source-unreachable', /nowhere\.invalid/, /host and port/);
  await refused(sourceOf('unix:///nowhere/redis.sock'), 'source-unreachable', /No such file/, /host and port/);
});

for (const [lacking, rights] of [
  ['sync', '-@all +ping +info +replconf'],
  ['info', '-@all +ping +sync +replconf'],
] as const)
  test(`a user without +${lacking} is refused, and the hint is the ACL line that mends it`, async () => {
    const server = await bench.server({ acl: ['user default on nopass ~* +@all', `user few on >pw ${rights}`] });
    const source = sourceOf(`redis://few:pw@127.0.0.1:${server.port}`);
    await refused(
      source,
      'source-refused',
      new RegExp(`NOPERM.*${lacking}`),
      new RegExp(`ACL SETUSER few .*${LEAST.replaceAll('+', '\\+')}`),
    );
    await server.cli(['ACL', 'SETUSER', 'few', ...LEAST.split(' ')]);
    await backUp(source);
    assert.deepEqual(
      (await linesOf(source)).filter(({ ok }) => ok === false),
      [],
    );
  });

test('a managed service without SYNC is unsupported, and said so', async () => {
  const server = await bench.server({ config: ['rename-command SYNC ""'] });
  const source = sourceOf(`redis://127.0.0.1:${server.port}`);
  await refused(source, 'source-unsupported', /unknown command 'SYNC'/, /managed service/);
});

test('a cluster is refused: one shard is not the cache', async () => {
  const server = await bench.server({ config: ['cluster-enabled yes'] });
  const source = sourceOf(`redis://127.0.0.1:${server.port}`);
  await refused(source, 'source-unsupported', /one node of a cluster/, /stands alone/);
});

test('a sentinel is refused: it holds no data', async () => {
  const dir = await bench.directory();
  const server = await bench.server({ dir, sentinel: true });
  await refused(
    sourceOf(`redis://127.0.0.1:${server.port}`),
    'source-unsupported',
    /is a sentinel/,
    /server it watches/,
  );
});

test('a server that is loading is unreachable for now, and the run may be repeated', async () => {
  const server = await bench.server();
  await server.cli(['DEBUG', 'POPULATE', '100000', 'key', '100']);
  await server.cli(['SAVE']);
  await server.stop();
  // Microseconds a key.
  const slow = await bench.server({
    dir: server.dir,
    config: ['key-load-delay 100', 'loading-process-events-interval-bytes 1024'],
  });
  await assert.rejects(backUp(sourceOf(`redis://127.0.0.1:${slow.port}`)), (error: HoldfastError) => {
    assert.equal(error.code, 'source-unreachable', error.message);
    assert.equal(error.retryable, true);
    assert.match(error.message, /still loading its data/);
    return true;
  });
});

test('TLS: by a CA file in the url; a certificate nobody vouches for is refused; so is plain text', async () => {
  const server = await bench.server({ tls: true });
  await fillWithEverything(server);
  const { ca, cert, key } = server.tls as NonNullable<typeof server.tls>;
  const place = `127.0.0.1:${server.port}`;
  const options = `cacert=${encodeURIComponent(ca)}&cert=${encodeURIComponent(cert)}&key=${encodeURIComponent(key)}`;
  assert.equal((await backUp(sourceOf(`rediss://${place}?${options}`))).keys?.databases?.length, 3);
  await refused(sourceOf(`rediss://${place}`), 'source-unreachable', /certificate verify failed/, /cacert/);
  await refused(sourceOf(`redis://${place}`), 'source-unreachable', /does not answer/, /rediss:\/\//);
});

test('a unix socket, with user, password and a database number', async () => {
  const server = await bench.server({ acl: ['user default off', `user backup on >p@w ${LEAST}`] });
  const source = sourceOf(`unix://backup:p%40w@${server.socket}?db=3`);
  assert.equal((await backUp(source)).keys?.read, 0);
  const scope = (await linesOf(source)).filter(({ name }) => name === 'scope').map(({ message }) => message);
  assert.match(scope.join('\n'), /database 3: an RDB is always the whole server/);
  assert.match(scope.join('\n'), /ACL users are not part/);
});

test('the fingerprint counts the keys of each database, those that expire, and those that are over already', async () => {
  const server = await bench.server();
  await write(server, [
    ['SET', 'a', '1'],
    ['SET', 'b', '1', 'EX', '1000'],
    ['SELECT', '9'],
    ['SET', 'c', '1'],
  ]);
  await server.cli(['DEBUG', 'SET-ACTIVE-EXPIRE', '0']);
  await server.cli(['SET', 'over', '1', 'PX', '1']);
  const { keys, rdb, server: told } = await backUp(sourceOf(`redis://127.0.0.1:${server.port}`));
  assert.deepEqual(keys, {
    read: 4,
    expires: 2,
    expired: 1,
    databases: [
      { index: 0, keys: 3, expires: 2 },
      { index: 9, keys: 1, expires: 0 },
    ],
  });
  assert.equal(rdb.magic, 'REDIS');
  assert.match(told.version, /^\d+\.\d+/);
});

test('peers 3F (GoBackup): what is captured is the server now, not a stale dump.rdb on its disk, and nothing is switched off', async () => {
  const server = await bench.server({ config: ['save 3600 1'] });
  await server.cli(['SET', 'old', '1']);
  await server.cli(['SAVE']);
  await write(server, [
    ['SET', 'new', '1'],
    ['SET', 'newer', '1'],
  ]);
  assert.equal((await backUp(sourceOf(`redis://127.0.0.1:${server.port}`))).keys?.read, 3);
  assert.match(await server.cli(['CONFIG', 'GET', 'save']), /3600 1/);
});

test('I7, peers 3F (GoBackup): the password is in no argument list', async () => {
  const server = await bench.server({ config: ['requirepass very-secret-word'], password: 'very-secret-word' });
  await server.cli(['DEBUG', 'POPULATE', '50000', 'key', '100']);
  const source = sourceOf(`redis://:very-secret-word@127.0.0.1:${server.port}`);
  const watch = watchArguments(server.dir);
  let seen: readonly string[];
  try {
    await backUp(source);
    await linesOf(source);
  } finally {
    seen = watch.stop();
  }
  assert.ok(
    seen.some((args) => args.includes('--rdb')),
    'the watcher saw no transfer',
  );
  assert.deepEqual(
    seen.filter((args) => args.includes('very-secret-word')),
    [],
  );
});

test('I2: a scratch disk that fills up is named, and no backup comes of it', async () => {
  const server = await bench.server();
  await server.cli(['DEBUG', 'POPULATE', '50000', 'key', '100']);
  const source = sourceOf(`redis://127.0.0.1:${server.port}`);
  await inRun(async (run) => {
    const scratch = join(run.scratch, 'tiny');
    const mounted = spawnSync('sh', ['-c', 'mkdir "$1" && mount -t tmpfs -o size=256k tmpfs "$1"', 'sh', scratch]);
    assert.equal(mounted.status, 0, `a small disk cannot be mounted: ${mounted.stderr}`);
    try {
      await assert.rejects(redis.capture(source, { ...run, scratch }), (error: HoldfastError) => {
        assert.equal(error.code, 'space-lacking', error.message);
        assert.match(error.message, /scratch directory's disk was full/);
        return true;
      });
      assert.deepEqual(await readdir(scratch), []);
    } finally {
      spawnSync('umount', [scratch]);
    }
  });
});

test('a replica whose master is gone is named by the check', async () => {
  const server = await bench.server({ config: ['replicaof 127.0.0.1 1'] });
  const lines = await linesOf(sourceOf(`redis://127.0.0.1:${server.port}`));
  const line = lines.find(({ name }) => name === 'replica');
  assert.equal(line?.ok, false);
  assert.match(line?.message ?? '', /link to its master is down/);
});

test('the check says how long each backup waits for the server', async () => {
  const server = await bench.server({ config: ['repl-diskless-sync-delay 5'] });
  const lines = await linesOf(sourceOf(`redis://127.0.0.1:${server.port}`));
  assert.match(lines.find(({ name }) => name === 'delay')?.message ?? '', /waits 5 s/);
  assert.equal(lines.find(({ name }) => name === 'rights')?.ok, true);
});

test('probes are refused, not ignored', async () => {
  const server = await bench.server();
  const plain = sourceOf(`redis://127.0.0.1:${server.port}`);
  const source = { ...plain, settings: { ...plain.settings, probes: { size: 'DBSIZE' } } };
  await refused(source, 'source-unsupported', /probes do not work for redis/, /take them out/);
});

test("the identity names the address and the dataset's history, over a restart soon after a backup too", async () => {
  const server = await bench.server();
  const source = sourceOf(`redis://127.0.0.1:${server.port}`);
  await server.cli(['SET', 'a', '1']);
  await backUp(source);
  const { identity } = await inRun((run) => redis.inspect(source, run));
  assert.equal(identity['address'], `redis://127.0.0.1:${server.port}`);
  // The child that sent the RDB file may live a moment longer.
  while (/rdb_bgsave_in_progress:1/.test(await server.cli(['INFO', 'persistence']))) await wait(10);
  await server.cli(['SAVE']);
  await server.stop();
  const again = await bench.server({ dir: server.dir });
  const later = await inRun((run) => redis.inspect(sourceOf(`redis://127.0.0.1:${again.port}`), run));
  assert.notEqual(later.identity['replid'], identity['replid']);
  assert.equal(later.identity['formerReplid'], identity['replid']);
});

test('snapshotAt is when it was asked for, or the time of an older save that was handed out, on our clock', () => {
  const asked = new Date('2026-11-21T02:00:00.500Z');
  const second = asked.getTime() / 1000;
  assert.deepEqual(snapshotTime(asked, String(Math.floor(second)), 0), asked);
  assert.deepEqual(snapshotTime(asked, String(Math.floor(second + 5)), 0), asked);
  assert.deepEqual(snapshotTime(asked, String(Math.floor(second - 60)), 0), new Date('2026-11-21T01:59:00Z'));
  assert.deepEqual(snapshotTime(asked, String(Math.floor(second + 3600)), 3_600_000), asked);
  assert.deepEqual(snapshotTime(asked, undefined, 0), asked);
  assert.deepEqual(snapshotTime(asked, '1', null), asked);
});
