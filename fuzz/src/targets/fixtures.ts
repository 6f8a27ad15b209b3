import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Evidence that real machines gave: a file of the evidence package's fixtures. */
export function fixture(path: string): Uint8Array {
  const folder = join(import.meta.dirname, '../../../packages/evidence/test/fixtures');
  return new Uint8Array(readFileSync(join(folder, path)));
}
