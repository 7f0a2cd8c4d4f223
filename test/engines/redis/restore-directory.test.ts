import { strict as assert } from 'node:assert';
import { spawnSync } from 'node:child_process';
import { chown, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { HoldfastError } from '#core/errors';
import type { RestoreOutcome, RunContext, SourceRef } from '#core/ports';
import { redis } from '#engines/redis/engine';
import { switchIn } from '#engines/redis/switch-in';
import { openRun, type TestRun } from '#test/contracts/run-context';
import { type StoredBackup, storeCapture } from '#test/contracts/stored-backup';
import { contentsOf } from '#test/engines/redis/contents';
import { fillWithEverything } from '#test/engines/redis/data';
import { createBench, sourceOf } from '#test/engines/redis/kit';

const bench = createBench();
let opened: TestRun;
let run: RunContext;
let source: SourceRef;
let stored: StoredBackup;
let expected: string;

before(async () => {
  opened = await openRun();
  run = opened.run;
  const server = await bench.server();
  await fillWithEverything(server);
  expected = await contentsOf(server);
  source = sourceOf(`redis://127.0.0.1:${server.port}`);
  const capture = await redis.capture(source, run);
  stored = await storeCapture(capture, source, run);
  await capture.close();
});

after(async () => {
  await stored.remove();
  await opened.close();
  await bench.clear();
});

function restore(
  target: string,
  options: { only?: readonly string[]; overwrite?: boolean } = {},
): Promise<RestoreOutcome> {
  const request = { target, only: options.only ?? [], overwrite: options.overwrite ?? false };
  return redis.restore(stored.backup(run, { through: 'child' }), request, source, run);
}

async function failsWith(work: Promise<unknown>, code: string, message: RegExp): Promise<void> {
  await assert.rejects(work, (error: HoldfastError) => {
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    assert.notEqual(error.hint, null);
    return true;
  });
}

test('the trap "a lone dump.rdb with appendonly yes starts empty" is real, and a restored directory is not in it', async () => {
  const lone = await bench.directory();
  await writeFile(join(lone, 'dump.rdb'), await readFile(join(stored.folder, 'dump.rdb')));
  const trapped = await bench.serverOver(lone, { config: ['appendonly yes'] });
  assert.equal(await trapped.cli(['DBSIZE']), '0\n');

  const target = join(await bench.directory(), 'new');
  assert.equal((await restore(target)).verified, true);
  for (const appendonly of ['yes', 'no']) {
    const server = await bench.serverOver(target, { config: [`appendonly ${appendonly}`] });
    assert.equal(await contentsOf(server), expected, `appendonly ${appendonly}`);
  }
});

test('restored with appendonly yes, what is written then survives a kill, and the AOF checks out', async () => {
  const target = await bench.directory();
  await restore(target);
  const manifest = join(target, 'appendonlydir', 'appendonly.aof.manifest');
  const check = spawnSync('redis-check-aof', [manifest]);
  assert.match(String(check.stdout), /All AOF files and manifest are valid/);
  const server = await bench.server({ dir: target, config: ['appendonly yes', 'appendfsync always'] });
  await server.cli(['SET', 'written', 'later']);
  await server.stop();
  const again = await bench.server({ dir: target, config: ['appendonly yes'] });
  assert.equal(await again.cli(['GET', 'written']), 'later\n');
  await again.cli(['BGREWRITEAOF']);
  while (!/aof_rewrite_in_progress:0/.test(await again.cli(['INFO', 'persistence']))) await wait(10);
  assert.match(await again.cli(['INFO', 'persistence']), /aof_last_bgrewrite_status:ok/);
});

test('the restored directory holds dump.rdb and appendonlydir, nothing of the making, and belongs to its owner', async () => {
  const target = await bench.directory();
  await chown(target, 65534, 65534);
  await restore(target);
  assert.deepEqual((await readdir(target)).sort(), ['appendonlydir', 'dump.rdb']);
  for (const name of ['dump.rdb', 'appendonlydir', 'appendonlydir/appendonly.aof.1.base.rdb'])
    assert.equal((await stat(join(target, name))).uid, 65534, name);
  assert.deepEqual(await readFile(join(target, 'dump.rdb')), await readFile(join(stored.folder, 'dump.rdb')));
});

test('other files of the directory stay, such as redis.conf', async () => {
  const target = await bench.directory();
  await writeFile(join(target, 'redis.conf'), '# mine');
  await restore(target);
  assert.equal(await readFile(join(target, 'redis.conf'), 'utf8'), '# mine');
});

for (const name of ['dump.rdb', 'appendonlydir', 'appendonly.aof'])
  test(`I11: a directory with ${name} is not empty`, async () => {
    const target = await bench.directory();
    if (name === 'appendonlydir') await mkdir(join(target, name));
    else await writeFile(join(target, name), "somebody's");
    await failsWith(restore(target), 'target-not-empty', new RegExp(`${name} is there already`));
    assert.deepEqual(await readdir(target), [name]);
    const { verified, warnings } = await restore(target, { overwrite: true });
    assert.equal(verified, true);
    const [kept, ...rest] = (await readdir(target)).filter((one) => one.includes('.before-'));
    assert.ok(kept?.startsWith(`${name}.before-`), kept);
    assert.match(warnings.join('\n'), new RegExp(`was there before is now in .*${kept}`));
    if (name !== 'appendonlydir') assert.equal(await readFile(join(target, kept as string), 'utf8'), "somebody's");
    assert.deepEqual(rest, []);
    assert.deepEqual((await readdir(target)).filter((one) => one !== kept).sort(), ['appendonlydir', 'dump.rdb']);
    const server = await bench.serverOver(target, { config: ['appendonly yes'] });
    assert.equal(await contentsOf(server), expected);
  });

test('I11: a switch that fails in its middle puts back what was there', async () => {
  const [stage, target] = [await bench.directory(), await bench.directory()];
  await writeFile(join(target, 'dump.rdb'), 'old keys');
  await mkdir(join(target, 'appendonlydir'));
  await mkdir(join(stage, 'appendonlydir'));
  // The new RDB is missing: the last step fails.
  await assert.rejects(switchIn(stage, target, new Date()), /ENOENT/);
  assert.deepEqual((await readdir(target)).sort(), ['appendonlydir', 'dump.rdb']);
  assert.equal(await readFile(join(target, 'dump.rdb'), 'utf8'), 'old keys');
  assert.deepEqual(await readdir(stage), ['appendonlydir']);
});

test('I11: a directory in which a server runs is refused, even with overwrite: it would write over the restore', async () => {
  const server = await bench.server();
  await failsWith(restore(server.dir, { overwrite: true }), 'target-unusable', /a server \(pid \d+\) runs in/);
});

test('a target that is a file is refused', async () => {
  const file = join(await bench.directory(), 'file');
  await writeFile(file, '');
  await failsWith(restore(file), 'target-unusable', /cannot be written/);
  await failsWith(restore(join(file, 'below')), 'target-unusable', /cannot be written/);
});

test('--only gives the databases named back, under their numbers', async () => {
  const target = await bench.directory();
  assert.equal((await restore(target, { only: ['db3', '15'] })).verified, true);
  const server = await bench.serverOver(target, { config: ['appendonly yes'] });
  assert.match(await server.cli(['INFO', 'keyspace']), /^# Keyspace\s+db3:keys=2,\S+\s+db15:keys=1,expires=1\S+\s+$/);
});

test('--only a database without keys, or something that is none, is told', async () => {
  const target = await bench.directory();
  await failsWith(restore(target, { only: ['db7'] }), 'usage', /no keys in database 7/);
  await failsWith(restore(target, { only: ['user:*'] }), 'usage', /want a database such as db0/);
  assert.deepEqual(await readdir(target), []);
});

test('without a server on this machine the bytes are given back all the same, and said to be unverified', async () => {
  const target = await bench.directory();
  const settings = { ...source.settings, prove: { with: { bin: await bench.directory() } } };
  const request = { target, only: [], overwrite: false };
  const outcome = await redis.restore(stored.backup(run, { through: 'child' }), request, { ...source, settings }, run);
  assert.equal(outcome.verified, false);
  assert.match(outcome.warnings.join('\n'), /no server here has loaded them/);
  assert.equal(await contentsOf(await bench.serverOver(target, { config: ['appendonly yes'] })), expected);
});

test('I6: restore.script says what to do next, and refuses bytes that are not those of the backup', async () => {
  const target = join(await bench.directory(), 'with space');
  const sh = (plain: string) =>
    spawnSync('sh', ['-eu', '-c', `plain() { ${plain}; }\n${stored.result.restoreScript}`], {
      env: { PATH: process.env['PATH'], TARGET: target, FROM: stored.folder },
      encoding: 'utf8',
    });
  const broken = sh('head -c 100 "$FROM/$1"');
  assert.notEqual(broken.status, 0);
  assert.match(broken.stderr, /is not what was backed up/);
  assert.deepEqual(
    (await readdir(target)).filter((name) => !name.startsWith('.')),
    [],
  );
  const failed = sh('false');
  assert.notEqual(failed.status, 0);
});

test('I6: restore.script works where neither redis nor its tools are installed', async () => {
  const bin = await bench.directory();
  for (const tool of ['mkdir', 'rm', 'sha256sum', 'ln', 'cp', 'mv', 'rmdir', 'cat']) {
    const path = spawnSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).stdout.trim();
    spawnSync('ln', ['-s', path, join(bin, tool)]);
  }
  const target = join(await bench.directory(), 'new');
  const done = spawnSync('/bin/sh', ['-eu', '-c', `plain() { cat "$FROM/$1"; }\n${stored.result.restoreScript}`], {
    env: { PATH: bin, TARGET: target, FROM: stored.folder },
    encoding: 'utf8',
  });
  assert.equal(done.status, 0, done.stderr);
  assert.match(done.stdout, /chown -R redis:redis[\s\S]*databases 16[\s\S]*INFO keyspace/);
  assert.equal(await contentsOf(await bench.serverOver(target, { config: ['appendonly yes'] })), expected);
});
