/** Writes `holdfast.schema.json` at the root of the repository: `npm run schema`, after a change of the plan's shape. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { planJsonSchemaText } from '#core/plan-json-schema';

const file = fileURLToPath(new URL('../../holdfast.schema.json', import.meta.url));
writeFileSync(file, planJsonSchemaText());
console.error(`wrote ${file}`);
