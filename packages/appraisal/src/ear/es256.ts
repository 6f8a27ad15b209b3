import { type KeyObject, sign } from 'node:crypto';
import { borrowRoom, type HoldsEcdsa, holdsEcdsa } from '@kallio/codec';

const INTEGER_BYTES = 32;

/**
 * A signature as JWS writes it, ES256: r and s, 32 bytes each (RFC 7518 section 3.4). Node signs in DER, and is asked for
 * that: this form costs it twice the time of the signature (85 µs and 42), and rewriting it here next to nothing.
 */
export function signEs256(key: KeyObject, bytes: Uint8Array): Uint8Array {
  requireP256(key);
  return es256OfDer(sign('sha256', bytes, key));
}

/** `crypto.sign` over SHA-256 on another thread: DER. */
export type SignAside = (key: KeyObject, bytes: Uint8Array) => Promise<Uint8Array>;

/** The same, with the arithmetic on another thread. */
export async function signEs256Aside(
  key: KeyObject,
  bytes: Uint8Array,
  signAside: SignAside,
): Promise<Uint8Array> {
  requireP256(key);
  return es256OfDer(await signAside(key, bytes));
}

/** Stops a key of another curve, whose signature nobody would take for ES256. */
export function requireP256(key: KeyObject): void {
  if (onP256.has(key)) return;
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new RangeError('Not a P-256 key');
  onP256.add(key);
}

const onP256 = new WeakSet<KeyObject>();

/**
 * r and s of SEQUENCE { INTEGER r, INTEGER s }: of P-256 at most 72 bytes, so that every length is one byte. Other threads take
 * it over as text: it uses nothing of this file.
 */
export function es256OfDer(der: Uint8Array): Uint8Array {
  const size = 32;
  const r = der.subarray(4, 4 + (der[3] ?? 0));
  const s = der.subarray(4 + r.length + 2);
  const out = new Uint8Array(2 * size);
  for (const [i, integer] of [r, s].entries()) {
    // DER leaves leading zeros out, and puts one before a number that would look negative.
    const significant = integer.subarray(Math.max(0, integer.length - size));
    out.set(significant, (i + 1) * size - significant.length);
  }
  return out;
}

/**
 * Whether the key, on P-256, made this signature of the bytes, in the same form. Rewritten too, and for the same reason:
 * Node takes 129 µs to verify this form and 76 for DER. One pair of integers has one DER form: nothing else is accepted.
 */
export function verifyEs256(
  key: KeyObject,
  bytes: Uint8Array,
  signature: Uint8Array,
  holds: HoldsEcdsa = holdsEcdsa,
): boolean {
  if (signature.length !== 2 * INTEGER_BYTES) return false;
  // SEQUENCE, and two INTEGERs of at most a byte more than they have here.
  const der = borrowRoom(2 + 2 * (2 + 1 + INTEGER_BYTES));
  const afterR = writeInteger(der, 2, signature.subarray(0, INTEGER_BYTES));
  const end = writeInteger(der, afterR, signature.subarray(INTEGER_BYTES));
  der[0] = SEQUENCE;
  der[1] = end - 2;
  return holds(key, bytes, der.subarray(0, end));
}

const SEQUENCE = 0x30;
const INTEGER = 0x02;

/**
 * Writes a number without a sign as DER does (X.690 section 8.3): no needless zeros before it, one where it would look
 * negative. Answers where it ends.
 */
function writeInteger(der: Uint8Array, at: number, bytes: Uint8Array): number {
  let from = 0;
  while (from < bytes.length - 1 && bytes[from] === 0) from++;
  const zero = (bytes[from] ?? 0) >= 0x80 ? 1 : 0;
  const length = bytes.length - from + zero;
  der[at] = INTEGER;
  der[at + 1] = length;
  // What the number is written over where it needs no zero.
  der[at + 2] = 0;
  der.set(bytes.subarray(from), at + 2 + zero);
  return at + 2 + length;
}
