import { strict as assert } from 'node:assert';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { PlanInvalid } from '#core/errors';
import { byteString } from '#engines/files/byte-string';
import { mountOf, parseMounts } from '#engines/files/mounts';
import { compilePattern } from '#engines/files/patterns';
import { rootsOf } from '#engines/files/roots';

const matches = (pattern: string, path: string, isDirectory = false): boolean =>
  compilePattern(pattern, { what: 'test' }).matches(byteString(path), isDirectory);

test('exclude patterns mean what they mean in gitignore', () => {
  const yes: [string, string, boolean?][] = [
    ['*.tmp', 'a.tmp'],
    ['*.tmp', 'deep/er/a.tmp'],
    ['node_modules', 'x/node_modules', true],
    ['cache/', 'x/cache', true],
    ['/build', 'build'],
    ['src/*.o', 'src/a.o'],
    ['**/x', 'x'],
    ['**/x', 'a/b/x'],
    ['a/**', 'a/b/c'],
    ['a/**/z', 'a/z'],
    ['a/**/z', 'a/b/c/z'],
    ['[a-c]?', 'b9'],
    ['[!a-c]', 'd'],
    ['[]]', ']'],
    ['\\*', '*'],
    ['?', 'é'],
    ['a+b(c).txt', 'a+b(c).txt'],
    ['*é*', 'x é y'],
  ];
  const no: [string, string, boolean?][] = [
    ['*.tmp', 'a.tmp.gz'],
    ['cache/', 'cache', false],
    ['/build', 'src/build'],
    ['src/*.o', 'src/deep/a.o'],
    ['a/**', 'a', true],
    ['[!a-c]', 'a'],
    ['\\*', 'x'],
    ['a?c', 'a/c'],
    ['*.TMP', 'a.tmp'],
    ['a.c', 'abc'],
  ];
  for (const [pattern, path, isDirectory] of yes)
    assert.equal(matches(pattern, path, isDirectory), true, `${pattern} ${path}`);
  for (const [pattern, path, isDirectory] of no)
    assert.equal(matches(pattern, path, isDirectory), false, `${pattern} ${path}`);
  for (const wrong of ['!a', '', '/', '../x', 'a//b', '[a', 'x\\', '[z-a]'])
    assert.throws(() => compilePattern(wrong, { what: 'test' }), PlanInvalid, wrong);
});

test('a name without wildcards matches itself alone, whatever is in it', () => {
  const name = fc.string({ minLength: 1, unit: fc.constantFrom(...'ab.+^$(){}|-#& é🦊') });
  fc.assert(
    fc.property(name, name, (one, other) => {
      fc.pre(one !== '.' && one !== '..');
      assert.equal(matches(one, one), true);
      assert.equal(matches(one, other), one === other);
    }),
  );
});

test('names in the archive are relative to the deepest directory that holds all listed paths', () => {
  const named = (...paths: string[]): unknown[] => {
    const { base, names } = rootsOf(paths);
    return [base, ...names];
  };
  assert.deepEqual(named('/srv/app/data'), ['/srv/app', 'data']);
  assert.deepEqual(named('/srv/app/a', '/srv/app/b/c'), ['/srv/app', 'a', 'b/c']);
  assert.deepEqual(named('/srv/app', '/srv/app/a'), ['/srv', 'app', 'app/a']);
  assert.deepEqual(named('/etc/nginx', '/srv/app'), ['/', 'etc/nginx', 'srv/app']);
  assert.deepEqual(named('/'), ['/', '.']);
  assert.deepEqual(named('/', '/srv'), ['/', '.', 'srv']);
  assert.deepEqual(named('/srv/ab', '/srv/abc'), ['/srv', 'ab', 'abc']);
});

test('mounts are read with their odd names, and the innermost one counts', () => {
  const mounts = parseMounts(
    [
      '22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw',
      '23 22 0:21 / /proc rw - proc proc rw',
      '24 22 0:40 / /mnt/a\\040b rw master:1 shared:2 - nfs4 server:/x rw',
      '25 22 0:41 / /mnt/a\\040b/c rw - fuse.sshfs x rw',
    ].join('\n'),
  );
  assert.equal(mountOf(mounts, '/mnt/a b/d')?.type, 'nfs4');
  assert.equal(mountOf(mounts, '/mnt/a b/c/d')?.network, true);
  assert.equal(mountOf(mounts, '/mnt/a bc')?.type, 'ext4');
  assert.equal(mountOf(mounts, '/proc/1')?.pseudo, true);
});
