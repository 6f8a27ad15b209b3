import { expect, it } from 'vitest';
import { newId } from '../src/serve.ts';

it('an identifier is 144 bits of URL-safe text, and no option of a command line', () => {
  // Of random ones, one in 64 would begin with a hyphen.
  const ids = Array.from({ length: 5000 }, newId);
  for (const id of ids) expect(id).toMatch(/^[A-Za-z0-9_][A-Za-z0-9_-]{23}$/);
  expect(new Set(ids).size).toBe(ids.length);
});
