import { writeFileSync } from 'node:fs';
import { imagePolicySchema, statementSchema } from '../packages/signature/src/index.ts';

// Writes docs/schemas anew: `npm run schemas`. A test fails while what is there is not what the code says.
const schemas = {
  'image-signature-v1.schema.json': statementSchema(),
  'image-policy-v1.schema.json': imagePolicySchema(),
};
for (const [name, schema] of Object.entries(schemas)) {
  const file = new URL(`../docs/schemas/${name}`, import.meta.url);
  writeFileSync(file, `${JSON.stringify(schema, null, 2)}\n`);
}
