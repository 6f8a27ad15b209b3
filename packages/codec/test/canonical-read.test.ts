import fc from 'fast-check';
import { type TSchema, Type } from 'typebox';
import { describe, expect, it } from 'vitest';
import { canonicalReader } from '../src/canonical-read.ts';
import { Base64, canonicalize, DigestSchema, decodeShape, Exact, parseJson, utf8 } from '../src/index.ts';
import { anySchema, anyValue } from './any.ts';

const DEPTH = 8;

/** What the strict reader and the check make of canonical bytes; undefined for all others. */
function strictly(schema: TSchema, bytes: Uint8Array): { readonly value: unknown } | undefined {
  try {
    const value = decodeShape(schema, parseJson(bytes));
    return Buffer.compare(utf8(canonicalize(value)), bytes) === 0 ? { value } : undefined;
  } catch {
    return undefined;
  }
}

/** Without prototypes, of which one reader's objects have none. */
const plain = (value: unknown): unknown => structuredClone(value);

/** Reads bytes, and compares: what is read is what is read strictly. Says whether something was. */
function agrees(schema: TSchema, bytes: Uint8Array): boolean {
  const read = canonicalReader(schema, DEPTH)(bytes);
  if (read === undefined) return false;
  const strict = strictly(schema, bytes);
  expect(strict).toBeDefined();
  expect(plain(read)).toEqual(plain(strict?.value));
  return true;
}

/** Of all kinds, as what is signed here has them. */
const Document = Exact({
  any: Type.Record(Type.String(), Type.Unknown()),
  bytes: Base64(64),
  digest: DigestSchema,
  kind: Type.Union([Type.Literal('a'), Type.Literal('b')]),
  list: Type.Array(Exact({ name: Type.String({ maxLength: 40 }), size: Type.Optional(Type.Integer()) }), {
    maxItems: 3,
  }),
  open: Type.Object({ flag: Type.Boolean() }),
  text: Type.String(),
  two: Type.Tuple([Type.Null(), Type.Number()]),
});

const anyText = fc.string({
  unit: fc.constantFrom(...'ab"\\/\n\t\u0000\u001f\u007f\u00e9\u2014', '😀', '\\u0061', '__proto__'),
  maxLength: 5,
});
const document = fc.record({
  any: fc.dictionary(anyText, anyValue),
  bytes: fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes).toString('base64')),
  digest: fc.constant(`sha256:${'0a'.repeat(32)}`),
  kind: fc.constantFrom('a', 'b'),
  list: fc.array(fc.record({ name: anyText, size: fc.integer() }, { requiredKeys: ['name'] }), {
    maxLength: 3,
  }),
  open: fc.record({ flag: fc.boolean() }),
  text: anyText,
  two: fc.tuple(
    fc.constant(null),
    fc.oneof(
      fc.double({ min: -1e6, max: 1e6, noNaN: true }),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
    ),
  ),
});

describe('a reader of canonical JSON', () => {
  it('reads of any schema and value what is read strictly, or leaves it', () => {
    const seen = { read: 0, left: 0 };
    fc.assert(
      fc.property(anySchema, anyValue, (schema, value) => {
        seen[agrees(schema, utf8(canonicalize(value))) ? 'read' : 'left']++;
      }),
      { numRuns: 5000 },
    );
    expect(Math.min(seen.read, seen.left)).toBeGreaterThan(200);
  });

  it('reads the documents that it is for', () => {
    let read = 0;
    fc.assert(
      fc.property(document, (value) => {
        if (agrees(Document, utf8(canonicalize(value)))) read++;
      }),
      { numRuns: 500 },
    );
    expect(read).toBeGreaterThan(200);
  });

  it('reads nothing of a document with a byte changed that would not be read strictly', () => {
    const change = fc.constantFrom<readonly number[]>(
      [],
      ...[...'{}[],:"\\0-.e 9aAz=/\n'].map((c) => [c.charCodeAt(0)]),
      ...[0, 0x7f, 0x80, 0xc3, 0xe2, 0xed, 0xff].map((byte) => [byte]),
      [...utf8('"__proto__":1,')],
      [...utf8('\\u0061')],
      [...utf8('\\ud800')],
    );
    fc.assert(
      fc.property(document, fc.nat(), fc.nat(3), change, (value, where, gone, put) => {
        const honest = [...utf8(canonicalize(value))];
        const at = where % (honest.length + 1);
        agrees(Document, Uint8Array.from([...honest.slice(0, at), ...put, ...honest.slice(at + gone)]));
      }),
      { numRuns: 5000 },
    );
  });

  it('leaves every text that is not canonical', () => {
    const schema = Exact({ a: Type.Unknown(), b: Type.Optional(Type.Record(Type.String(), Type.Integer())) });
    const read = (text: string) => canonicalReader(schema, DEPTH)(utf8(text)) !== undefined;
    expect(read('{"a":1,"b":{"x":1,"y":2}}')).toBe(true);
    for (const text of [
      '{"b":{},"a":1}',
      '{"a":1,"a":1}',
      '{"a":1,"b":{},"b":{}}',
      '{"a":1,"b":{"x":1,"x":1}}',
      '{"a":1,"b":{"y":2,"x":1}}',
      '{"a":1,"b":{"__proto__":1}}',
      '{"a":1,}',
      '{,"a":1}',
      '{"a":1 }',
      ' {"a":1}',
      '{"a":1}\n',
      '\ufeff{"a":1}',
      '{"\\u0061":1}',
      '{"a":"\\u0061"}',
      '{"a":"\\ud800"}',
      '{"a":"\\/"}',
      '{"a":1.0}',
      '{"a":1e2}',
      '{"a":-0}',
      '{"a":01}',
      '{"a":9007199254740993}',
      '{"a":1e999}',
      '{"a":.5}',
      '{"a":tru}',
      '{"a":[1,]}',
      '{"a":[,1]}',
      `{"a":${'['.repeat(9)}${']'.repeat(9)}}`,
      '{"a":1,"c":1}',
      '{}',
    ])
      expect(read(text), text).toBe(false);
  });

  it('has no end of a string where there is none, however long it is', () => {
    const schema = Exact({ a: Type.String() });
    const read = (text: string) => canonicalReader(schema, DEPTH)(utf8(text));
    for (const long of ['\\\\'.repeat(1_000_000), '\\"'.repeat(1_000_000), 'a\\n'.repeat(500_000)]) {
      expect(read(`{"a":"${long}"}`)).toEqual({ a: JSON.parse(`"${long}"`) });
      expect(read(`{"a":"${long}`)).toBeUndefined();
      expect(read(`{"a":"${long}\\"}`)).toBeUndefined();
    }
  });

  it('takes no character for itself because a pattern lets it pass', () => {
    // Of each pattern a text that it takes and that JSON writes in another way.
    for (const [pattern, text] of [
      ['^[A-z]+$', 'a\\b'],
      ['^a|b$', 'a"b'],
      ['^[^x]*$', '\n'],
      ['^.*$', '"'],
      ['^\\S$', '\\'],
      ['^[ -~]*$', '"'],
      ['^(?:a|.)$', '"'],
      ['^\\D$', '\u2014'],
    ] as const) {
      const schema = Type.String({ pattern });
      expect(new RegExp(pattern, 'u').test(text)).toBe(true);
      expect(agrees(schema, utf8(JSON.stringify(text))), pattern).toBe(true);
      expect(agrees(schema, utf8(`"${text}"`)), pattern).toBe(text === '\u2014');
    }
  });
});
