import fc from 'fast-check';
import { Type } from 'typebox';
import { describe, expect, test } from 'vitest';
import {
  Base64,
  DigestSchema,
  decodeShape,
  Exact,
  Hex,
  parseJson,
  readShape,
  toBase64,
  toHex,
  utf8,
} from '../src/index.ts';
import { code } from './refuses.ts';

const Claim = Exact({
  subject: Type.String({ minLength: 1 }),
  image: DigestSchema,
  pcrs: Type.Array(Exact({ index: Type.Integer({ minimum: 0, maximum: 23 }), value: Hex(32) })),
  note: Type.Optional(Type.String()),
});
const IMAGE = `sha256:${'ab'.repeat(32)}`;
const honest = { subject: 'web', image: IMAGE, pcrs: [{ index: 7, value: '0f'.repeat(32) }] };
const changed = (change: object): unknown => ({ ...honest, ...change });

describe('decodeShape', () => {
  test('gives the value itself where the shape fits', () => {
    expect(decodeShape(Claim, honest)).toBe(honest);
    expect(decodeShape(Claim, parseJson(JSON.stringify(honest)))).toEqual(honest);
  });

  test.each<[what: string, pointer: string, bad: unknown]>([
    ['an unknown field', '/admin', changed({ admin: true })],
    ['an unknown field that is undefined', '/admin', changed({ admin: undefined })],
    ['an unknown field inside', '/pcrs/0/bank', changed({ pcrs: [{ ...honest.pcrs[0], bank: 'sha1' }] })],
    ['a field of another type', '/subject', changed({ subject: 1 })],
    ['an optional field that is null', '/note', changed({ note: null })],
    ['a bad item', '/pcrs/1/index', changed({ pcrs: [...honest.pcrs, { ...honest.pcrs[0], index: 24 }] })],
    ['a fraction for an integer', '/pcrs/0/index', changed({ pcrs: [{ ...honest.pcrs[0], index: 0.5 }] })],
    ['a missing field', '/', { subject: 'web', image: IMAGE }],
    ['an array for an object', '/', [honest]],
    ['nothing', '/', null],
  ])('refuses %s, and points at %s', (_, pointer, bad) => {
    expect(() => decodeShape(Claim, bad)).toThrow(code('SHAPE_MISMATCH', pointer));
    decodeShape(Claim, honest);
  });

  test('refuses a key __proto__, which is an unknown field like another', () => {
    const text = JSON.stringify(honest);
    const attacked = `${text.slice(0, -1)},"__proto__":{"note":"trust me"}}`;
    expect(() => decodeShape(Claim, parseJson(attacked))).toThrow(code('SHAPE_MISMATCH', '/__proto__'));
    decodeShape(Claim, parseJson(text));
  });

  test('escapes a pointer as RFC 6901 does', () => {
    expect(() => decodeShape(Claim, changed({ 'a/b~c': 1 }))).toThrow(code('SHAPE_MISMATCH', '/a~1b~0c'));
  });

  test('refuses under the code and the name that the caller gives', () => {
    const refused = expect.objectContaining({
      code: 'POLICY_INVALID',
      message: 'The policy has not the shape it must have: this field is unknown.',
    });
    expect(() => decodeShape(Claim, changed({ x: 1 }), 'POLICY_INVALID', 'The policy')).toThrow(refused);
  });
});

describe('the schema', () => {
  test('Hex is lower-case hexadecimal of exactly so many bytes', () => {
    for (const bad of ['ABCD', 'abc', 'abcdef', 'abcd\n', ' abcd']) {
      expect(() => decodeShape(Hex(2), bad), bad).toThrow(code('SHAPE_MISMATCH'));
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        decodeShape(Hex(bytes.length), toHex(bytes));
        expect(() => decodeShape(Hex(bytes.length + 1), toHex(bytes))).toThrow(code('SHAPE_MISMATCH'));
      }),
    );
  });

  test('Base64 takes up to so many bytes', () => {
    for (const bad of ['Zm9v!', 'Zm9v\n', '-_-_', 'Zg===']) {
      expect(() => decodeShape(Base64(100), bad), bad).toThrow(code('SHAPE_MISMATCH'));
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        decodeShape(Base64(bytes.length), toBase64(bytes));
        const tooLong = toBase64(new Uint8Array(bytes.length + 3));
        expect(() => decodeShape(Base64(bytes.length), tooLong)).toThrow(code('SHAPE_MISMATCH'));
      }),
    );
  });

  test('DigestSchema is a digest as OCI writes it', () => {
    for (const bad of [IMAGE.toUpperCase(), `${IMAGE}0`, `${IMAGE}\n`, `x\n${IMAGE}`, IMAGE.slice(7)]) {
      expect(() => decodeShape(DigestSchema, bad), bad).toThrow(code('SHAPE_MISMATCH'));
    }
    expect(decodeShape(DigestSchema, IMAGE)).toBe(IMAGE);
  });
});

describe('readShape', () => {
  test('reads from the second document of a schema on, and leaves what does not fit', () => {
    const schema = Exact({ a: Type.Integer() });
    expect(readShape(schema, utf8('{"a":1}'))).toBeUndefined();
    expect(readShape(schema, utf8('{"a":1}'))).toEqual({ a: 1 });
    expect(readShape(schema, utf8('{"a":"1"}'))).toBeUndefined();
    expect(readShape(schema, utf8('{ "a":1}'))).toBeUndefined();
    expect(readShape(schema, utf8('{"a":2}'))).toEqual({ a: 2 });
  });
});
