import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { policySchema } from '../src/index.ts';

const PUBLISHED = join(import.meta.dirname, '../../../docs/schemas/policy.schema.json');

describe('the policy’s JSON Schema', () => {
  it('is published as it is declared: kallio policy schema > docs/schemas/policy.schema.json', () => {
    expect(JSON.parse(readFileSync(PUBLISHED, 'utf8'))).toEqual(JSON.parse(JSON.stringify(policySchema())));
  });

  it('lets no object have a field that it does not name', () => {
    const open: string[] = [];
    walk(JSON.parse(JSON.stringify(policySchema())), '', open);
    expect(open).toEqual([]);
  });
});

/** Places of objects that take any field. */
function walk(schema: unknown, at: string, open: string[]): void {
  if (schema === null || typeof schema !== 'object') return;
  const { type, additionalProperties } = Object.fromEntries(Object.entries(schema));
  if (type === 'object' && additionalProperties !== false) open.push(at);
  for (const [name, inner] of Object.entries(schema)) walk(inner, `${at}/${name}`, open);
}
