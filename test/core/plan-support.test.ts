import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { NotThereYet } from '#core/errors';
import type { Plan } from '#core/plan';
import { type LoadedPlan, loadPlan } from '#core/plan-load';
import { pathText } from '#core/plan-problem';
import { assertSupported, support } from '#core/plan-support';

const design = readFileSync(new URL('./fixtures/design.yaml', import.meta.url), 'utf8');
const loaded = loadPlan(design, 'holdfast.yaml');
const { plan } = loaded;

function reloaded(from: string, to: string): LoadedPlan {
  assert.ok(design.includes(from), from);
  return loadPlan(design.replace(from, to), 'holdfast.yaml');
}
const changed = (from: string, to: string): Plan => reloaded(from, to).plan;
const TABLES = ', tables: [events, witnesses, halt_state, key_registry]';
const physical = reloaded(TABLES, ', mode: physical, wal: { via: stream }');
const rds = reloaded('git: { repository: /srv/app.git }', 'rds: { instance: main }');
function keysOf(which: Plan, source: string | null, command: string): { refusals: string[]; warnings: string[] } {
  const { refusals, warnings } = support(which, source, command);
  return { refusals: refusals.map(({ path }) => pathText(path)), warnings: warnings.map(({ path }) => pathText(path)) };
}

describe('what a plan may say and this version does not do yet', () => {
  test('where nothing of the promise can be kept the source is refused with exit 2; its neighbours are not', () => {
    const rows: [LoadedPlan, source: string, key: string, what: string][] = [
      [physical, 'events', 'sources.events.postgres.mode', 'mode: physical'],
      [loaded, 'code', 'sources.code.git', 'the engine git'],
      [rds, 'code', 'sources.code.rds', 'the engine rds'],
    ];
    for (const [which, source, key, what] of rows) {
      for (const command of ['backup', 'prove', 'restore']) {
        assert.throws(
          () => assertSupported(which, source, command),
          (thrown) => {
            assert.ok(thrown instanceof NotThereYet);
            assert.equal(thrown.exit, 2);
            assert.equal(thrown.at, which.at(key.split('.')));
            assert.match(thrown.at, /^holdfast\.yaml:\d+:\d+$/);
            assert.equal(thrown.source, source);
            assert.ok(thrown.hint);
            assert.equal(thrown.message, `${key}: ${what} is accepted but not there yet in this version`);
            return true;
          },
        );
      }
      assert.doesNotThrow(() => assertSupported(which, source, 'list'));
      assert.doesNotThrow(() => assertSupported(which, 'cache', 'backup'));
    }
  });

  test('where part of it can be kept a backup is taken, and says what is missing from it', () => {
    assert.deepEqual(keysOf(plan, 'cache', 'backup'), { refusals: [], warnings: ['sources.cache.redis.aof'] });
    assert.deepEqual(keysOf(plan, 'app', 'backup'), {
      refusals: [],
      warnings: ['sources.app.schedule[1].kind', 'tiers.monthly.class', 'tiers.yearly.class'],
    });
    assert.deepEqual(keysOf(plan, 'payloads', 'backup'), { refusals: [], warnings: [] });
    // A replica in a region is the deployed stack's to make, where there is one.
    assert.deepEqual(keysOf(plan, 'config', 'backup'), { refusals: [], warnings: [] });
    const alone = changed(/^cloud:.*$/m.exec(design)?.[0] ?? 'cloud:', '');
    assert.deepEqual(keysOf(alone, 'config', 'backup'), { refusals: [], warnings: ['vaults.cloud.replica'] });
  });

  test('check hears of each part once: by source, and of the plan as a whole', () => {
    const heard = [...Object.keys(plan.sources), null].map((source) => keysOf(plan, source, 'check'));
    const all = heard.flatMap(({ refusals, warnings }) => [...refusals, ...warnings]);
    assert.deepEqual([...new Set(all)], all);
    assert.deepEqual(all.toSorted(), [
      'sources.app.schedule[1].kind',
      'sources.cache.redis.aof',
      'sources.code.git',
      'sources.events.drill',
      'tiers.monthly.class',
      'tiers.yearly.class',
    ]);
  });

  test('an identity in Secrets Manager is refused by what needs it, not by a backup', () => {
    const secret = reloaded('{ file: ./holdfast.key }', '{ secret: "arn:aws:secretsmanager:x" }');
    assert.throws(() => assertSupported(secret, 'cache', 'prove'), /identity: \{ secret: ARN \} is accepted but not/);
    assert.throws(() => assertSupported(secret, null, 'restore'), NotThereYet);
    assert.doesNotThrow(() => assertSupported(secret, 'cache', 'backup'));
  });

  test('storage classes say that they have no effect on disks, and what they cost when kept too short', () => {
    const onDisk = changed('tier: daily, to: [ssd] }] }\n  config', 'tier: weekly, to: [ssd] }] }\n  config');
    assert.match(
      support(onDisk, 'payloads', 'backup')
        .warnings.map(({ message }) => message)
        .join('\n'),
      /^tiers\.weekly\.class: class: infrequent has no effect, as no vault of this tier is s3$/,
    );
    const short = changed('keep: 90d, class: infrequent', 'keep: 20d, class: infrequent');
    const messages = support(short, null, 'check').warnings.map(({ message }) => message);
    assert.ok(
      messages.includes('tiers.weekly.class: infrequent is charged for 30 days at least, and weekly keeps 20d'),
    );
  });
});
