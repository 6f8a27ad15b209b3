import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type CodecCode, type Json, KallioError, parseJson, utf8 } from '../src/index.ts';
import { parseStrictly } from '../src/json-strict.ts';
import { code } from './refuses.ts';

/** Without the missing prototypes, which are the parser's own. */
const plain = (value: Json): unknown => structuredClone(value);

const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;

describe('strict JSON', () => {
  test('reads what JSON.parse reads, of any value written by JSON.stringify', () => {
    const value = fc.jsonValue({ maxDepth: 5 }).filter((v) => !holdsUnsafeInteger(v));
    fc.assert(
      fc.property(value, fc.constantFrom(0, 2), (v, indent) => {
        const text = JSON.stringify(v, null, indent);
        expect(plain(parseJson(text))).toEqual(JSON.parse(text));
        expect(parseJson(utf8(text))).toEqual(parseJson(text));
      }),
    );
  });

  test('takes nothing that JSON.parse refuses', () => {
    const near = fc.string({ unit: fc.constantFrom(...'{}[],:"\\/0123.eE+-tfnul \n\tabx'), maxLength: 12 });
    fc.assert(
      fc.property(near, (text) => {
        let read: Json;
        try {
          read = parseJson(text);
        } catch {
          return;
        }
        expect(plain(read)).toEqual(JSON.parse(text));
      }),
      { numRuns: 2000 },
    );
  });

  /** What is read or refused, to the order of the keys and the last word. */
  function told(read: () => Json): unknown {
    try {
      const value = read();
      return { text: JSON.stringify(value), value: plain(value), bare: areBare(value) };
    } catch (error) {
      expect(error).toBeInstanceOf(KallioError);
      return error instanceof KallioError ? { refused: error.toJSON() } : undefined;
    }
  }

  test('reads and refuses by one set of rules, whether or not JSON.parse may help', () => {
    const piece = fc.constantFrom(
      ...['{', '}', '[', ']', ',', ':', '"a":', '"a"', '"b":1', '""', '"__proto__":', '"10":', '"é—"', ' '],
      ...['\\"', '"\\"', '"\\\\"', '"\\n"', '"\\u0061"', '"\\ud83d"', '"\\/"', '"\ud83d"', '"\ud83d\ude00"'],
      ...[
        '-0',
        '1e309',
        '1e21',
        '9007199254740991',
        '9007199254740992',
        '9007199254740992.5',
        'true',
        'null',
      ],
    );
    const pieces = fc.array(piece, { maxLength: 12 }).map((all) => all.join(''));
    // Whole documents, of few keys so that one often stands twice, and of many depths.
    const member = fc.constantFrom('"a"', '"b"', '"__proto__"', '"\\u0061"', '"a\\\\"', '"7"');
    const { value: document } = fc.letrec<{ value: string }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 5, withCrossShrink: true },
        fc.oneof(piece.filter(isJson), fc.json({ maxDepth: 1 })),
        fc.array(tie('value'), { maxLength: 3 }).map((items) => `[${items.join(',')}]`),
        fc
          .array(fc.tuple(member, tie('value')), { maxLength: 3 })
          .map((members) => `{${members.map((pair) => pair.join(': ')).join(',')}}`),
      ),
    }));
    fc.assert(
      fc.property(fc.oneof(document, pieces), fc.constantFrom(1, 3, 32), (text, maxDepth) => {
        expect(told(() => parseJson(text, { maxDepth }))).toEqual(told(() => parseStrictly(text, maxDepth)));
      }),
      { numRuns: 5000 },
    );
  });

  // Each attack stands beside the same text without it.
  const cases: [what: string, code: CodecCode, bad: string, good: string][] = [
    ['a key that stands twice', 'JSON_DUPLICATE_KEY', '{"a":1,"b":2,"a":3}', '{"a":1,"b":2,"c":3}'],
    ['a key twice with one value', 'JSON_DUPLICATE_KEY', '{"a":1,"a":1}', '[{"a":1},{"a":1}]'],
    ['a key that an escape hides', 'JSON_DUPLICATE_KEY', '{"a":1,"\\u0061":2}', '{"a":1,"\\u0062":2}'],
    ['a key twice, deep inside', 'JSON_DUPLICATE_KEY', '[{"x":{"a":1,"a":2}}]', '[{"x":{"a":1},"a":2}]'],
    ['__proto__ twice', 'JSON_DUPLICATE_KEY', '{"__proto__":1,"__proto__":2}', '{"__proto__":1}'],
    ['a second value', 'JSON_SYNTAX', '{} {}', '{} '],
    ['a trailing NUL', 'JSON_SYNTAX', '{}\0', '{}'],
    ['a trailing comma in an array', 'JSON_SYNTAX', '[1,]', '[1]'],
    ['a trailing comma in an object', 'JSON_SYNTAX', '{"a":1,}', '{"a":1}'],
    ['a comment', 'JSON_SYNTAX', '[1/* one */]', '[1]'],
    ['a single-quoted string', 'JSON_SYNTAX', "['a']", '["a"]'],
    ['a bare key', 'JSON_SYNTAX', '{a:1}', '{"a":1}'],
    ['a missing colon', 'JSON_SYNTAX', '{"a" 1}', '{"a" : 1}'],
    ['nothing at all', 'JSON_SYNTAX', '', '0'],
    ['a cut object', 'JSON_SYNTAX', '{"a":1', '{"a":1}'],
    ['a cut string', 'JSON_SYNTAX', '"a', '"a"'],
    ['a cut word', 'JSON_SYNTAX', '[tru]', '[true]'],
    ['a word in capitals', 'JSON_SYNTAX', '[NULL]', '[null]'],
    ['no number', 'JSON_SYNTAX', '[NaN]', '[0]'],
    ['infinity by name', 'JSON_SYNTAX', '[Infinity]', '[1e308]'],
    ['a leading zero', 'JSON_SYNTAX', '[01]', '[0.1]'],
    ['a leading plus', 'JSON_SYNTAX', '[+1]', '[1e+1]'],
    ['a leading point', 'JSON_SYNTAX', '[.5]', '[0.5]'],
    ['a trailing point', 'JSON_SYNTAX', '[5.]', '[5.0]'],
    ['hexadecimal', 'JSON_SYNTAX', '[0x10]', '[16]'],
    ['a number past every double', 'JSON_SYNTAX', '[1e309]', '[1e308]'],
    // The neighbours of 2^53 are one number to a reader of doubles, two to a reader of integers.
    ['an integer past 2^53', 'JSON_SYNTAX', '[9007199254740993]', '[9007199254740991]'],
    ['an integer past -2^53', 'JSON_SYNTAX', '[-9007199254740993]', '[-9007199254740991]'],
    ['a raw line end in a string', 'JSON_SYNTAX', '["a\nb"]', '["a\\nb"]'],
    ['a raw NUL in a string', 'JSON_SYNTAX', '["a\0b"]', '["a\\u0000b"]'],
    ['an unknown escape', 'JSON_SYNTAX', '["\\x41"]', '["\\u0041"]'],
    ['a short escape', 'JSON_SYNTAX', '["\\u041"]', '["\\u0041"]'],
    ['a lone high surrogate', 'JSON_SYNTAX', '["\\ud83d"]', '["\\ud83d\\ude00"]'],
    ['surrogates the wrong way round', 'JSON_SYNTAX', '["\\ude00\\ud83d"]', '["\\ud83d\\ude00"]'],
    ['a lone surrogate in a key', 'JSON_SYNTAX', '{"\\ude00":1}', '{"\\ud83d\\ude00":1}'],
    ['a raw lone surrogate', 'JSON_SYNTAX', '["\ud83d"]', '["\ud83d\ude00"]'],
    ['a byte order mark', 'JSON_SYNTAX', '\ufeff{}', '{}'],
    ['white space of Unicode', 'JSON_SYNTAX', '[\u00a01]', '[ \t\r\n1]'],
  ];
  test.each(cases)('refuses %s', (_, expected, bad, good) => {
    expect(() => parseJson(bad)).toThrow(code(expected));
    expect(plain(parseJson(good))).toEqual(JSON.parse(good));
  });

  test('refuses bytes that are no UTF-8', () => {
    const quoted = (byte: number) => Uint8Array.of(0x22, byte, 0x22);
    expect(() => parseJson(quoted(0xff))).toThrow(code('CODEC_UTF8'));
    expect(parseJson(quoted(0x61))).toBe('a');
  });

  test('says where it stopped', () => {
    expect(() => parseJson('[1, x]')).toThrow(code('JSON_SYNTAX', 'character 4'));
    expect(() => parseJson('{"a":1, "a":2}')).toThrow(code('JSON_DUPLICATE_KEY', 'character 8'));
  });

  test('takes nesting up to its limit and no deeper', () => {
    expect(() => parseJson(nested(34))).toThrow(code('JSON_TOO_DEEP'));
    expect(plain(parseJson(nested(33)))).toEqual(JSON.parse(nested(33)));
    expect(() => parseJson('{"a":[1]}', { maxDepth: 1 })).toThrow(code('JSON_TOO_DEEP'));
    expect(plain(parseJson('{"a":[1]}', { maxDepth: 2 }))).toEqual({ a: [1] });
    // Far deeper than the stack: the limit speaks first.
    expect(() => parseJson(nested(1_000_000))).toThrow(code('JSON_TOO_DEEP'));
    expect(() => parseJson('{"a":'.repeat(500_000))).toThrow(code('JSON_TOO_DEEP'));
  });

  test('takes texts up to its limit and no longer, before it looks inside', () => {
    const limits = { maxBytes: 4 };
    for (const form of [(text: string) => text, utf8]) {
      expect(() => parseJson(form('12345'), limits)).toThrow(code('JSON_TOO_LARGE'));
      expect(() => parseJson(form('not J'), limits)).toThrow(code('JSON_TOO_LARGE'));
      expect(parseJson(form('1234'), limits)).toBe(1234);
    }
    const long = ' '.repeat(4 * 1024 * 1024 - 1);
    expect(() => parseJson(`${long}  1`)).toThrow(code('JSON_TOO_LARGE'));
    expect(parseJson(`${long}1`)).toBe(1);
  });

  test('gives objects that inherit nothing: __proto__ is a key like another', () => {
    const value = parseJson('{"__proto__":{"admin":true},"constructor":1}');
    expect(Object.getPrototypeOf(value)).toBeNull();
    expect(Object.keys(value as object)).toEqual(['__proto__', 'constructor']);
    expect((value as Record<string, Json>).admin).toBeUndefined();
    expect(({} as Record<string, unknown>).admin).toBeUndefined();
  });
});

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Whether no object in a value inherits anything. */
function areBare(value: Json): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return (
    (Array.isArray(value) || Object.getPrototypeOf(value) === null) && Object.values(value).every(areBare)
  );
}

/** Integers that JSON.stringify prints without an exponent, though they are past 2^53. */
function holdsUnsafeInteger(value: unknown): boolean {
  if (typeof value === 'number') return /^-?\d+$/.test(String(value)) && !Number.isSafeInteger(value);
  return typeof value === 'object' && value !== null && Object.values(value).some(holdsUnsafeInteger);
}

const vectors = join(import.meta.dirname, '../../../../shared/vectors');
describe.skipIf(!existsSync(vectors))(
  'JSON that others wrote (skipped where ../shared/vectors is absent)',
  () => {
    test.each(['etsi-mec', 'sigstore-bundles'])('is read as JSON.parse reads it: %s', (folder) => {
      const names = readdirSync(join(vectors, folder), { recursive: true, encoding: 'utf8' });
      const documents = names.filter((name) => name.endsWith('.json'));
      expect(documents.length).toBeGreaterThan(0);
      for (const name of documents) {
        const bytes = new Uint8Array(readFileSync(join(vectors, folder, name)));
        expect(plain(parseJson(bytes)), name).toEqual(JSON.parse(new TextDecoder().decode(bytes)));
      }
    });
  },
);
