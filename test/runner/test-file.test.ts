import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type FileResult, runTestFile } from '#test/runner/test-file';

/** A runner that lets a failure through would make every other test worthless. */
describe('the test runner', () => {
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'runner-'));
  });
  after(() => rm(dir, { recursive: true, force: true }));

  let count = 0;
  async function outcomeOf(body: string, timeoutSeconds = 60): Promise<FileResult> {
    const name = String(count++);
    const file = join(dir, `${name}.test.ts`);
    await writeFile(file, `import { before, describe, test } from 'node:test';\n${body}\n`);
    // A test's process knows that it runs in one; the file under test must not.
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
    return runTestFile(file, { dir: join(dir, `run-${name}`), env, timeoutSeconds });
  }

  const titles = (result: FileResult): string[] => result.failures.map((failure) => failure.title);
  const errors = (result: FileResult): string => result.failures.map((failure) => failure.error).join('\n');

  test('counts each test that passed, and leaves no directory', async () => {
    const result = await outcomeOf(`test('a', () => {}); describe('s', () => { test('b', () => {}); });`);
    assert.deepEqual([result.passed, result.failures], [2, []]);
    assert.equal(existsSync(join(dir, 'run-0')), false);
  });

  test('tells a failure with its whole path of titles and its error, once', async () => {
    const result = await outcomeOf(
      `test('good', () => {}); describe('s', () => { test('bad', () => { throw new Error('why it failed'); }); });`,
    );
    assert.deepEqual([result.passed, titles(result)], [1, ['s › bad']]);
    assert.match(errors(result), /why it failed[\s\S]*\.test\.ts/);
  });

  test('counts skipped and todo tests as failed', async () => {
    const result = await outcomeOf(`test.skip('later', () => {}); test.todo('some day'); test('now', () => {});`);
    assert.deepEqual([result.passed, titles(result)], [1, ['later', 'some day']]);
    assert.match(errors(result), /SKIPPED/);
  });

  test('fails a suite whose before hook failed', async () => {
    const result = await outcomeOf(
      `describe('s', () => { before(() => { throw new Error('hook'); }); test('t', () => {}); });`,
    );
    assert.equal(result.passed, 0);
    assert.match(errors(result), /hook/);
  });

  test('fails a file without tests', async () => {
    assert.match(errors(await outcomeOf(`console.log('nothing here');`)), /no test ran/);
  });

  test('fails a file that does not load, and shows what it printed', async () => {
    const result = await outcomeOf(`test('a', () => {}); throw new Error('cannot load');`);
    assert.deepEqual([result.passed, result.failures.length], [0, 1]);
    assert.match(result.output, /cannot load/);
  });

  test('fails a file that exits with 0 before its tests are done', async () => {
    const result = await outcomeOf(
      `test('a', () => {}); test('b', async () => { await new Promise((r) => setTimeout(r, 100)); process.exit(0); }); test('c', () => {});`,
    );
    assert.equal(result.failures.length, 1);
  });

  test('fails a file with a rejection nobody handled', async () => {
    const result = await outcomeOf(
      `test('a', () => { setTimeout(() => { Promise.reject(new Error('too late')); }, 50); });`,
    );
    assert.match(errors(result), /too late/);
  });

  test('ends a file that hangs, with its children, and names the test', async () => {
    const hanging = `import { spawn } from 'node:child_process';
       test('hangs for ever', () => { spawn('sleep', ['987']); return new Promise((r) => setTimeout(r, 1e6)); });`;
    let result = await outcomeOf(hanging, 1.5);
    // On a slow machine a test has not even begun by then.
    for (const seconds of [6, 30])
      if (!/last test that began/.test(errors(result))) result = await outcomeOf(hanging, seconds);
    assert.deepEqual(titles(result), ['time limit']);
    assert.match(errors(result), /did not end within [\d.]+ s.*hangs for ever/);
  });

  test('finds, names and ends a process that was left behind, also one without its environment', async () => {
    const result = await outcomeOf(
      `import { spawn } from 'node:child_process';
       import { tmpdir } from 'node:os';
       test('a', () => {
         spawn('sleep', ['986'], { detached: true, stdio: 'ignore' }).unref();
         spawn('sleep', ['985'], { detached: true, stdio: 'ignore', env: { PATH: process.env.PATH }, cwd: tmpdir() }).unref();
       });`,
    );
    assert.deepEqual(titles(result), ['left behind', 'left behind']);
    assert.match(errors(result), /sleep 98[56][\s\S]*sleep 98[56]/);
    const pids = [...errors(result).matchAll(/process (\d+)/g)].map((found) => Number(found[1]));
    // Dead, though perhaps not yet collected by its parent: then it has no command line any more.
    for (const pid of pids) {
      const proc = `/proc/${pid}/cmdline`;
      assert.equal(existsSync(proc) ? readFileSync(proc, 'utf8') : '', '');
    }
  });

  test('names files that were left in the temporary directory', async () => {
    const result = await outcomeOf(
      `import { mkdtempSync } from 'node:fs'; import { tmpdir } from 'node:os';
       test('a', () => { mkdtempSync(tmpdir() + '/forgotten-'); });`,
    );
    assert.match(errors(result), /forgotten-/);
  });
});
