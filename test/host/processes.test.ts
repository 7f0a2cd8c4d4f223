import assert from 'node:assert/strict';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { Cancelled, CommandFailed, ToolMissing } from '#core/errors';
import { createProcesses, processStart } from '#host/processes';
import { until } from '#test/until';

const CALM = new AbortController().signal;

async function text(stream: Readable | null): Promise<string> {
  let all = '';
  for await (const chunk of stream as Readable) all += chunk;
  return all;
}

describe('pipelines', () => {
  const processes = createProcesses(process.env, CALM, null);
  const sh = (script: string) => ({ program: 'sh', args: ['-c', script] });

  for (const bytes of [10, 1_000_000])
    test(`I2: output that is joined later than it was made is whole: ${bytes} bytes`, async () => {
      const first = processes.pipe([sh(`head -c ${bytes} /dev/zero`)]);
      await wait(200);
      const second = processes.pipe([{ program: 'wc', args: ['-c'] }], { stdin: first.stdout as Readable });
      assert.equal((await text(second.stdout)).trim(), String(bytes));
      await first.done;
      await second.done;
    });

  for (const bytes of [10, 1_000_000])
    test(`I2: output that is read here later than it was made is whole: ${bytes} bytes`, async () => {
      const pipeline = processes.pipe([sh(`head -c ${bytes} /dev/zero`), { program: 'cat', args: [] }]);
      await wait(200);
      assert.equal((await text(pipeline.stdout)).length, bytes);
      await pipeline.done;
    });

  test('a stream that was read from already is pumped, not inherited: nothing is lost', async () => {
    const first = processes.pipe([sh('printf %s head; sleep 0.2; printf %s tail')]);
    const stdout = first.stdout as Readable;
    await new Promise((resolve) => stdout.once('readable', resolve));
    const second = processes.pipe([{ program: 'cat', args: [] }], { stdin: stdout });
    assert.equal(await text(second.stdout), 'headtail');
    await first.done;
    await second.done;
  });

  test('done does not wait for output that nobody reads', { timeout: 10_000 }, async () => {
    const pipeline = processes.pipe([sh('echo unread')]);
    await pipeline.done;
    pipeline.stdout?.destroy();
    const endless = processes.pipe([{ program: 'cat', args: ['/dev/zero'] }]);
    await wait(50);
    endless.stop();
    await assert.rejects(endless.done, CommandFailed);
  });

  test('I2: the child to blame is named, not those that lost their reader by it', async () => {
    const pipeline = processes.pipe([
      { program: 'cat', args: ['/dev/zero'] },
      sh('head -c 10; echo no room >&2; exit 7'),
    ]);
    pipeline.stdout?.resume();
    await assert.rejects(pipeline.done, (error: Error) => {
      assert.ok(error instanceof CommandFailed);
      assert.equal(error.exitCode, 7);
      assert.match(error.message, /^sh failed with exit code 7: no room$/);
      return true;
    });
  });

  test('I2: a child in the middle that is killed fails the pipeline, though the last one ends well', async () => {
    const pipeline = processes.pipe([sh('echo begun; kill -9 $$'), { program: 'cat', args: [] }]);
    assert.equal(await text(pipeline.stdout), 'begun\n');
    await assert.rejects(pipeline.done, /sh failed with signal SIGKILL/);
  });

  test('a stream of this process goes in whole, and its error is the pipeline’s', async () => {
    const good = new PassThrough();
    const pipeline = processes.pipe([{ program: 'wc', args: ['-c'] }], { stdin: good });
    for (let index = 0; index < 50; index++) good.write(Buffer.alloc(100_000));
    good.end();
    assert.equal((await text(pipeline.stdout)).trim(), '5000000');
    await pipeline.done;
    const bad = new PassThrough();
    const broken = processes.pipe([{ program: 'cat', args: [] }], { stdin: bad });
    broken.stdout?.resume();
    bad.destroy(new Error('connection lost'));
    await assert.rejects(broken.done, /connection lost/);
  });

  test('a missing program is said to be missing, wherever it stands', async () => {
    for (const commands of [
      [{ program: '/nonexistent/age', args: [] }],
      [sh('echo x'), { program: '/nonexistent/age', args: [] }],
      [
        { program: '/nonexistent/age', args: [] },
        { program: 'cat', args: [] },
      ],
    ]) {
      const pipeline = processes.pipe(commands);
      pipeline.stdout?.on('error', () => undefined).resume();
      await assert.rejects(pipeline.done, (error: Error) => {
        assert.ok(error instanceof ToolMissing, String(error));
        assert.equal(error.hint, 'apt-get install age');
        return true;
      });
    }
  });

  test('files are read and written by their descriptors', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-pipe-'));
    const target = openSync(join(folder, 'out'), 'w');
    const source = openSync('/proc/self/status', 'r');
    const pipeline = processes.pipe([{ program: 'cat', args: [] }], { stdin: source, stdout: target });
    assert.equal(pipeline.stdout, null);
    await pipeline.done;
    closeSync(target);
    closeSync(source);
    assert.match(readFileSync(join(folder, 'out'), 'utf8'), /^Name:/);
    await rm(folder, { recursive: true });
  });
});

