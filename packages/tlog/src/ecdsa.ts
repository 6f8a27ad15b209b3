import type { KeyObject } from 'node:crypto';
import { fromHex, type HoldsEcdsa, holdsEcdsa } from '@kallio/codec';
import { tlogError } from './error.ts';

/** Order of P-256's base point, 32 bytes (SEC 2 section 2.4.2). */
const ORDER = fromHex('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551');

/** Throws `LOG_KEY_UNSUITABLE` unless the key is a public or private key on P-256. */
export function requireP256(key: KeyObject): void {
  if (onP256.has(key)) return;
  const { namedCurve } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType !== 'ec' || namedCurve !== 'prime256v1') {
    throw tlogError('LOG_KEY_UNSUITABLE', 'This key is not an ECDSA key on P-256.');
  }
  onP256.add(key);
}

/** Keys that were looked at: what a key is never changes, and to ask it costs a tenth of a verification. */
const onP256 = new WeakSet<KeyObject>();

/**
 * ECDSA P-256 SHA-256, signature in DER. False when it does not hold; `LOG_SIGNATURE_ENCODING` when it is not the
 * one DER form of two integers in 1 … n-1: other spellings of a signature would let a copy pass as another one.
 */
export function verifyP256(
  key: KeyObject,
  message: Uint8Array,
  der: Uint8Array,
  holds: HoldsEcdsa = holdsEcdsa,
): boolean {
  requireP256(key);
  requireDer(der);
  return holds(key, message, der);
}

/** Throws `LOG_SIGNATURE_ENCODING` unless this is the one DER form of two integers in 1 … n-1. */
export function requireDer(der: Uint8Array): void {
  const fail = () => tlogError('LOG_SIGNATURE_ENCODING', 'This is not a P-256 signature in DER.');
  // Two integers of at most 33 bytes: every length is one byte (X.690 section 8.1.3.4).
  if (der.length < 8 || der.length > 72 || der[0] !== 0x30 || der[1] !== der.length - 2) throw fail();
  let at = 2;
  for (let i = 0; i < 2; i++) {
    const length = der[at + 1] ?? 0;
    const end = at + 2 + length;
    const first = der[at + 2] ?? 0x80;
    const second = length > 1 ? (der[at + 3] ?? 0x80) : 0x80;
    // Not negative, no needless leading zero (X.690 section 8.3.2).
    const minimal = first < 0x80 && !(first === 0 && second < 0x80 && length > 1);
    if (der[at] !== 0x02 || length < 1 || end > der.length || !minimal) throw fail();
    if (!inRange(der, first === 0 ? at + 3 : at + 2, end)) throw fail();
    at = end;
  }
  if (at !== der.length) throw fail();
}

/** Whether a number without leading zeros, of these bytes, is in 1 … n-1. Zero is one without any byte. */
function inRange(der: Uint8Array, from: number, end: number): boolean {
  const length = end - from;
  if (length !== ORDER.length) return length > 0 && length < ORDER.length;
  for (let i = 0; i < length; i++) {
    const difference = (der[from + i] ?? 0) - (ORDER[i] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
