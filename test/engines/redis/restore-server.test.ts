import { strict as assert } from 'node:assert';
import { after, before, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { HoldfastError } from '#core/errors';
import type { RestoreOutcome, RunContext } from '#core/ports';
import { redis } from '#engines/redis/engine';
import { openRun, type TestRun } from '#test/contracts/run-context';
import { watchArguments } from '#test/contracts/seen-processes';
import { type StoredBackup, storeCapture } from '#test/contracts/stored-backup';
import { contentsOf, write } from '#test/engines/redis/contents';
import { fillWithEverything, fillWithOddNames } from '#test/engines/redis/data';
import { createBench, sourceOf } from '#test/engines/redis/kit';
import type { RedisServer } from '#test/servers/redis';
import { until } from '#test/until';

const bench = createBench();
let opened: TestRun;
let run: RunContext;
let everything: StoredBackup;
let expected: string;

before(async () => {
  opened = await openRun();
  run = opened.run;
  const server = await bench.server();
  await fillWithEverything(server);
  expected = await contentsOf(server);
  everything = await backUp(server);
});

after(async () => {
  await everything.remove();
  await opened.close();
  await bench.clear();
});

async function backUp(server: RedisServer): Promise<StoredBackup> {
  const source = sourceOf(`redis://127.0.0.1:${server.port}`);
  const capture = await redis.capture(source, run);
  try {
    return await storeCapture(capture, source, run);
  } finally {
    await capture.close();
  }
}

function restore(
  target: string,
  options: { only?: readonly string[]; overwrite?: boolean; stored?: StoredBackup } = {},
): Promise<RestoreOutcome> {
  const request = { target, only: options.only ?? [], overwrite: options.overwrite ?? false };
  return redis.restore((options.stored ?? everything).backup(run, { through: 'child' }), request, null, run);
}

function look(target: string, options: { only?: readonly string[]; overwrite?: boolean } = {}): Promise<void> {
  const request = { target, only: options.only ?? [], overwrite: options.overwrite ?? false };
  return redis.lookAtTarget(everything.backup(run, { through: 'child' }), request, null, run);
}

async function failsWith(work: Promise<unknown>, code: string, message: RegExp): Promise<void> {
  await assert.rejects(work, (error: HoldfastError) => {
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    assert.notEqual(error.hint, null);
    return true;
  });
}

const urlOf = (server: RedisServer): string => `redis://127.0.0.1:${server.port}`;

test('a running empty server gets every type, database, expiry, consumer group and function', async () => {
  const target = await bench.server();
  const outcome = await restore(urlOf(target));
  assert.equal(outcome.verified, true);
  assert.equal(outcome.target, urlOf(target));
  assert.equal(await contentsOf(target), expected);
});

test('odd keys and values reach a running server as they were', async () => {
  const server = await bench.server();
  await fillWithOddNames(server);
  const stored = await backUp(server);
  const target = await bench.server();
  assert.equal((await restore(urlOf(target), { stored })).verified, true);
  assert.equal(await contentsOf(target), await contentsOf(server));
  await stored.remove();
});

test('an empty backup leaves an empty server, and is verified', async () => {
  const stored = await backUp(await bench.server());
  const target = await bench.server();
  assert.equal((await restore(urlOf(target), { stored })).verified, true);
  assert.equal(await target.cli(['DBSIZE']), '0\n');
  await stored.remove();
});

test('a server with keys in any database is not empty', async () => {
  const target = await bench.server();
  await target.cli(['-n', '5', 'SET', 'of somebody', 'else']);
  await failsWith(restore(urlOf(target)), 'target-not-empty', /db5 1 keys/);
  assert.equal(await target.cli(['-n', '5', 'GET', 'of somebody']), 'else\n');
});

test('I11: with overwrite a filled server is emptied first, its functions too', async () => {
  const target = await bench.server();
  await write(target, [
    ['SET', 'of somebody', 'else'],
    ['FUNCTION', 'LOAD', "#!lua name=mylib\nredis.register_function('older', function() return 1 end)"],
  ]);
  assert.equal((await restore(urlOf(target), { overwrite: true })).verified, true);
  assert.equal(await contentsOf(target), expected);
});

test('I11: a damaged backup is found out before a server is emptied', async () => {
  const server = await bench.server();
  await fillWithEverything(server);
  const stored = await backUp(server);
  await stored.damage(0.5);
  const target = await bench.server();
  await target.cli(['SET', 'of somebody', 'else']);
  await failsWithoutHint(restore(urlOf(target), { stored, overwrite: true }), 'disproven');
  assert.equal(await target.cli(['GET', 'of somebody']), 'else\n');
  await stored.remove();
});

async function failsWithoutHint(work: Promise<unknown>, code: string): Promise<void> {
  await assert.rejects(work, (error: HoldfastError) => error.code === code);
}

test('--only gives one database back, and with overwrite empties that one alone', async () => {
  const target = await bench.server();
  await write(target, [
    ['SET', 'mine', 'stays'],
    ['SELECT', '3'],
    ['SET', 'old', 'goes'],
  ]);
  assert.equal((await restore(urlOf(target), { only: ['db3'], overwrite: true })).verified, true);
  assert.equal(await target.cli(['GET', 'mine']), 'stays\n');
  assert.equal(await target.cli(['-n', '3', 'KEYS', 'old']), '\n');
  assert.equal(await target.cli(['-n', '3', 'DBSIZE']), '2\n');
});

test('keys whose time is over, or comes while it restores, are no difference', async () => {
  const server = await bench.server();
  await server.cli(['DEBUG', 'SET-ACTIVE-EXPIRE', '0']);
  const soon = Array.from({ length: 300 }, (_, index) => ['SET', `soon${index}`, 'x', 'PX', String(1 + index * 4)]);
  await write(server, [...soon, ['SET', 'stays', 'x'], ['SET', 'later', 'x', 'EX', '5000']]);
  const stored = await backUp(server);
  await wait(300);
  const target = await bench.server();
  assert.equal((await restore(urlOf(target), { stored })).verified, true);
  await wait(1000);
  assert.equal(await target.cli(['EXISTS', 'stays', 'later', 'soon1', 'soon299']), '2\n');
  await stored.remove();
});

test('TLS, and a user with password: no secret in any argument list', async () => {
  const target = await bench.server({
    tls: true,
    acl: ['user default off', 'user restorer on >very-secret-word ~* +@all'],
    password: 'very-secret-word',
  });
  const { ca, cert, key } = target.tls as NonNullable<typeof target.tls>;
  const url = `rediss://restorer:very-secret-word@127.0.0.1:${target.port}?cacert=${ca}&cert=${cert}&key=${key}`;
  const watch = watchArguments(run.scratch);
  let seen: readonly string[];
  try {
    // Until the watcher has seen the child that writes.
    await target.cli(['--user', 'restorer', 'CLIENT', 'PAUSE', '60000', 'WRITE']);
    const restoring = restore(url);
    await until(() => watch.saw('--pipe'), 'the child that writes').finally(() =>
      target.cli(['--user', 'restorer', 'CLIENT', 'UNPAUSE']),
    );
    assert.equal((await restoring).verified, true);
  } finally {
    seen = watch.stop();
  }
  assert.deepEqual(
    seen.filter((args) => args.includes('very-secret-word')),
    [],
  );
});

test('a target that refuses some commands is told, and nothing is called restored', async () => {
  const target = await bench.server({ config: ['maxmemory 1mb'] });
  await failsWith(restore(urlOf(target)), 'target-unusable', /refused \d+ of the commands: .*maxmemory/);
});

test('a target without a database of that number is refused before a key is sent: it would land in another', async () => {
  const target = await bench.server({ config: ['databases 4'] });
  await failsWith(restore(urlOf(target)), 'target-unusable', /no database 15: .*out of range/);
  assert.equal(await target.cli(['INFO', 'keyspace']), '# Keyspace\r\n');
});

test('a database beyond the thousandth comes back, and is compared', async () => {
  const config = ['databases 2000'];
  const server = await bench.server({ config });
  await write(server, [
    ['SELECT', '1999'],
    ['SET', 'far', 'away'],
  ]);
  const stored = await backUp(server);
  const target = await bench.server({ config });
  const outcome = await restore(`redis://127.0.0.1:${target.port}`, { stored });
  assert.equal(outcome.verified, true);
  assert.equal(await contentsOf(target), await contentsOf(server));
  await stored.remove();
});

test('pending entries of deleted messages do not survive as commands: said, and not called verified', async () => {
  const server = await bench.server();
  await write(server, [
    ['XADD', 'stream', '1-1', 'a', '1'],
    ['XGROUP', 'CREATE', 'stream', 'workers', '0'],
    ['XREADGROUP', 'GROUP', 'workers', 'anna', 'STREAMS', 'stream', '>'],
    ['XDEL', 'stream', '1-1'],
  ]);
  const stored = await backUp(server);
  const outcome = await restore(urlOf(await bench.server()), { stored });
  assert.equal(outcome.verified, false);
  assert.match(
    outcome.warnings.join('\n'),
    /db 0: stream with other ids or consumer groups \(1 key\): pending entries/,
  );
  const target = await bench.directory();
  assert.equal((await restore(target, { stored })).verified, true);
  assert.equal(await contentsOf(await bench.serverOver(target)), await contentsOf(server));
  await stored.remove();
});

test('a target that is down, wants a password, is a replica, or is named with a number', async () => {
  await failsWith(restore('redis://127.0.0.1:1'), 'target-unusable', /Connection refused/);
  const closed = await bench.server({ config: ['requirepass x'], password: 'x' });
  await failsWith(restore(urlOf(closed)), 'target-unusable', /wants a password/);
  const replica = await bench.server({ config: ['replicaof 127.0.0.1 1'] });
  await failsWith(restore(urlOf(replica)), 'target-unusable', /is a replica/);
  const open = await bench.server();
  await failsWith(restore(`${urlOf(open)}/3`), 'usage', /under the numbers they had/);
});

test('I11: a look at a server refuses what a restore would, and what has no room there, and sends nothing', async () => {
  const target = await bench.server();
  await look(urlOf(target));
  await target.cli(['SET', 'mine', '42']);
  await failsWith(look(urlOf(target)), 'target-not-empty', /not empty: db0 1 keys/);
  await look(urlOf(target), { overwrite: true });
  assert.equal((await target.cli(['GET', 'mine'])).trim(), '42');
  await failsWith(look('redis://127.0.0.1:1'), 'target-unusable', /Connection refused/);
  await failsWith(look(`${urlOf(target)}/3`), 'usage', /under the numbers they had/);
  const few = await bench.server({ config: ['databases 4'] });
  await failsWith(look(urlOf(few)), 'target-unusable', /no database 15/);
  await look(urlOf(few), { only: ['db0'] });
  const small = await bench.server({ config: ['maxmemory 1mb'] });
  await failsWith(look(urlOf(small)), 'target-unusable', /may take 1048576 bytes \(maxmemory\)/);
  assert.equal(await small.cli(['INFO', 'keyspace']), '# Keyspace\r\n');
});

test('a target that changes what was sent is found out', async () => {
  // So long the engine waits before it fetches back what it sent.
  const target = await bench.server({ config: ['repl-diskless-sync-delay 1'] });
  let over = false;
  const sending = restore(urlOf(target)).finally(() => {
    over = true;
  });
  sending.catch(() => undefined);
  // Somebody writes into it as soon as the keys arrive.
  while (!over && (await target.cli(['EXISTS', 'marker'])) !== '1\n') await wait(2);
  await target.cli(['SET', 'marker', 'changed']);
  await failsWithoutHint(sending, 'disproven');
});
