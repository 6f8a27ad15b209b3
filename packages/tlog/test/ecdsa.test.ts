import { generateKeyPairSync, sign } from 'node:crypto';
import { utf8 } from '@kallio/codec';
import { describe, expect, test } from 'vitest';
import { verifyP256 } from '../src/index.ts';

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
