import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { HoldfastError, UnsafePath, UsageError } from '#core/errors';
import { isGone, thisHolder } from '#host/holder';
import { createProcesses, processStart } from '#host/processes';
import { openScratch } from '#host/scratch';
import { until } from '#test/until';

const RUN = fileURLToPath(import.meta.resolve('#test/host/scratch-run'));
const UID = process.getuid?.() ?? 0;

describe('scratch', () => {
  let root: string;
  let parent: string;
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'holdfast-scratch-test-'));
    await chmod(root, 0o755);
  });
  after(() => rm(root, { recursive: true, force: true }));
  beforeEach(async () => {
    parent = await mkdtemp(join(root, 'p-'));
    await chmod(parent, 0o755);
  });

  const open = () => openScratch({ HOLDFAST_SCRATCH: parent });
  const base = (): string => join(parent, `holdfast-${UID}`);

  /** A run in a process of its own; `kill -9` it and look what the next one does. */
  async function startRun(): Promise<{ child: ChildProcess; path: string; server: number }> {
    const child = spawn(process.execPath, [RUN], {
      env: { ...process.env, HOLDFAST_SCRATCH: parent },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
    return { child, ...(JSON.parse(String(line)) as { path: string; server: number }) };
  }

  test('a run has a directory that nobody else can list, and leaves nothing', async () => {
    const scratch = await open();
    assert.deepEqual(scratch.swept, []);
    for (const [path, wanted] of [
      [base(), 0o711],
      [scratch.path, 0o700],
    ] as const) {
      const { mode, uid } = await stat(path);
      assert.deepEqual([mode & 0o7777, uid], [wanted, UID]);
    }
    assert.match(scratch.path, new RegExp(`/run-${process.pid}-\\d+-[0-9a-f]{16}$`));
    assert.equal((await stat(join(scratch.path, 'owner.json'))).mode & 0o777, 0o600);
    await mkdir(join(scratch.path, 'data'), { mode: 0o700 });
    await writeFile(join(scratch.path, 'data', 'plain'), 'x');
    await scratch.close();
    await scratch.close();
    assert.deepEqual(await readdir(base()), []);
  });

  test('opened for a server’s user, that one passes through to a directory of its own, and sees nothing else', async () => {
    const scratch = await open();
    await chmod(scratch.path, 0o711);
    const own = join(scratch.path, 'data');
    await mkdir(own, { mode: 0o700 });
    // Only root runs children as somebody else, and has to.
    if (UID === 0) {
      await chown(own, 65534, 65534);
      const nobody = createProcesses(process.env, new AbortController().signal, null);
      const as = { uid: 65534, gid: 65534 };
      await nobody.run({ program: 'touch', args: [join(own, 'x')], as });
      for (const hidden of [base(), scratch.path])
        await assert.rejects(nobody.run({ program: 'ls', args: [hidden], as }), /Permission denied/);
      await assert.rejects(
        nobody.run({ program: 'cat', args: [join(scratch.path, 'owner.json')], as }),
        /Permission denied/,
      );
    }
    await scratch.close();
  });

  test('after kill -9 the next run removes the plaintext and ends the server', { timeout: 30_000 }, async () => {
    const { child, path, server } = await startRun();
    await mkdir(join(path, 'data'), { mode: 0o700 });
    await writeFile(join(path, 'data', 'plaintext'), 'secret rows');
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.notEqual(processStart(server), null, 'the server outlives its run');
    const scratch = await open();
    assert.equal(existsSync(path), false);
    assert.equal(processStart(server), null);
    assert.match(
      scratch.swept.join(),
      new RegExp(`removed what a killed run had left in ${path}.*processes ${server}`),
    );
    await scratch.close();
  });

  test('a run that still works is left alone', { timeout: 30_000 }, async () => {
    const { child, path, server } = await startRun();
    const scratch = await open();
    assert.deepEqual(scratch.swept, []);
    assert.ok(existsSync(path));
    assert.notEqual(processStart(server), null);
    await scratch.close();
    child.kill('SIGKILL');
    await once(child, 'exit');
    await (await open()).close();
    assert.equal(processStart(server), null);
  });

  /** What a run of another process has left. */
  async function leave(owner: object | string | null, name = 'run-999999999-1-0123456789abcdef'): Promise<string> {
    const path = join(base(), name);
    await mkdir(join(path, 'pids'), { recursive: true });
    if (owner !== null)
      await writeFile(join(path, 'owner.json'), typeof owner === 'string' ? owner : JSON.stringify(owner));
    return path;
  }

  const dead = () => ({ ...thisHolder(), pid: 999_999_999, start: '1' });

  test('a pid that was given out again is not ended', async () => {
    await (await open()).close();
    const path = await leave(dead());
    await writeFile(join(path, 'pids', String(process.pid)), '1');
    await writeFile(join(path, 'pids', String(process.ppid)), '');
    const scratch = await open();
    assert.equal(existsSync(path), false);
    assert.match(scratch.swept.join(), /removed/);
    assert.doesNotMatch(scratch.swept.join(), /ended/);
    await scratch.close();
  });

  test('what another machine or container left is not judged by our pids, but goes after a week', async () => {
    await (await open()).close();
    const foreign = [
      { ...dead(), host: 'elsewhere', boot: 'another' },
      { ...dead(), namespace: 'pid:[1]' },
      { ...dead(), start: null, boot: null, namespace: null },
    ];
    for (const owner of foreign) {
      const path = await leave(owner);
      await (await open()).close();
      assert.ok(existsSync(path), JSON.stringify(owner));
      const old = new Date(Date.now() - 8 * 24 * 3600 * 1000);
      await utimes(path, old, old);
      await (await open()).close();
      assert.ok(!existsSync(path), JSON.stringify(owner));
    }
  });

  test('what lay there before this machine was started anew goes', async () => {
    await (await open()).close();
    const path = await leave({ ...dead(), host: hostname(), boot: 'the boot before' });
    await (await open()).close();
    assert.equal(existsSync(path), false);
  });

  test('a directory killed before it was signed goes, once it is certainly not being made', async () => {
    await (await open()).close();
    for (const owner of [null, '{"host":']) {
      const path = await leave(owner);
      await (await open()).close();
      assert.ok(existsSync(path));
      const old = new Date(Date.now() - 3600 * 1000);
      await utimes(path, old, old);
      await (await open()).close();
      assert.ok(!existsSync(path));
    }
  });

  test('what is not ours by its name, or only a link to elsewhere, is not touched', async () => {
    await (await open()).close();
    const elsewhere = await mkdtemp(join(root, 'elsewhere-'));
    await writeFile(join(elsewhere, 'file'), 'precious');
    await symlink(elsewhere, join(base(), 'run-999999999-1-0123456789abcdef'));
    await mkdir(join(base(), 'notes'));
    const scratch = await open();
    assert.deepEqual(scratch.swept, []);
    await scratch.close();
    assert.equal(await readFile(join(elsewhere, 'file'), 'utf8'), 'precious');
    assert.ok((await lstat(join(base(), 'run-999999999-1-0123456789abcdef'))).isSymbolicLink());
  });

  test('a base that is a link, a file or somebody else’s is refused', async () => {
    const refused = async (words: RegExp): Promise<void> => {
      await assert.rejects(open(), (error: Error) => {
        assert.ok(error instanceof UnsafePath, String(error));
        assert.match(error.message, words);
        assert.match(error.hint ?? '', /HOLDFAST_SCRATCH/);
        return true;
      });
      await rm(base(), { recursive: true, force: true });
    };
    await symlink(root, base());
    await refused(/not a directory/);
    await writeFile(base(), '');
    await refused(/not a directory/);
    if (UID === 0) {
      await mkdir(base());
      await chown(base(), 65534, 65534);
      await refused(/owned by uid 65534, not by 0/);
    }
    await chmod(parent, 0o777);
    await refused(/no sticky bit/);
    await chmod(parent, 0o1777);
    await (await open()).close();
  });

  test('a base that was too open is closed', async () => {
    await mkdir(base());
    await chmod(base(), 0o777);
    await (await open()).close();
    assert.equal((await stat(base())).mode & 0o777, 0o711);
  });

  test('a parent that is not there is an error with a hint', async () => {
    await assert.rejects(openScratch({ HOLDFAST_SCRATCH: join(parent, 'absent') }), (error: Error) => {
      assert.ok(error instanceof UsageError && error instanceof HoldfastError);
      assert.match(error.hint ?? '', /HOLDFAST_SCRATCH=DIRECTORY/);
      return true;
    });
  });

  test('HOLDFAST_SCRATCH comes before TMPDIR', async () => {
    const scratch = await openScratch({ HOLDFAST_SCRATCH: parent, TMPDIR: '/nonexistent' });
    assert.ok(scratch.path.startsWith(parent));
    await scratch.close();
    const other = await openScratch({ TMPDIR: parent });
    assert.ok(other.path.startsWith(parent));
    await other.close();
  });
});

