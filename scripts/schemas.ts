import { writeFileSync } from 'node:fs';
import { statementSchema } from '../packages/signature/src/index.ts';

// Writes docs/schemas anew: `npm run schemas`. A test fails while what is there is not what the code says.
writeFileSync(
  new URL('../docs/schemas/image-signature-v1.schema.json', import.meta.url),
  `${JSON.stringify(statementSchema(), null, 2)}\n`,
);
