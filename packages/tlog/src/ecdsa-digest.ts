import { createECDH, createPublicKey, type KeyObject } from 'node:crypto';
import { fromBase64Url, fromHex, type HoldsEcdsa, sha256, toBase64Url, toHex } from '@kallio/codec';
import { requireDer, requireP256, verifyP256 } from './ecdsa.ts';
import { tlogError } from './error.ts';

/** Field prime and order of P-256 (SEC 2 section 2.4.2). */
const PRIME = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
/** Its equation is y² = x³ - 3x + b. */
const A = PRIME - 3n;

const NOTHING = new Uint8Array(0);
const DIGEST_OF_NOTHING = numberOf(sha256(NOTHING));

interface Point {
  readonly x: bigint;
  readonly y: bigint;
}

/**
 * {@link verifyP256} where only the message's SHA-256 is at hand, 32 bytes.
 *
 * Node verifies nothing but messages that it hashes itself: without an algorithm it takes SHA-256 for an EC key (nodejs/node
 * issue 60263; `crypto.verifyDigest` of pull request 62345 is not in Node 24). So the key is moved instead. A signature
 * (r, s) of a digest e holds for a key Q where r is the x of (e·G + r·Q) / s (FIPS 186-5 section 6.4.2). Of e′, the digest of
 * no bytes, and Q′ = Q + ((e - e′) / r)·G that sum is the very same point: the signature holds for e under Q where it holds
 * for no bytes under Q′, and that is OpenSSL's to say. Nothing of this is secret.
 */
export function verifyP256Digest(
  key: KeyObject,
  digest: Uint8Array,
  der: Uint8Array,
  holds?: HoldsEcdsa,
): boolean {
  requireP256(key);
  requireDer(der);
  if (digest.length !== 32) throw tlogError('LOG_SIGNATURE_ENCODING', 'A SHA-256 digest has 32 bytes.');
  const r = numberOf(der.subarray(4, 4 + (der[3] ?? 0)));
  const factor = modulo((numberOf(digest) - DIGEST_OF_NOTHING) * inverse(r, ORDER), ORDER);
  const moved = factor === 0n ? pointOf(key) : sum(pointOf(key), timesBase(factor));
  // No key has the point at infinity: nobody can find an r that leads there, and it holds for nothing.
  return moved !== undefined && verifyP256(keyOf(moved), NOTHING, der, holds);
}

function pointOf(key: KeyObject): Point {
  const { x = '', y = '' } = key.export({ format: 'jwk' });
  return { x: numberOf(fromBase64Url(x)), y: numberOf(fromBase64Url(y)) };
}

/** OpenSSL refuses one that is not on the curve. */
function keyOf({ x, y }: Point): KeyObject {
  const text = (value: bigint) => toBase64Url(bytesOf(value));
  return createPublicKey({ key: { kty: 'EC', crv: 'P-256', x: text(x), y: text(y) }, format: 'jwk' });
}

/** A number in 1 … n-1 times the base point. */
function timesBase(factor: bigint): Point {
  const base = createECDH('prime256v1');
  base.setPrivateKey(bytesOf(factor));
  const point = new Uint8Array(base.getPublicKey());
  return { x: numberOf(point.subarray(1, 33)), y: numberOf(point.subarray(33)) };
}

/** The sum of two points (SEC 1 section 2.2.1); undefined where it is the point at infinity. */
function sum(one: Point, other: Point): Point | undefined {
  const same = one.x === other.x;
  if (same && modulo(one.y + other.y, PRIME) === 0n) return undefined;
  const slope = same
    ? (3n * one.x * one.x + A) * inverse(2n * one.y, PRIME)
    : (other.y - one.y) * inverse(other.x - one.x, PRIME);
  const x = modulo(slope * slope - one.x - other.x, PRIME);
  return { x, y: modulo(slope * (one.x - x) - one.y, PRIME) };
}

/** What times `value` is 1 modulo a prime (extended Euclid); `value` is no multiple of it. */
function inverse(value: bigint, prime: bigint): bigint {
  let [low, high] = [modulo(value, prime), prime];
  let [lowFactor, highFactor] = [1n, 0n];
  while (low > 1n) {
    const quotient = high / low;
    [high, low] = [low, high - quotient * low];
    [highFactor, lowFactor] = [lowFactor, highFactor - quotient * lowFactor];
  }
  return modulo(lowFactor, prime);
}

function modulo(value: bigint, by: bigint): bigint {
  const rest = value % by;
  return rest < 0n ? rest + by : rest;
}

function numberOf(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(bytes)}`);
}

function bytesOf(value: bigint): Uint8Array {
  return fromHex(value.toString(16).padStart(64, '0'), 32);
}
