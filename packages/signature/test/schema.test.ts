import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromUtf8, parseJson } from '@kallio/codec';
import Schema from 'typebox/schema';
import { afterAll, describe, expect, test } from 'vitest';
import { imagePolicySchema, statementSchema } from '../src/index.ts';
import { build, TestServer, testKey } from './support/honest.ts';

const file = join(import.meta.dirname, '../../../docs/schemas/image-signature-v1.schema.json');
const policyFile = join(import.meta.dirname, '../../../docs/schemas/image-policy-v1.schema.json');
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

describe('the published JSON Schema of the image policy', () => {
  test('is what the code says (npm run schemas writes it anew)', () => {
    expect(JSON.parse(readFileSync(policyFile, 'utf8'))).toEqual(imagePolicySchema());
  });

  test('takes a policy, and refuses it with a rule that nobody knows', () => {
    const published = Schema.Compile(JSON.parse(readFileSync(policyFile, 'utf8')));
    const policy = {
      ...server.policy(),
      require: { nonRoot: true, labels: { 'org.opencontainers.image.source': [] } },
      revoked: [{ session: 'session-0001', reason: 'built by mistake' }],
    };
    expect(published.Check(policy)).toBe(true);
    expect(published.Check({ ...policy, require: { nonroot: true } })).toBe(false);
    expect(published.Check({ ...policy, revoked: [{ session: 'session-0001' }] })).toBe(false);
  });
});
