import { strict as assert } from 'node:assert';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Cancelled, HookFailed } from '#core/errors';
import { fileIntents } from '#host/intents';
import { finishLeftHooks, type HookPorts, type Intents, withHooks } from '#jobs/hooks';
import { openRun, type TestRun } from '#test/contracts/run-context';
import { filesSource, temporary } from '#test/engines/files/trees';

describe('before and after commands', () => {
  const place = temporary('hooks');
  let opened: TestRun;
  before(async () => {
    opened = await openRun();
  });
  after(async () => {
    await opened.close();
    place.remove();
  });

  /** A plan's directory, its state, and what the commands wrote. */
  function setting(): {
    folder: string;
    state: string;
    intents: Intents;
    ports: HookPorts;
    log(): string[];
    notes(): string[];
  } {
    const folder = place.folder();
    const state = place.folder();
    const intents = fileIntents({ ...process.env, HOLDFAST_STATE: state }, 'test', folder);
    return {
      folder,
      state,
      intents,
      ports: { run: opened.run, intents },
      log: () => (existsSync(join(folder, 'log')) ? readFileSync(join(folder, 'log'), 'utf8').trim().split('\n') : []),
      notes: () => (existsSync(join(state, 'intents/test')) ? readdirSync(join(state, 'intents/test')) : []),
    };
  }

  const hooked = (before: string[], after: string[]) => filesSource({ paths: ['/tmp'] }, { before, after });

  test('run around the capture, in order, in the plan’s directory, and their words are logged', async () => {
    const { ports, log, notes, folder } = setting();
    const source = hooked(
      ['echo one >> log', 'echo two >> log; echo stopping $HOLDFAST_SOURCE'],
      ['echo three >> log', 'echo four >> log'],
    );
    const { result, warnings } = await withHooks(source, ports, async () => {
      assert.deepEqual(log(), ['one', 'two']);
      assert.equal(notes().length, 1);
      return 'captured';
    });
    assert.equal(result, 'captured');
    assert.deepEqual(warnings, []);
    assert.deepEqual(log(), ['one', 'two', 'three', 'four']);
    assert.deepEqual(notes(), []);
    assert.ok(opened.lines.includes('info: tree: before: stopping tree'), opened.lines.join('\n'));
    assert.ok(existsSync(join(folder, 'log')));
  });

  test('a before that fails: no capture, and after still runs', async () => {
    const { ports, log, notes } = setting();
    const source = hooked(
      ['echo one >> log', 'echo no docker here >&2; exit 3', 'echo never >> log'],
      ['echo after >> log'],
    );
    let captured = false;
    await assert.rejects(
      withHooks(source, ports, async () => {
        captured = true;
      }),
      (error) => {
        assert.ok(error instanceof HookFailed);
        assert.match(error.message, /exit 3/);
        assert.match(error.message, /exit code 3: no docker here/);
        assert.ok(error.hint);
        return true;
      },
    );
    assert.equal(captured, false);
    assert.deepEqual(log(), ['one', 'after']);
    assert.deepEqual(notes(), []);
  });

  test('a capture that fails: after still runs, and the capture’s failure is what is told', async () => {
    const { ports, log } = setting();
    await assert.rejects(
      withHooks(hooked([], ['echo after >> log']), ports, async () => {
        throw new Error('the disk fell out');
      }),
      /the disk fell out/,
    );
    assert.deepEqual(log(), ['after']);
  });

  test('a run that is cancelled: after still runs', async () => {
    const { intents, log } = setting();
    const cancelled = await openRun();
    try {
      await assert.rejects(
        withHooks(hooked(['echo before >> log'], ['echo after >> log']), { run: cancelled.run, intents }, async () => {
          cancelled.abort();
          await cancelled.run.processes.run({ program: 'true', args: [] });
        }),
        Cancelled,
      );
    } finally {
      await cancelled.close();
    }
    assert.deepEqual(log(), ['before', 'after']);
  });

  test('an after that fails: the backup stands with a warning, and the next run tries again, until it works', async () => {
    const { ports, log, notes, folder } = setting();
    const source = hooked([], ['test -e ready && echo started >> log', 'echo second >> log']);
    const { result, warnings } = await withHooks(source, ports, async () => 'captured');
    assert.equal(result, 'captured');
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] as string, /after of tree, `test -e ready/);
    assert.deepEqual(log(), ['second']);
    assert.equal(notes().length, 1);
    assert.equal((await finishLeftHooks(ports)).length, 1);
    writeFileSync(join(folder, 'ready'), '');
    assert.deepEqual(await finishLeftHooks(ports), []);
    assert.deepEqual(log(), ['second', 'second', 'started', 'second']);
    assert.deepEqual(notes(), []);
    assert.deepEqual(await finishLeftHooks(ports), []);
  });

  test('without a place to note the after commands nothing is stopped', async () => {
    const { folder, log } = setting();
    const file = join(folder, 'a file');
    writeFileSync(file, '');
    const intents = fileIntents({ ...process.env, HOLDFAST_STATE: file }, 'test', folder);
    await assert.rejects(
      withHooks(hooked(['echo before >> log'], ['echo after >> log']), { run: opened.run, intents }, async () => 0),
      /HOLDFAST_STATE|cannot note the `after` commands/,
    );
    assert.deepEqual(log(), []);
  });

  test('a run that is killed with -9 between the hooks: the next run carries out its after, once', async () => {
    const { ports, folder, state, log, notes } = setting();
    const victim = spawn(
      process.execPath,
      [fileURLToPath(import.meta.resolve('#test/jobs/hook-victim')), state, folder],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const ended = once(victim, 'exit');
    let said = '';
    for await (const chunk of victim.stdout) {
      said += chunk;
      if (said.includes('\n')) break;
    }
    assert.deepEqual(log(), ['stopped']);
    assert.deepEqual(await finishLeftHooks(ports), [], 'it still lives, so its hooks are its own');
    assert.deepEqual(log(), ['stopped']);
    victim.kill('SIGKILL');
    await ended;
    rmSync(said.trim().slice('captured '.length), { recursive: true, force: true });
    assert.equal(notes().length, 1);
    const both = await Promise.all([finishLeftHooks(ports), finishLeftHooks(ports)]);
    assert.deepEqual(both, [[], []]);
    assert.deepEqual(log(), ['stopped', 'started']);
    assert.deepEqual(notes(), []);
  });

  test('a note of another boot of this machine is of a process that has ended', async () => {
    const { ports, folder, state, log, intents } = setting();
    const intent = await intents.write('tree', ['echo started >> log'], new Date());
    const record = JSON.parse(readFileSync(intent.file, 'utf8'));
    record.holder.boot = '00000000-0000-0000-0000-000000000000';
    record.holder.pid = process.ppid;
    record.holder.start = '1';
    intents.leave(intent);
    writeFileSync(intent.file, JSON.stringify(record));
    assert.deepEqual(await finishLeftHooks(ports), []);
    assert.deepEqual(log(), ['started']);
    assert.ok(folder && state);
  });

  test('a note that cannot be read is told, never dropped', async () => {
    const { ports, intents, notes } = setting();
    const intent = await intents.write('tree', ['true'], new Date());
    intents.leave(intent);
    writeFileSync(intent.file, '{"half');
    const [warning] = await finishLeftHooks(ports);
    assert.match(warning as string, /cannot be read: run them by hand/);
    assert.equal(notes().length, 1);
  });
});
