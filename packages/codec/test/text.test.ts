import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  borrowBase64,
  borrowBase64Url,
  borrowConcat,
  concat,
  digestOf,
  equalBytes,
  fromBase64,
  fromBase64Url,
  fromHex,
  fromUtf8,
  isDigest,
  KallioError,
  parseDigest,
  sha256,
  toBase64,
  toBase64Url,
  toHex,
  utf8,
} from '../src/index.ts';
import { code } from './refuses.ts';

const bytes = fc.uint8Array({ maxLength: 100 });
const OF_ABC = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';

describe('hexadecimal', () => {
  test('goes there and back', () => {
    fc.assert(
      fc.property(bytes, (b) => {
        expect(fromHex(toHex(b), b.length)).toEqual(b);
      }),
    );
  });

  test.each([
    ['an upper-case digit', '0A', '0a'],
    ['half a byte', '0ab', '0abc'],
    ['a prefix', '0x0a', '0a'],
    ['a space', '0a 0b', '0a0b'],
    ['a line end', '0a\n', '0a'],
    ['a digit of another script', '0\u0661', '01'],
  ])('refuses %s', (_, bad, good) => {
    expect(() => fromHex(bad)).toThrow(code('CODEC_HEX'));
    expect(toHex(fromHex(good))).toBe(good);
  });

  test('refuses another length than the one demanded', () => {
    expect(() => fromHex('0a0b', 3)).toThrow(code('CODEC_HEX'));
    expect(() => fromHex('0a0b', 1)).toThrow(code('CODEC_HEX'));
    expect(fromHex('0a0b', 2)).toEqual(Uint8Array.of(10, 11));
    expect(fromHex('', 0)).toEqual(new Uint8Array());
  });

  test('writes only the part of a larger buffer that it was given', () => {
    const part = Uint8Array.of(1, 2, 3, 4).subarray(1, 3);
    expect([toHex(part), toBase64(part), toBase64Url(part)]).toEqual(['0203', 'AgM=', 'AgM']);
  });
});

