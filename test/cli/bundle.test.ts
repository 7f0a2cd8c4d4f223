import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BIN } from '#test/cli/holdfast';

/** A checkout that has the real `bin/holdfast`, and programs that say which of them runs. */
describe('bin/holdfast runs the bundle, which starts faster, or the sources', () => {
  const FILES = ['bin/holdfast.ts', 'lib/core/a.ts', 'package-lock.json', 'node_modules/.package-lock.json'];
  /** A file system tells times to some milliseconds. */
  const TICK = 20;
  let root: string;

  const at = (file: string): string => join(root, file);
  /** As one who unpacks a newer version does, with the times of last change that its files have there. */
  const replace = (name: string): void => {
    cpSync(at(name), at(`${name}.new`));
    utimesSync(at(`${name}.new`), 1, 1);
    renameSync(at(`${name}.new`), at(name));
  };
  const runs = (): string => execFileSync(at('bin/holdfast'), { encoding: 'utf8' }).trim();

  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'hf-bundle-'));
    for (const file of [...FILES, 'dist/cli/holdfast.cjs']) {
      mkdirSync(dirname(at(file)), { recursive: true });
      writeFileSync(at(file), '');
    }
    for (const name of ['holdfast', 'bundle-is-new']) cpSync(join(dirname(BIN), name), at(`bin/${name}`));
    mkdirSync(at('node_modules/.bin'));
    symlinkSync(process.execPath, at('node_modules/.bin/node'));
    writeFileSync(at('bin/holdfast.ts'), "console.log('sources' as string)");
    writeFileSync(at('dist/cli/holdfast.cjs'), "console.log('bundle')");
    await sleep(TICK);
    utimesSync(at('dist/cli/holdfast.cjs'), new Date(), new Date());
    await sleep(TICK);
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  test('the bundle, when nothing is newer', () => assert.equal(runs(), 'bundle'));

  test('through a link from elsewhere too', () => {
    symlinkSync(at('bin/holdfast'), at('link'));
    assert.equal(execFileSync(at('link'), { encoding: 'utf8', cwd: tmpdir() }).trim(), 'bundle');
  });

  for (const file of FILES)
    test(`the sources, when ${file} was replaced after the bundle was made, by a file of any age`, () => {
      replace(file);
      assert.equal(runs(), 'sources');
    });

  test('the sources, when one of them was taken away', () => {
    rmSync(at('lib/core/a.ts'));
    assert.equal(runs(), 'sources');
  });

  test('the sources, when the bundle was made by a clock that was ahead: nothing would ever be newer', () => {
    const ahead = new Date(Date.now() + 3_600_000);
    utimesSync(at('dist/cli/holdfast.cjs'), ahead, ahead);
    assert.equal(runs(), 'sources');
  });

  test('the sources, when there is no bundle', () => {
    rmSync(at('dist'), { recursive: true });
    assert.equal(runs(), 'sources');
  });

  test('the sources, when it cannot be told how old things are', () => {
    rmSync(at('node_modules/.package-lock.json'));
    assert.equal(runs(), 'sources');
  });
});
