import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromUtf8, parseJson } from '@kallio/codec';
import Schema from 'typebox/schema';
import { afterAll, describe, expect, test } from 'vitest';
import { statementSchema } from '../src/index.ts';
import { build, TestServer, testKey } from './support/honest.ts';

const file = join(import.meta.dirname, '../../../docs/schemas/image-signature-v1.schema.json');
const server = new TestServer();
afterAll(() => server.close());

describe('the published JSON Schema of the image signature', () => {
  test('is what the code says (npm run schemas writes it anew)', () => {
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(statementSchema());
  });

  test('takes a real statement, and refuses it with a field more or less', async () => {
    const { payload } = await build(server, testKey());
    const published = Schema.Compile(JSON.parse(readFileSync(file, 'utf8')));
    const statement = JSON.parse(JSON.stringify(parseJson(fromUtf8(payload))));
    expect(published.Check(statement)).toBe(true);
    expect(published.Check({ ...statement, also: 1 })).toBe(false);
    const { fileManifest: _, ...less } = statement.predicate;
    expect(published.Check({ ...statement, predicate: less })).toBe(false);
  });
});
