import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'yaml';
import * as z from 'zod';
import { planSchema } from '#core/plan';
import { planJsonSchema, planJsonSchemaText } from '#core/plan-json-schema';

test('holdfast.schema.json is the schema of this plan: run `npm run schema` after a change', () => {
  const checkedIn = readFileSync(new URL('../../holdfast.schema.json', import.meta.url), 'utf8');
  assert.equal(checkedIn, planJsonSchemaText());
});

test('the JSON Schema knows every key of the plan, and refuses others', () => {
  const schema = planJsonSchema();
  assert.equal(schema['title'], 'Holdfast plan');
  assert.deepEqual(Object.keys(schema['properties'] as object), Object.keys(planSchema.shape));
  assert.equal(schema['additionalProperties'], false);
  // Has a default, so an editor must not ask for it.
  assert.ok(!(schema['required'] as string[]).includes('timezone'));
});

/** A value of each kind that some key takes and others do not, most of them at an edge. */
const VALUES: readonly unknown[] = [
  ...[null, true, 0, 1, -1, 0.5, 1.5, 64, 65, [], {}, ['a'], [''], [1], '', 'a', 'A', 'x-', 'a b', 'é'],
  ...['0d', '000s', '1s', '5m', '12mo', 'forever', '4 weeks', '0B', '500GB', '5gb', '80%', '100%', '101%'],
  ...['https://x.example.com', 'http://', 'ftp://x', 'x:1', 'a/b', '/a', 'a/', '.a', 'aa', 'abc', 'arn:aws:sns:x'],
  ...['all', 'none', 'always', 'equal', 'kms', 'governance', 'infrequent', 'physical', 'cloud', 'critical', 'NAME'],
  ...['age1qqqqqqqqqqq', 'gpg:x', 'gpg:', '123456789012', 'a'.repeat(63), 'a'.repeat(64)],
  ...[{ versions: 1 }, { versions: 0 }, { atLeast: 1 }, { atLeast: '1' }, { file: 'x' }, { env: 'X' }, { env: 'x y' }],
  ...[{ url: 'x' }, { bin: 'x' }, { disk: 'x' }, { s3: 'abc' }, { email: 'a@b' }, { email: 'a' }, { unknown: 1 }],
];

/** The design's plan with keys in it that the design names in comments alone. */
function everyKey(): Record<string, unknown> {
  const text = readFileSync(new URL('./fixtures/design.yaml', import.meta.url), 'utf8');
  const plan = parse(text);
  Object.assign(plan.sources.events, { hold: true, prove: { cron: '0 4 * * *', with: { url: 'x' } } });
  Object.assign(plan.sources.events.postgres, {
    ...{ mode: 'physical', jobs: 2, schemaOnly: true, databases: 'all', globals: true, partial: true, version: 16 },
    ...{ fingerprint: 'counts', packages: ['x'], bin: '/x', exec: ['docker'] },
    wal: { via: 'stream', keep: '7d', flush: '60s', to: ['ssd'] },
  });
  Object.assign(plan.vaults.cloud, { sse: 'kms', existing: true, lockFor: '1y', capacity: '1TB', site: 'x' });
  Object.assign(plan.alerts, { smtp: { url: 'smtp://x', from: 'a@b' }, repeatEvery: '1d' });
  Object.assign(plan.cloud, { account: '123456789012', workers: { default: { cpu: 0.5, memory: '2GB' } } });
  plan.sources.main = { rds: { instance: 'x' }, schedule: [{ every: '1d', tier: 'daily', to: ['cloud'] }] };
  return plan;
}

/** Each place in a plan, and the plan with something else there. */
function* changedPlans(): Iterable<readonly [what: string, plan: unknown]> {
  const whole = everyKey();
  const places = new Map<string, (string | number)[]>();
  const walk = (value: unknown, path: (string | number)[]): void => {
    // What one source, vault or list entry has been asked need not be asked of its like.
    const like = path.map((part, at) => (typeof part === 'number' || (at === 1 && path.length > 2) ? '*' : part));
    if (path.length > 0) places.set(like.join('.'), path);
    if (typeof value !== 'object' || value === null) return;
    for (const [key, inner] of Object.entries(value)) walk(inner, [...path, Array.isArray(value) ? Number(key) : key]);
  };
  walk(whole, []);
  for (const path of places.values()) {
    let holder = whole as Record<string | number, unknown>;
    for (const part of path.slice(0, -1)) holder = holder[part] as typeof holder;
    const last = path.at(-1) as string | number;
    const before = holder[last];
    for (const value of [undefined, ...VALUES]) {
      if (value === undefined && !Array.isArray(holder)) delete holder[last];
      else holder[last] = value ?? null;
      yield [`${path.join('.')} = ${JSON.stringify(value)}`, whole];
    }
    holder[last] = before;
  }
}

test("what the JSON Schema accepts the plan's own schema does too, and the other way round", () => {
  const foreign = z.fromJSONSchema(planJsonSchema() as Parameters<typeof z.fromJSONSchema>[0]);
  let accepted = 0;
  const apart: string[] = [];
  for (const [what, plan] of changedPlans()) {
    const ours = planSchema.safeParse(plan).success;
    if (ours) accepted++;
    if (ours !== foreign.safeParse(plan).success) apart.push(`${ours ? 'ours' : 'the JSON Schema'} alone: ${what}`);
  }
  assert.ok(accepted > 500, `of the plans tried only ${accepted} are sound`);
  assert.deepEqual(apart, []);
});
