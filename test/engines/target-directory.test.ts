import { strict as assert } from 'node:assert';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { lookAtDirectory, makeDirectory } from '#engines/target-directory';
import { withCode } from '#test/contracts/engine-assertions';

describe('the directory of a target', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-target-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  test('is made with those it lies in; one that is there stays as it is', async () => {
    mkdirSync(join(folder, 'there'), { mode: 0o700 });
    symlinkSync('there', join(folder, 'link'));
    for (const path of ['a/b/c', 'a/b/c', 'a/b/d', 'there', 'link', 'link/e/f'])
      await makeDirectory(join(folder, path));
    assert.deepEqual(readdirSync(join(folder, 'a/b')), ['c', 'd']);
    assert.ok(existsSync(join(folder, 'there/e/f')));
    writeFileSync(join(folder, 'file'), '');
    symlinkSync('nowhere', join(folder, 'dangling'));
    await assert.rejects(makeDirectory(join(folder, 'file')), { code: 'EEXIST' });
    await assert.rejects(makeDirectory(join(folder, 'file/x')), { code: 'ENOTDIR' });
    await assert.rejects(makeDirectory(join(folder, 'dangling')), { code: 'EEXIST' });
  });

  test('where a file system takes none, as /proc, it is refused at once', { timeout: 5000 }, async () => {
    await assert.rejects(makeDirectory('/proc/holdfast/a/b'), { code: 'ENOENT' });
    await assert.rejects(makeDirectory('/sys/holdfast/a/b'), /EPERM|EACCES|EROFS/);
    for (const path of ['/proc/holdfast/a', '/sys/holdfast/a'])
      await assert.rejects(lookAtDirectory(path, 1), (error: Error & { code: string }) => {
        assert.ok(['space-lacking', 'target-unusable'].includes(error.code), error.message);
        return true;
      });
  });

  test('a look makes nothing, and tells a file in the way, and too little room', async () => {
    await lookAtDirectory(join(folder, 'not/yet'), 1);
    assert.equal(existsSync(join(folder, 'not')), false);
    writeFileSync(join(folder, 'plain'), '');
    await assert.rejects(lookAtDirectory(join(folder, 'plain'), 1), withCode('target-unusable'));
    await assert.rejects(lookAtDirectory(join(folder, 'plain/below'), 1), withCode('target-unusable'));
    await assert.rejects(lookAtDirectory(join(folder, 'not/yet'), 2 ** 62), withCode('space-lacking'));
  });
});