describe('holder', () => {
  test('this process is not gone; one that ended is, even while nobody has asked how it ended', async () => {
    assert.equal(isGone(thisHolder()), false);
    // sleep is reaped by nobody: sh was replaced by a tail that never waits.
    const zombie = spawn('sh', ['-c', 'sleep 1 & echo $!; exec tail -f /dev/null'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [line] = (await once(zombie.stdout, 'data')) as [Buffer];
    const pid = Number(String(line));
    const start = processStart(pid);
    assert.notEqual(start, null);
    const holder = { ...thisHolder(), pid, start };
    assert.equal(isGone(holder), false);
    await until(() => isGone(holder), 'its end');
    assert.ok(existsSync(`/proc/${pid}`), 'a zombie');
    zombie.kill('SIGKILL');
    await once(zombie, 'exit');
  });

  test('only where it can be told: same host, boot, pid namespace', () => {
    const dead = { ...thisHolder(), pid: 999_999_999, start: '1' };
    assert.equal(isGone(dead), true);
    for (const change of [
      { host: 'x' },
      { boot: 'x' },
      { namespace: 'x' },
      { boot: null },
      { namespace: null },
      { start: null },
    ])
      assert.equal(isGone({ ...dead, ...change }), false, JSON.stringify(change));
  });

  test('a pid that was given out again is another process', () => {
    assert.equal(isGone({ ...thisHolder(), start: '1' }), true);
  });
});
