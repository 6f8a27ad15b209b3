import { createPublicKey, type KeyObject } from 'node:crypto';
import { KallioError, sha256, toBase64Url } from '@kallio/codec';
import type { TpmCode } from '../structures/error.ts';
import type { EccPublic, RsaPublic, TpmtPublic } from '../structures/public.ts';

/** Keys that were imported: that costs as much as verifying a signature, so once for each public area. */
const imported = new WeakMap<TpmtPublic, KeyObject>();

/**
 * The key as node:crypto uses it. Refuses what is too weak or unknown to be believed: RSA under 2048 bits, exponents
 * other than 65537, curves other than P-256 and P-384, points off the curve.
 */
export function publicKeyOf(key: TpmtPublic): KeyObject {
  let known = imported.get(key);
  if (known === undefined) {
    known = importKey(key);
    imported.set(key, known);
  }
  return known;
}

function importKey(key: TpmtPublic): KeyObject {
  switch (key.type) {
    case 'rsa':
      return rsaKey(key);
    case 'ecc':
      return eccKey(key);
    case 'keyedhash':
      throw new KallioError<TpmCode>('TPM_KEY_TYPE', 'A keyed-hash object has no public key.');
  }
}

/**
 * What a key is known by: SHA-256 of its SubjectPublicKeyInfo, DER. Of a certified key it can be had from the certificate.
 * Attack: a public area has many ways to name one key (exponent 0 or 65537, zeros before a number, another policy); by
 * the area's own digest, one TPM would be many.
 */
export function fingerprintOf(key: TpmtPublic): Uint8Array {
  return sha256(new Uint8Array(publicKeyOf(key).export({ format: 'der', type: 'spki' })));
}

function rsaKey(key: RsaPublic): KeyObject {
  // Attack: a short modulus can be factored, and its owner's evidence forged; also one that zeros make look long.
  const [first = 0] = key.modulus;
  if (key.keyBits < 2048 || key.modulus.length * 8 !== key.keyBits || first < 0x80) {
    throw new KallioError<TpmCode>(
      'TPM_KEY_SIZE',
      `An RSA key that says ${key.keyBits} bits is not accepted: 2048 is the least, and all must count.`,
    );
  }
  if (key.exponent !== 0 && key.exponent !== 65_537) {
    throw new KallioError<TpmCode>(
      'TPM_KEY_SIZE',
      `The RSA exponent ${key.exponent} is not accepted; 65537 is.`,
    );
  }
  return createPublicKey({ format: 'jwk', key: { kty: 'RSA', n: toBase64Url(key.modulus), e: 'AQAB' } });
}

const COORDINATE = { 'P-256': 32, 'P-384': 48 } as const;

function eccKey(key: EccPublic): KeyObject {
  const { curve } = key;
  if (curve !== 'P-256' && curve !== 'P-384') {
    throw new KallioError<TpmCode>(
      'TPM_KEY_CURVE',
      `The curve ${curve} is not accepted; P-256 and P-384 are.`,
    );
  }
  const bytes = COORDINATE[curve];
  try {
    return createPublicKey({
      format: 'jwk',
      key: {
        kty: 'EC',
        crv: curve,
        x: toBase64Url(padded(key.x, bytes)),
        y: toBase64Url(padded(key.y, bytes)),
      },
    });
  } catch (cause) {
    throw new KallioError<TpmCode>('TPM_KEY_POINT', `This key is not a point of ${curve}.`, { cause });
  }
}

/** Left-padded with zeros to a length: TPMs may drop leading zeros of a number. */
export function padded(number: Uint8Array, length: number): Uint8Array {
  if (number.length > length) {
    throw new KallioError<TpmCode>(
      'TPM_STRUCTURE',
      `A number of ${number.length} bytes does not fit ${length}.`,
    );
  }
  const out = new Uint8Array(length);
  out.set(number, length - number.length);
  return out;
}
