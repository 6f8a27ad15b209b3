import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalBytes, canonicalize, fromUtf8, parseJson, toHex } from '../src/index.ts';
import { code } from './refuses.ts';

/** The double of these bits, as RFC 8785 appendix B writes it. */
function double(bits: string): number {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt(`0x${bits}`));
  return view.getFloat64(0);
}

describe('RFC 8785', () => {
  test('sections 3.2.2 and 3.2.4: its sample, to the byte', () => {
    const input = String.raw`{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }`;
    expect(toHex(canonicalBytes(parseJson(input)))).toBe(
      [
        '7b226c69746572616c73223a5b6e756c6c2c747275652c66616c73655d2c226e',
        '756d62657273223a5b3333333333333333332e333333333333332c31652b3330',
        '2c342e352c302e3030322c31652d32375d2c22737472696e67223a22e282ac24',
        '5c75303030665c6e4127425c225c5c5c5c5c222f227d',
      ].join(''),
    );
  });

  test('section 3.2.3: keys in the order of their UTF-16 code units', () => {
    const input = String.raw`{
      "\u20ac": "Euro Sign",
      "\r": "Carriage Return",
      "\ufb33": "Hebrew Letter Dalet With Dagesh",
      "1": "One",
      "\ud83d\ude00": "Emoji: Grinning Face",
      "\u0080": "Control",
      "\u00f6": "Latin Small Letter O With Diaeresis"
    }`;
    expect(canonicalize(parseJson(input))).toBe(
      '{"\\r":"Carriage Return","1":"One","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis",' +
        '"\u20ac":"Euro Sign","\ud83d\ude00":"Emoji: Grinning Face","\ufb33":"Hebrew Letter Dalet With Dagesh"}',
    );
  });

  test('section 3.2.2.2: short escapes where there are any, lower-case ones elsewhere, and no others', () => {
    expect(canonicalize('\b\t\n\f\r"\\')).toBe('"\\b\\t\\n\\f\\r\\"\\\\"');
    expect(canonicalize('\u0000\u001f')).toBe('"\\u0000\\u001f"');
    expect(canonicalize('/\u007f\u2028\u00e9')).toBe('"/\u007f\u2028\u00e9"');
  });

  test.each([
    ['0000000000000000', '0'],
    ['8000000000000000', '0'],
    ['0000000000000001', '5e-324'],
    ['8000000000000001', '-5e-324'],
    ['7fefffffffffffff', '1.7976931348623157e+308'],
    ['ffefffffffffffff', '-1.7976931348623157e+308'],
    ['4340000000000000', '9007199254740992'],
    ['c340000000000000', '-9007199254740992'],
    ['4430000000000000', '295147905179352830000'],
    ['44b52d02c7e14af5', '9.999999999999997e+22'],
    ['44b52d02c7e14af6', '1e+23'],
    ['44b52d02c7e14af7', '1.0000000000000001e+23'],
    ['444b1ae4d6e2ef4e', '999999999999999700000'],
    ['444b1ae4d6e2ef4f', '999999999999999900000'],
    ['444b1ae4d6e2ef50', '1e+21'],
    ['3eb0c6f7a0b5ed8c', '9.999999999999997e-7'],
    ['3eb0c6f7a0b5ed8d', '0.000001'],
    ['41b3de4355555553', '333333333.3333332'],
    ['41b3de4355555554', '333333333.33333325'],
    ['41b3de4355555555', '333333333.3333333'],
    ['41b3de4355555556', '333333333.3333334'],
    ['41b3de4355555557', '333333333.33333343'],
    ['becbf647612f3696', '-0.0000033333333333333333'],
    ['43143ff3c1cb0959', '1424953923781206.2'],
  ])('appendix B: the double %s is written %s', (bits, text) => {
    expect(canonicalize(double(bits))).toBe(text);
  });

  test.each(['7fffffffffffffff', '7ff0000000000000', 'fff0000000000000'])(
    'appendix B: %s, which is no finite number, is refused',
    (bits) => {
      expect(() => canonicalize([double(bits)])).toThrow(code('JSON_NOT_CANONICAL'));
      expect(canonicalize([double('7fefffffffffffff')])).toBe('[1.7976931348623157e+308]');
    },
  );
});