describe('a run and its children', () => {
  let scratch: string;
  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'holdfast-children-'));
  });
  after(() => rm(scratch, { recursive: true, force: true }));

  test('the run’s signal ends all of them, and none begins after it', { timeout: 20_000 }, async () => {
    const controller = new AbortController();
    const processes = createProcesses(process.env, controller.signal, scratch);
    const service = processes.start({ program: 'sleep', args: ['600'] });
    const pipeline = processes.pipe([{ program: 'sleep', args: ['600'] }]);
    const running = processes.run({ program: 'sleep', args: ['600'] });
    const [note] = await readdir(join(scratch, 'pids'));
    assert.equal(note, String(service.pid));
    assert.equal(await readFile(join(scratch, 'pids', note), 'utf8'), processStart(service.pid));
    controller.abort(new Error('deadline'));
    await Promise.all([assert.rejects(running, Cancelled), assert.rejects(pipeline.done, Cancelled)]);
    await service.ended;
    assert.deepEqual(await readdir(join(scratch, 'pids')), []);
    assert.throws(() => processes.pipe([{ program: 'true', args: [] }]), Cancelled);
  });

  test('what a child has started itself holds nobody up once the run is stopped, or its time is over', {
    timeout: 30_000,
  }, async () => {
    const controller = new AbortController();
    const processes = createProcesses(process.env, controller.signal, scratch);
    const grandchild = join(scratch, 'grandchild');
    const pids = (): string[] => readFileSync(grandchild, 'utf8').trim().split('\n');
    // One that waits for what it has started, and one that has left it behind; both hand their pipes on.
    const scripts = ['sleep 600 & echo $! >> "$0"; wait', 'sleep 600 & echo $! >> "$0"'];
    const commands = scripts.map((script) => ({ program: 'sh', args: ['-c', script, grandchild] }));
    const [waiting, leaving] = commands as [(typeof commands)[number], (typeof commands)[number]];
    try {
      const timed = processes.run(leaving, { timeout: 300 });
      const service = processes.start(waiting);
      const running = commands.map((command) => processes.run(command));
      const pipelines = commands.map((command) => processes.pipe([command, { program: 'cat', args: [] }]));
      await until(() => existsSync(grandchild) && pids().length === 6, 'the grandchildren');
      assert.equal((await timed).code, 0);
      controller.abort(new Error('deadline'));
      const ends = await Promise.allSettled([...running, ...pipelines.map(({ done }) => done)]);
      assert.ok(ends[0]?.status === 'rejected' && ends[0].reason instanceof Cancelled);
      assert.ok(ends[2]?.status === 'rejected' && ends[2].reason instanceof Cancelled);
      await service.ended;
    } finally {
      for (const pid of pids()) process.kill(Number(pid), 'SIGKILL');
    }
  });

  test('I7: children get a small environment, not this process’s', async () => {
    const processes = createProcesses({ ...process.env, HOLDFAST_TOKEN: 'secret', PGPASSWORD: 'secret' }, CALM, null);
    const { stdout } = await processes.run({ program: 'env', args: [], env: { GIVEN: '1' } });
    assert.doesNotMatch(stdout, /secret/);
    assert.match(stdout, /^GIVEN=1$/m);
    assert.match(stdout, /^TZ=UTC$/m);
  });

  test('a timeout ends a child', { timeout: 10_000 }, async () => {
    const processes = createProcesses(process.env, CALM, null);
    await assert.rejects(
      processes.run({ program: 'sleep', args: ['600'] }, { timeout: 50 }),
      /sleep failed with signal SIGTERM/,
    );
  });
});
