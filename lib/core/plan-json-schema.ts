import * as z from 'zod';
import { planSchema } from '#core/plan';

/** The plan's JSON Schema, for editors: what a file may say, before defaults are put in and durations are read. */
export function planJsonSchema(): Record<string, unknown> {
  const { $schema, ...schema } = z.toJSONSchema(planSchema, { io: 'input', target: 'draft-2020-12' });
  return {
    $schema,
    title: 'Holdfast plan',
    description: 'What is backed up, when, where to, for how long, and how it is proven (holdfast.yaml).',
    ...schema,
  };
}

/** As it stands in `holdfast.schema.json`. */
export function planJsonSchemaText(): string {
  return `${JSON.stringify(planJsonSchema(), null, 2)}\n`;
}
