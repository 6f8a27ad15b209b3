import { createECDH, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { sha256, utf8 } from '@kallio/codec';
import { describe, expect, test } from 'vitest';
import { verifyP256, verifyP256Digest } from '../src/index.ts';

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const message = utf8('a message');
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/** A number as DER writes it, and the signature of two. */
function integer(value: bigint): number[] {
  const hex = value.toString(16);
  const bytes = [...Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex')];
  if ((bytes[0] ?? 0) >= 0x80) bytes.unshift(0);
  return [2, bytes.length, ...bytes];
}
function der(...integers: readonly number[][]): Uint8Array {
  const body = integers.flat();
  return Uint8Array.of(0x30, body.length, ...body);
}

describe('a P-256 signature', () => {
  test('holds over its message and no other', () => {
    const signature = new Uint8Array(sign('sha256', message, privateKey));
    expect(verifyP256(publicKey, message, signature)).toBe(true);
    expect(verifyP256(publicKey, utf8('another'), signature)).toBe(false);
  });

  // Each is refused for its form; its neighbour has the form, and is only no signature of this message.
  test.each<[string, bigint, bigint]>([
    ['zero', 0n, 1n],
    ['the order', ORDER, ORDER - 1n],
    ['the order and one', ORDER + 1n, ORDER - 256n],
    ['the greatest number of 32 bytes', 2n ** 256n - 1n, 2n ** 255n],
    ['a number of 33 bytes', 2n ** 256n, 2n ** 248n - 1n],
    ['a number of 33 bytes that looks positive', 0x7fn << 256n, 0x7fn << 248n],
  ])('has no r or s that is %s', (_, bad, good) => {
    const refused = expect.objectContaining({ code: 'LOG_SIGNATURE_ENCODING' });
    expect(() => verifyP256(publicKey, message, der(integer(bad), integer(1n)))).toThrow(refused);
    expect(() => verifyP256(publicKey, message, der(integer(1n), integer(bad)))).toThrow(refused);
    expect(verifyP256(publicKey, message, der(integer(good), integer(1n)))).toBe(false);
    expect(verifyP256(publicKey, message, der(integer(1n), integer(good)))).toBe(false);
  });

  test('has no needless zero before a number', () => {
    const padded = [2, 2, 0, 1];
    const refused = expect.objectContaining({ code: 'LOG_SIGNATURE_ENCODING' });
    expect(() => verifyP256(publicKey, message, der(padded, integer(1n)))).toThrow(refused);
    expect(verifyP256(publicKey, message, der(integer(1n), integer(1n)))).toBe(false);
  });
});

describe('a P-256 signature of which only the digest is at hand', () => {
  const digestOf = (text: string) => sha256(utf8(text));

  test('holds where it holds for the message, and nowhere else', () => {
    for (let i = 0; i < 50; i++) {
      const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const text = `message ${i}`;
      const made = new Uint8Array(sign('sha256', utf8(text), pair.privateKey));
      expect(verifyP256(pair.publicKey, utf8(text), made)).toBe(true);
      expect(verifyP256Digest(pair.publicKey, digestOf(text), made)).toBe(true);
      expect(verifyP256Digest(pair.publicKey, digestOf(`${text}.`), made)).toBe(false);
      expect(verifyP256Digest(publicKey, digestOf(text), made)).toBe(false);
      const other = new Uint8Array(sign('sha256', utf8('other'), pair.privateKey));
      expect(verifyP256Digest(pair.publicKey, digestOf(text), other)).toBe(false);
      // The digest is not taken for a message.
      const ofDigest = new Uint8Array(sign('sha256', digestOf(text), pair.privateKey));
      expect(verifyP256Digest(pair.publicKey, digestOf(text), ofDigest)).toBe(false);
    }
  });

  test('is judged as the message is, whatever r, s and key are', () => {
    // Keys that are small multiples of the base point, r and s at their bounds, digests that lead to each case of the sum.
    const keys = [1n, 2n, 3n, ORDER - 1n, ORDER - 2n].map(publicKeyOf);
    const numbers = [1n, 2n, 3n, 255n, 256n, 1n << 128n, ORDER - 2n, ORDER - 1n];
    for (const key of keys) {
      for (const r of numbers) {
        for (const s of numbers) {
          const made = der(integer(r), integer(s));
          for (const text of ['', 'a message']) {
            expect(verifyP256Digest(key, digestOf(text), made)).toBe(verifyP256(key, utf8(text), made));
          }
        }
      }
    }
  });

  test('holds where the moved key is twice the key, or the key itself', () => {
    for (const text of ['', 'a message']) {
      const r = xOf(NONCE);
      const difference = BigInt(`0x${hexOf(digestOf(text))}`) - BigInt(`0x${hexOf(digestOf(''))}`);
      // The key whose double is its sum with the point that is added: that point is the key itself.
      const secret = text === '' ? 7n : modulo(difference * power(r, ORDER - 2n));
      const s = modulo(power(NONCE, ORDER - 2n) * (BigInt(`0x${hexOf(digestOf(text))}`) + r * secret));
      const made = der(integer(r), integer(s));
      const key = publicKeyOf(secret);
      expect(verifyP256(key, utf8(text), made)).toBe(true);
      expect(verifyP256Digest(key, digestOf(text), made)).toBe(true);
      // Its opposite leads to no key at all.
      const opposite = publicKeyOf(ORDER - secret);
      expect(verifyP256(opposite, utf8(text), made)).toBe(false);
      expect(verifyP256Digest(opposite, digestOf(text), made)).toBe(false);
    }
  });

  test('has the one form that a signature has, and a digest of 32 bytes', () => {
    const made = new Uint8Array(sign('sha256', message, privateKey));
    expect(verifyP256Digest(publicKey, sha256(message), made)).toBe(true);
    const refused = expect.objectContaining({ code: 'LOG_SIGNATURE_ENCODING' });
    for (const bad of [der(integer(0n), integer(1n)), der([2, 2, 0, 1], integer(1n)), made.subarray(1)]) {
      expect(() => verifyP256Digest(publicKey, sha256(message), bad)).toThrow(refused);
    }
    expect(() => verifyP256Digest(publicKey, message, made)).toThrow(refused);
    const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    expect(() => verifyP256Digest(p384.publicKey, sha256(message), made)).toThrow(
      expect.objectContaining({ code: 'LOG_KEY_UNSUITABLE' }),
    );
  });
});

/** A signature's random number, which a signer keeps to itself. */
const NONCE = 0x1234567890abcdefn;

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
function modulo(value: bigint): bigint {
  return ((value % ORDER) + ORDER) % ORDER;
}
function power(base: bigint, exponent: bigint): bigint {
  let made = 1n;
  for (let bit = exponent, square = modulo(base); bit > 0n; bit >>= 1n, square = modulo(square * square)) {
    if (bit & 1n) made = modulo(made * square);
  }
  return made;
}

/** A multiple of the base point, as bytes. */
function multiple(of: bigint): Buffer {
  const base = createECDH('prime256v1');
  base.setPrivateKey(Buffer.from(of.toString(16).padStart(64, '0'), 'hex'));
  return base.getPublicKey();
}
function xOf(of: bigint): bigint {
  return modulo(BigInt(`0x${multiple(of).subarray(1, 33).toString('hex')}`));
}
function publicKeyOf(secret: bigint): KeyObject {
  const point = multiple(secret);
  const x = point.subarray(1, 33).toString('base64url');
  const y = point.subarray(33).toString('base64url');
  return createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' });
}
