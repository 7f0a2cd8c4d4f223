import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
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
