import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import type { Plan } from '#core/plan';
import { loadPlan } from '#core/plan-load';
import { pathText } from '#core/plan-problem';
import { support } from '#core/plan-support';
import { at, EXAMPLES, partsOf, RETENTION, sectionsOf, textOf, withLater } from '#test/examples/plans';

const FILES = globSync('*.yaml', { cwd: EXAMPLES }).sort();

describe('examples', () => {
  test('there is a plan for each of the five systems, and README tells what became of its scripts', () => {
    assert.deepEqual(FILES, ['archon72.yaml', 'chatcard.yaml', 'elspeth.yaml', 'genesis.yaml', 'sin-solver.yaml']);
    assert.deepEqual([...sectionsOf().keys()].sort(), FILES);
  });

  for (const file of FILES) {
    const name = basename(file, '.yaml');
    const text = textOf(name);
    const later = withLater(text);
    const rows = sectionsOf().get(file) ?? [];

    test(`${file} loads, and its plan has its name`, () => {
      assert.equal(loadPlan(text, file).plan.name, name);
    });

    test(`every source of ${file} can be backed up by this version`, () => {
      assert.deepEqual(refusals(loadPlan(text, file).plan), []);
    });

    test(`what waits in ${file} behind #~ loads too, and is refused by check until it is there`, () => {
      const { plan } = loadPlan(later, file);
      const waiting = Object.keys(plan.sources).filter((source) => !(source in loadPlan(text, file).plan.sources));
      const refused = new Set(refusals(plan).map(({ path }) => String(path[1])));
      assert.deepEqual([...refused].filter((source) => !waiting.includes(source)).sort(), []);
      // A PostgreSQL in place of elspeth's SQLite waits for nothing but the reader.
      assert.deepEqual(
        waiting.filter((source) => !refused.has(source)),
        name === 'elspeth' ? ['audit-database'] : [],
      );
    });

    test(`age seals to each recipient of ${file}`, () => {
      const { encryption } = loadPlan(text, file).plan;
      assert.ok(encryption !== 'none' && encryption.recipients.length === 2);
      const recipients = encryption.recipients.flatMap((recipient) => ['-r', recipient]);
      const sealed = spawnSync('age', ['-e', ...recipients], { input: 'x' });
      assert.equal(sealed.status, 0, String(sealed.stderr));
    });

    test(`every key that README names for ${file} stands in the plan`, () => {
      const plan: unknown = parse(later);
      assert.ok(rows.length > 25, 'the table was found');
      const absent = rows.flatMap((row) => row.keys.filter((key) => at(plan, key) === undefined));
      assert.deepEqual(absent, []);
    });

    test(`no part of ${file} is without a sentence of the handbook in README`, () => {
      const told = rows.flatMap((row) => row.keys);
      const untold = partsOf(parse(later)).filter(
        (part) => !told.some((key) => key === part || key.startsWith(`${part}.`) || key.startsWith(`${part}[`)),
      );
      assert.deepEqual(untold, []);
    });

    test(`README says "not yet" of ${file} exactly where check does`, () => {
      const { plan } = loadPlan(later, file);
      const silent = [null, ...Object.keys(plan.sources)].flatMap((source) => {
        const { refusals: refused, warnings } = support(plan, source, 'check');
        return [...refused, ...warnings].map(({ path }) => pathText(path));
      });
      const notYet = rows.filter((row) => row.state === 'not yet').flatMap((row) => row.keys);
      const yes = rows.filter((row) => row.state === 'yes').flatMap((row) => row.keys);
      const meets = (key: string, path: string): boolean => inside(key, path) || inside(path, key);
      assert.deepEqual(
        [...new Set(silent)].filter((path) => !notYet.some((key) => meets(key, path))),
        [],
        'check says that these are not there yet, README does not',
      );
      assert.deepEqual(
        yes.filter((key) => silent.some((path) => inside(key, path))),
        [],
        'README says yes, check says that they are not there yet',
      );
      const promised = rows.filter((row) => row.state === 'not yet');
      assert.deepEqual(
        promised
          .filter((row) => !row.keys.some((key) => silent.some((path) => meets(key, path))))
          .map((row) => row.text),
        [],
        'README says not yet, check does not',
      );
    });
  }

  for (const [name, rows] of Object.entries(RETENTION))
    test(`each retention row of the ${name} handbook is its tier in the plan`, () => {
      const { plan } = loadPlan(withLater(textOf(name)), name);
      for (const { handbook, source, tier, keep, vaults } of rows) {
        const found = plan.tiers[tier]?.keep;
        assert.deepEqual(
          { handbook, keep: found && 'text' in found ? found.text : found, vaults: vaultsOf(plan, source, tier) },
          { handbook, keep, vaults },
        );
      }
    });
});

function refusals(plan: Plan) {
  return [null, ...Object.keys(plan.sources)].flatMap((name) => support(plan, name, 'backup').refusals);
}

function inside(key: string, path: string): boolean {
  return key === path || key.startsWith(`${path}.`) || key.startsWith(`${path}[`);
}

function vaultsOf(plan: Plan, source: string, tier: string): readonly string[] {
  const schedules = (plan.sources[source]?.schedule ?? []).filter((one) => (one.tiers ?? [one.tier]).includes(tier));
  return [...new Set(schedules.flatMap(({ to }) => to))];
}
