import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { digestOf, fromUtf8, parseJson } from '@kallio/codec';
import { parseImagePolicy, verifyBuildEvidence, verifyImageSignature } from '@kallio/signature';
import { describe, expect, it } from 'vitest';
import { fieldsOf, rowsBelow } from '../src/example/table.ts';

const docs = fileURLToPath(new URL('../../docs/', import.meta.url));
const file = (name: string) => new Uint8Array(readFileSync(`${docs}examples/${name}`));
const bundle = file('bundle.json');

function judge(given: Uint8Array) {
  return verifyImageSignature({
    bundle: given,
    manifestDigest: digestOf(file('manifest.json')),
    configBytes: file('config.json'),
    policy: parseImagePolicy(parseJson(file('image-policy.json'))),
    now: new Date(),
  });
}

/* `npm run example` makes docs/examples anew. */
describe('the example in docs/formats.md', () => {
  it('is a real signature, whose raw evidence holds', async () => {
    const verdict = await judge(bundle);
    expect(verdict.refusal).toBeUndefined();
    if (!verdict.ok) return;
    expect(verifyBuildEvidence(file('evidence.json'), verdict)).toMatchObject({ messages: 2 });
  });

  it('is refused with another byte', async () => {
    const text = fromUtf8(bundle);
    const altered = text.replace('"logIndex":"1"', '"logIndex":"2"');
    expect(altered).not.toBe(text);
    expect((await judge(new TextEncoder().encode(altered))).ok).toBe(false);
  });

  it('is explained field by field: none is left out, none is made up, each has its value', () => {
    const rows = rowsBelow(readFileSync(`${docs}formats.md`, 'utf8'), '## A real example');
    expect(rows.map(([path, value]) => ({ path, value }))).toEqual(fieldsOf(bundle));
    for (const [path, , meaning] of rows) expect(meaning.length, path).toBeGreaterThan(8);
  });
});