describe('short texts and long ones', () => {
  // Whatever their length is, they are told by one rule: as Node writes the bytes again.
  const written = (encoding: 'hex' | 'base64' | 'base64url', text: string) =>
    Buffer.from(text, encoding).toString(encoding) === text;
  const junk = fc.string({ unit: fc.constantFrom(...'aAgQ9+/=-_ \n\u0141\u2014'), maxLength: 3 });

  test.each([
    ['hex', fromHex],
    ['base64', fromBase64],
    ['base64', borrowBase64],
    ['base64url', fromBase64Url],
    ['base64url', borrowBase64Url],
  ] as const)('are read alike: %s', (encoding, read) => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        junk,
        fc.nat(300),
        fc.boolean(),
        (some, what, where, over) => {
          const text = Buffer.from(some).toString(encoding);
          expect(read(text)).toEqual(some);
          const changed = text.slice(0, where) + what + text.slice(where + (over ? what.length : 0));
          if (written(encoding, changed)) {
            expect(read(changed)).toEqual(new Uint8Array(Buffer.from(changed, encoding)));
          } else {
            expect(() => read(changed)).toThrow(code(encoding === 'hex' ? 'CODEC_HEX' : 'CODEC_BASE64'));
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});

test('what is not borrowed is nobody else’s memory', () => {
  // Stops one who writes over bytes that are theirs from writing over another's.
  for (let length = 0; length < 200; length++) {
    const bytes = new Uint8Array(length);
    for (const read of [
      fromHex(toHex(bytes)),
      fromBase64(toBase64(bytes)),
      fromBase64Url(toBase64Url(bytes)),
    ])
      expect(read.buffer.byteLength).toBe(length);
  }
});

describe('base64', () => {
  test('has 64 symbols, of all characters that there are', () => {
    // Stops a second spelling: node reads a character past U+0100 as the symbol that its low byte is, U+0141 as A.
    const read = { standard: 0, url: 0 };
    for (let unit = 0; unit < 0x1_0000; unit++) {
      const text = `AAA${String.fromCharCode(unit)}AAAA`;
      const standard = outcome(() => fromBase64(text));
      const url = outcome(() => fromBase64Url(text));
      if (standard !== undefined) {
        read.standard++;
        if (toBase64(standard) !== text) expect.fail(`U+${unit.toString(16)} is read`);
      }
      if (url !== undefined) {
        read.url++;
        if (toBase64Url(url) !== text) expect.fail(`U+${unit.toString(16)} is read`);
      }
    }
    expect(read).toEqual({ standard: 64, url: 64 });
  });

  test.each([
    ['', ''],
    ['f', 'Zg=='],
    ['fo', 'Zm8='],
    ['foo', 'Zm9v'],
    ['foob', 'Zm9vYg=='],
    ['fooba', 'Zm9vYmE='],
    ['foobar', 'Zm9vYmFy'],
  ])('writes %j as RFC 4648 section 10 does', (plain, encoded) => {
    expect(toBase64(utf8(plain))).toBe(encoded);
    expect(fromUtf8(fromBase64(encoded))).toBe(plain);
    expect(fromUtf8(fromBase64Url(encoded.replaceAll('=', '')))).toBe(plain);
  });

  test('goes there and back in both alphabets', () => {
    fc.assert(
      fc.property(bytes, (b) => {
        expect(fromBase64(toBase64(b))).toEqual(b);
        expect(fromBase64Url(toBase64Url(b))).toEqual(b);
      }),
    );
  });

  test('has one text for one byte string: what is read is written back the same', () => {
    const near = fc.string({ unit: fc.constantFrom(...'AQgwZ+/-_= \n'), maxLength: 8 });
    for (const [read, write] of [
      [fromBase64, toBase64],
      [fromBase64Url, toBase64Url],
    ] as const) {
      fc.assert(
        fc.property(near, (text) => {
          let decoded: Uint8Array;
          try {
            decoded = read(text);
          } catch (error) {
            expect(error).toEqual(code('CODEC_BASE64'));
            return;
          }
          expect(write(decoded)).toBe(text);
        }),
      );
    }
  });

  test.each([
    ['no padding', 'Zg', 'Zg=='],
    ['half the padding', 'Zg=', 'Zg=='],
    ['too much padding', 'Zm9v====', 'Zm9v'],
    ['stray bits in the last symbol', 'Zh==', 'Zg=='],
    ['white space', 'Zm9v\nYmFy', 'Zm9vYmFy'],
    ['the URL-safe alphabet', '-_-_', '+/+/'],
    ['what follows the padding', 'Zg==Zg==', 'Zg=='],
    ['a symbol of neither alphabet', 'Zm9v*', 'Zm9v'],
  ])('refuses %s', (_, bad, good) => {
    expect(() => fromBase64(bad)).toThrow(code('CODEC_BASE64'));
    expect(toBase64(fromBase64(good))).toBe(good);
  });

  test.each([
    ['padding', 'Zg==', 'Zg'],
    ['stray bits in the last symbol', 'Zh', 'Zg'],
    ['the standard alphabet', '+/+/', '-_-_'],
    ['a lone symbol', 'Zm9vY', 'Zm9v'],
    ['white space', 'Zm9v ', 'Zm9v'],
  ])('that is URL-safe refuses %s', (_, bad, good) => {
    expect(() => fromBase64Url(bad)).toThrow(code('CODEC_BASE64'));
    expect(toBase64Url(fromBase64Url(good))).toBe(good);
  });
});

describe('a digest', () => {
  test('is "sha256:" and the hash of the bytes', () => {
    expect(digestOf(utf8('abc'))).toBe(`sha256:${OF_ABC}`);
    fc.assert(fc.property(bytes, (b) => isDigest(digestOf(b)) && parseDigest(digestOf(b)) === digestOf(b)));
  });

  test.each([
    ['another algorithm', `sha512:${OF_ABC}`],
    ['no algorithm', OF_ABC],
    ['upper case', `sha256:${OF_ABC.toUpperCase()}`],
    ['a digit too few', `sha256:${OF_ABC.slice(1)}`],
    ['a digit too many', `sha256:${OF_ABC}0`],
    ['a line end', `sha256:${OF_ABC}\n`],
    ['a line before it', `x\nsha256:${OF_ABC}`],
    ['a path behind it', `sha256:${OF_ABC}/../x`],
  ])('refuses %s', (_, bad) => {
    expect(isDigest(bad)).toBe(false);
    expect(() => parseDigest(bad)).toThrow(code('CODEC_DIGEST'));
    expect(parseDigest(`sha256:${OF_ABC}`)).toBe(`sha256:${OF_ABC}`);
  });
});

describe('bytes', () => {
  test('hash in parts as they hash in one', () => {
    expect(toHex(sha256(utf8('a'), utf8('bc')))).toBe(OF_ABC);
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 5 }), (parts) => {
        const whole = concat(...parts);
        expect(whole).toEqual(Uint8Array.from(parts.flatMap((part) => [...part])));
        expect(borrowConcat(...parts)).toEqual(whole);
        expect(sha256(...parts)).toEqual(new Uint8Array(createHash('sha256').update(whole).digest()));
      }),
    );
  });

  test('are equal where every byte is', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.nat(), (a, at) => {
        const b = a.slice();
        expect(equalBytes(a, b)).toBe(true);
        const index = at % b.length;
        b[index] = (b[index] ?? 0) ^ 0x10;
        expect(equalBytes(a, b)).toBe(false);
        // A prefix is not the whole.
        expect(equalBytes(a, a.subarray(1))).toBe(false);
      }),
    );
    expect(equalBytes(new Uint8Array(), new Uint8Array())).toBe(true);
  });
});

describe('UTF-8', () => {
  test('goes there and back for every well-formed text', () => {
    const text = fc.string({ unit: 'binary', maxLength: 30 });
    fc.assert(
      fc.property(text, (t) => {
        expect(fromUtf8(utf8(t))).toBe(t);
      }),
    );
  });

  test('keeps a byte order mark as the character it is', () => {
    expect(fromUtf8(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61))).toBe('\ufeffa');
  });

  test.each([
    ['a byte that begins nothing', [0x61, 0xff], [0x61, 0x7f]],
    ['a cut sequence', [0xe2, 0x82], [0xe2, 0x82, 0xac]],
    ['an overlong slash', [0xc0, 0xaf], [0x2f]],
    ['a surrogate', [0xed, 0xa0, 0x80], [0xed, 0x9f, 0xbf]],
    ['a code point past the last', [0xf4, 0x90, 0x80, 0x80], [0xf4, 0x8f, 0xbf, 0xbf]],
  ])('refuses %s', (_, bad, good) => {
    expect(() => fromUtf8(Uint8Array.from(bad))).toThrow(code('CODEC_UTF8'));
    expect(utf8(fromUtf8(Uint8Array.from(good)))).toEqual(Uint8Array.from(good));
  });
});

/** What is read, or nothing where it is refused. */
function outcome(read: () => Uint8Array): Uint8Array | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof KallioError && error.code === 'CODEC_BASE64') return undefined;
    throw error;
  }
}
