import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { BIN } from '#test/cli/holdfast';

/** A checkout that has the real `bin/holdfast`, and programs that say which of them runs. */
describe('bin/holdfast runs the bundle, which starts faster, or the sources', () => {
  const BUNDLED = new Date(2030, 0, 1, 12, 0, 30);
  const BEFORE = new Date(2030, 0, 1, 12, 0, 29, 500);
  const AFTER = new Date(2030, 0, 1, 12, 0, 30, 500);
  const FILES = ['bin/holdfast.ts', 'lib/core/a.ts', 'package-lock.json', 'node_modules/.package-lock.json'];
  const FOLDERS = ['bin', 'lib', 'lib/core'];
  let root: string;

  const at = (file: string): string => join(root, file);
  const age = (name: string, time: Date): void => utimesSync(at(name), time, time);
  const runs = (): string => execFileSync(at('bin/holdfast'), { encoding: 'utf8' }).trim();

  beforeEach(() => {
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
    for (const name of [...FILES, 'bin/holdfast', 'bin/bundle-is-new', ...FOLDERS]) age(name, BEFORE);
    age('dist/cli/holdfast.cjs', BUNDLED);
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  test('the bundle, when nothing is newer', () => assert.equal(runs(), 'bundle'));

  test('through a link from elsewhere too', () => {
    symlinkSync(at('bin/holdfast'), at('link'));
    assert.equal(execFileSync(at('link'), { encoding: 'utf8', cwd: tmpdir() }).trim(), 'bundle');
  });

  for (const file of FILES)
    test(`the sources, when ${file} changed by half a second after the bundle was made`, () => {
      age(file, AFTER);
      assert.equal(runs(), 'sources');
    });

  test('the sources, when one of them was taken away', () => {
    age('lib/core', AFTER);
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