describe('the canonical form', () => {
  // What JSON.stringify prints in full digits past 2^53 is refused on the way in.
  const value = fc.jsonValue({ maxDepth: 4 }).filter((v) => {
    return !/(?<![.\deE+-])-?\d{16,}(?![.\d])/.test(JSON.stringify(v));
  });

  test('says what the value says', () => {
    fc.assert(
      fc.property(value, (v) => {
        expect(JSON.parse(canonicalize(v))).toEqual(JSON.parse(JSON.stringify(v)));
      }),
    );
  });

  test('is its own canonical form, read strictly', () => {
    fc.assert(
      fc.property(value, (v) => {
        const text = canonicalize(v);
        expect(canonicalize(parseJson(text))).toBe(text);
        expect(fromUtf8(canonicalBytes(v))).toBe(text);
      }),
    );
  });

  test('does not depend on the order in which members were set, nor on white space', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.string()), (members) => {
        const reversed = Object.fromEntries(Object.entries(members).reverse());
        expect(canonicalize(reversed)).toBe(canonicalize(members));
        expect(canonicalize(parseJson(JSON.stringify(members, null, 3)))).toBe(canonicalize(members));
      }),
    );
  });

  test('differs where values differ', () => {
    fc.assert(
      fc.property(value, value, (a, b) => {
        expect(canonicalize(a) === canonicalize(b)).toBe(sameJson(a, b));
      }),
    );
  });

  test('leaves out a member that is undefined, and keeps one that is null', () => {
    expect(canonicalize({ b: undefined, a: null })).toBe('{"a":null}');
  });

  test('takes a key __proto__ as a key', () => {
    expect(canonicalize(parseJson('{"__proto__":1,"a":{}}'))).toBe('{"__proto__":1,"a":{}}');
  });

  test('is put together of parts that were written before', () => {
    const parts = fc.array(value, { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(parts, fc.string(), (items, key) => {
        const whole = { [key]: items, more: items };
        const asked: object[] = [];
        const written = (part: object) => {
          asked.push(part);
          return part === items ? canonicalize(items) : undefined;
        };
        expect(canonicalize(whole, written)).toBe(canonicalize(whole));
        // What is given whole is not looked into.
        expect(asked.every((part) => part === whole || part === items)).toBe(true);
      }),
    );
  });

  const holes: number[] = [];
  holes[1] = 1;
  test.each<[string, unknown, unknown]>([
    ['undefined itself', undefined, null],
    ['undefined in an array', [undefined], [null]],
    ['a hole in an array', holes, [0, 1]],
    ['a function', { f: () => 1 }, { f: 1 }],
    ['a symbol', [Symbol('a')], ['a']],
    ['a bigint', [1n], [1]],
    ['a date', [new Date(0)], [new Date(0).toISOString()]],
    ['a map', new Map([['a', 1]]), Object.fromEntries(new Map([['a', 1]]))],
    ['bytes', { b: Uint8Array.of(1) }, { b: [1] }],
    ['a boxed number', [Object(1)], [1]],
    ['an object of a class', [new Error('no')], ['no']],
    ['a lone surrogate', ['\ud83d'], ['\ud83d\ude00']],
    ['a lone surrogate in a key', { '\ude00': 1 }, { '\ud83d\ude00': 1 }],
  ])('refuses %s, for which JSON has no value', (_, bad, good) => {
    expect(() => canonicalize(bad)).toThrow(code('JSON_NOT_CANONICAL'));
    expect(JSON.parse(canonicalize(good))).toEqual(good);
  });
});

/** Equality of JSON values by what JSON.stringify prints, members in any order. */
function sameJson(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) {
    return JSON.stringify(a) === JSON.stringify(b);
  }
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [left, right] = [new Map(Object.entries(a)), new Map(Object.entries(b))];
  return left.size === right.size && [...left].every(([k, v]) => right.has(k) && sameJson(v, right.get(k)));
}
