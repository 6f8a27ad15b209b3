import fc from 'fast-check';
import { type TSchema, Type } from 'typebox';
import { Check } from 'typebox/schema';
import { describe, expect, it } from 'vitest';
import { checkOf } from '../src/schema-check.ts';
import { BASE64, Base64 } from '../src/schemas.ts';
import { anySchema, anyValue } from './any.ts';

const fits = (schema: TSchema, value: unknown) => checkOf(schema)(value) === undefined;

describe('a check', () => {
  it('takes and refuses what the library takes and refuses', () => {
    const seen = { taken: 0, refused: 0 };
    fc.assert(
      fc.property(anySchema, anyValue, (schema, value) => {
        const expected = Check(schema, value);
        seen[expected ? 'taken' : 'refused']++;
        expect(fits(schema, value)).toBe(expected);
      }),
      { numRuns: 5000 },
    );
    // A comparison in which everything is refused, or nothing, compares little.
    expect(Math.min(seen.taken, seen.refused)).toBeGreaterThan(200);
  });

  it('counts characters: accents on one letter are not one', () => {
    const short = Type.String({ maxLength: 4 });
    expect(fits(short, 'a\u0301\u0301\u0301')).toBe(true);
    expect(fits(short, `a${'\u0301'.repeat(4)}`)).toBe(false);
    expect(fits(short, '😀😀😀😀')).toBe(true);
    expect(fits(short, '😀😀😀😀😀')).toBe(false);
    const long = Type.String({ minLength: 3 });
    expect(fits(long, '😀😀')).toBe(false);
    expect(fits(long, '😀😀😀')).toBe(true);
    expect(fits(long, 'abc')).toBe(true);
  });

  it('holds for every member of a record, whatever its name', () => {
    const numbers = Type.Record(Type.String(), Type.Integer());
    for (const name of ['a', '', 'a\nb', '\n', '\u2028', '__proto__']) {
      const record = (value: unknown) => Object.fromEntries([[name, value]]);
      expect(fits(numbers, record(1)), name).toBe(true);
      expect(fits(numbers, record('1')), name).toBe(false);
    }
  });

  it('refuses a member whose name the pattern does not fit', () => {
    const pcrs = Type.Record(Type.String({ pattern: '^[0-9]$' }), Type.Integer());
    expect(fits(pcrs, { 1: 1 })).toBe(true);
    for (const name of ['a', '11', '1\n', '\n1']) expect(fits(pcrs, { [name]: 1 }), name).toBe(false);
  });

  it('takes for a member only what is the object’s own', () => {
    const named = Type.Object({ toString: Type.Unknown() });
    expect(fits(named, { toString: 1 })).toBe(true);
    expect(fits(named, {})).toBe(false);
    const closed = Type.Object({ a: Type.Integer() }, { additionalProperties: false });
    expect(fits(closed, { a: 1 })).toBe(true);
    expect(fits(closed, JSON.parse('{"a":1,"constructor":1}'))).toBe(false);
  });

  it('takes what is undefined for left out, where it may be left out', () => {
    const schema = Type.Object({ a: Type.Optional(Type.Integer()), b: Type.Integer() });
    expect(fits(schema, { a: undefined, b: 1 })).toBe(true);
    expect(fits(schema, { a: null, b: 1 })).toBe(false);
    expect(fits(schema, { b: undefined })).toBe(false);
  });

  it('refuses items that stand twice, where each may stand once', () => {
    const once = Type.Array(Type.String(), { uniqueItems: true });
    expect(fits(once, ['a', 'b'])).toBe(true);
    expect(fits(once, ['a', 'b', 'a'])).toBe(false);
  });

  it('points at where a value differs: of several forms at the one that it comes nearest to', () => {
    const forms = Type.Union([
      Type.Object({ kind: Type.Literal('one'), size: Type.Integer() }),
      Type.Object({ kind: Type.Literal('two'), parts: Type.Array(Type.Object({ 'a/b~': Type.Boolean() })) }),
    ]);
    const value = { kind: 'two', parts: [{ 'a/b~': true }, { 'a/b~': 1 }] };
    expect(checkOf(forms)(value)).toEqual({ pointer: '/parts/1/a~1b~0', reason: 'must be boolean' });
    expect(checkOf(Type.Union([Type.Literal('A'), Type.Literal(2)]))('B')).toEqual({
      pointer: '',
      reason: 'must be "A" or 2',
    });
  });

  it('is not made of a schema that says what is not checked here', () => {
    for (const schema of [
      Type.String({ format: 'email' }),
      Type.Number({ multipleOf: 2 }),
      Type.Object({}, { additionalProperties: Type.String() }),
      Type.Object({ a: Type.String({ contentEncoding: 'base64' }) }),
      Type.Intersect([Type.Object({}), Type.Object({})]),
    ]) {
      expect(() => checkOf(schema)).toThrow('not checked here');
    }
  });
});

describe('a base64 text', () => {
  const pattern = new RegExp(BASE64);
  const check = checkOf(Base64(4096));

  it('is told from what is none by one rule, however long it is', () => {
    const bytes = fc.uint8Array({ maxLength: 600 });
    const junk = fc.string({ unit: fc.constantFrom(...'AQg/+=-_ \n"é'), maxLength: 3 });
    fc.assert(
      fc.property(bytes, junk, fc.nat(1000), (some, what, where) => {
        const text = Buffer.from(some).toString('base64');
        const changed = text.slice(0, where) + what + text.slice(where);
        expect(check(text)).toBeUndefined();
        expect(check(changed) === undefined).toBe(pattern.test(changed));
      }),
    );
  });
});
