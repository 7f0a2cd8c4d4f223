import { strict as assert } from 'node:assert';
import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { removeTree } from '#engines/files/remove-tree';
import { fillOddTree, fillTree, temporary } from '#test/engines/files/trees';

const place = temporary('remove-tree');
after(() => place.remove());

test('removes a tree of odd names, closed directories and many files, and nothing that its links point to', async () => {
  const outside = place.folder();
  writeFileSync(join(outside, 'mine'), 'mine');
  const tree = join(place.folder(), 'tree');
  mkdirSync(join(tree, 'closed with something'), { recursive: true });
  fillTree(tree);
  fillOddTree(join(tree, 'empty'));
  symlinkSync(outside, join(tree, 'outside'));
  for (let index = 0; index < 3000; index++) writeFileSync(join(tree, 'docs', `many ${index}`), '');
  writeFileSync(join(tree, 'closed with something/x'), 'x');
  chmodSync(join(tree, 'closed with something'), 0);
  await removeTree(tree);
  assert.equal(existsSync(tree), false);
  assert.deepEqual(readdirSync(outside), ['mine']);
});

test('what is not there, a file, and a link are no directory', async () => {
  const folder = place.folder();
  await removeTree(join(folder, 'nothing'));
  writeFileSync(join(folder, 'file'), '');
  symlinkSync(place.path, join(folder, 'link'));
  await removeTree(join(folder, 'file'));
  await removeTree(join(folder, 'link'));
  assert.deepEqual(readdirSync(folder), []);
  assert.equal(existsSync(place.path), true);
});
