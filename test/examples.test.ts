import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';
import { loadPlan } from '#core/plan-load';
import { support } from '#core/plan-support';

const FOLDER = join(import.meta.dirname, '..', 'examples');
const FILES = globSync('*.yaml', { cwd: FOLDER }).sort();

describe('examples', () => {
  test('there is a plan for each of the five systems, and README tells what became of its scripts', () => {
    assert.deepEqual(FILES, ['archon72.yaml', 'chatcard.yaml', 'elspeth.yaml', 'genesis.yaml', 'sin-solver.yaml']);
    const told = [...readFileSync(join(FOLDER, 'README.md'), 'utf8').matchAll(/^## (\S+\.yaml)$/gm)].map(
      ([, it]) => it,
    );
    assert.deepEqual(told.sort(), FILES);
  });

  for (const file of FILES) {
    const text = readFileSync(join(FOLDER, file), 'utf8');

    test(`${file} loads, and its plan has its name`, () => {
      assert.equal(loadPlan(text, file).plan.name, basename(file, '.yaml'));
    });

    test(`every source of ${file} can be backed up by this version`, () => {
      const { plan } = loadPlan(text, file);
      const refused = Object.keys(plan.sources).flatMap((name) => support(plan, name, 'backup').refusals);
      assert.deepEqual(refused, []);
    });

    test(`age seals to each recipient of ${file}`, () => {
      const { encryption } = loadPlan(text, file).plan;
      assert.ok(encryption !== 'none' && encryption.recipients.length === 2);
      const recipients = encryption.recipients.flatMap((recipient) => ['-r', recipient]);
      const sealed = spawnSync('age', ['-e', ...recipients], { input: 'x' });
      assert.equal(sealed.status, 0, String(sealed.stderr));
    });
  }
});
