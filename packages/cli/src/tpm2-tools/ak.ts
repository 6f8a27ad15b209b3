import { createPublicKey, type KeyObject } from 'node:crypto';
import { equalBytes, fromBase64, fromBase64Url, KallioError, Reader } from '@kallio/codec';
import {
  decodeAttributes,
  type EccPublic,
  marshalPublic,
  parsePublic,
  type RsaPublic,
  type TpmtPublic,
} from '@kallio/tpm/structures';
import { cliError } from '../output/output.ts';

/** An attestation key from a file. */
export interface AkFile {
  /** TPMT_PUBLIC. Of a PEM key only the numbers of the key in it are true. */
  readonly publicArea: Uint8Array;
  readonly key: TpmtPublic;
  /** False for PEM: such a key may live anywhere and sign anything. */
  readonly showsProperties: boolean;
}

const PEM = /^-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END PUBLIC KEY-----\s*$/;
const HINT = 'tpm2_readpublic -o and tpm2_createak -u write one; --format pem writes PEM.';

/**
 * Reads an AK as TPM2B_PUBLIC (tpm2-tools’ `tss`), TPMT_PUBLIC (`tpmt`) or a PEM "PUBLIC KEY" (`pem`). What is none of
 * them is `CLI_AK_FORMAT`; whether the key is fit to attest is not judged here.
 */
export function readAk(bytes: Uint8Array): AkFile {
  if (bytes[0] === 0x2d) return { ...spkiKey(derOf(bytes)), showsProperties: false };
  const sized = bytes.length >= 2 && new Reader(bytes).u16() === bytes.length - 2;
  const publicArea = sized ? bytes.subarray(2) : bytes;
  try {
    return { publicArea, key: parsePublic(publicArea), showsProperties: true };
  } catch (cause) {
    if (!(cause instanceof KallioError)) throw cause;
    throw notAnAk(`neither TPM2B_PUBLIC, TPMT_PUBLIC nor PEM: ${cause.message}`);
  }
}

function derOf(bytes: Uint8Array): Uint8Array {
  // A private key or a certificate has a public key in it too; neither is what was asked for.
  const body = PEM.exec(Buffer.from(bytes).toString('latin1'))?.[1];
  if (body === undefined) throw notAnAk('no single PEM block "PUBLIC KEY"');
  try {
    return fromBase64(body.replace(/[\r\n]/g, ''));
  } catch {
    throw notAnAk('a PEM block with damaged base64');
  }
}

function spkiKey(der: Uint8Array): Pick<AkFile, 'publicArea' | 'key'> {
  let object: KeyObject;
  try {
    object = createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' });
  } catch {
    throw notAnAk('a PEM block without a public key in it');
  }
  // Stops bytes that follow the key, and a second encoding of it.
  if (!equalBytes(new Uint8Array(object.export({ format: 'der', type: 'spki' })), der)) {
    throw notAnAk('a public key that is not in DER');
  }
  const key = numbersOf(object);
  return { key, publicArea: marshalPublic(key) };
}

const UNKNOWN = {
  nameAlg: 'sha256',
  attributes: decodeAttributes(0),
  authPolicy: new Uint8Array(),
  symmetric: 'null',
  scheme: { scheme: 'null' },
} as const;

function numbersOf(object: KeyObject): RsaPublic | EccPublic {
  const jwk = object.export({ format: 'jwk' });
  if (object.asymmetricKeyType === 'rsa' && jwk.n !== undefined && jwk.e !== undefined) {
    const modulus = fromBase64Url(jwk.n);
    const exponent = fromBase64Url(jwk.e).reduce((number, byte) => number * 256 + byte, 0);
    if (modulus.length > 512 || exponent > 0xffff_ffff) throw notAnAk('an RSA key that no TPM has');
    return { type: 'rsa', ...UNKNOWN, keyBits: modulus.length * 8, exponent, modulus };
  }
  if (object.asymmetricKeyType === 'ec' && jwk.x !== undefined && jwk.y !== undefined) {
    const { crv } = jwk;
    if (crv === 'P-256' || crv === 'P-384' || crv === 'P-521') {
      return { type: 'ecc', ...UNKNOWN, curve: crv, x: fromBase64Url(jwk.x), y: fromBase64Url(jwk.y) };
    }
  }
  throw notAnAk('a key that is neither RSA nor on a NIST curve');
}

function notAnAk(why: string): KallioError {
  return cliError('CLI_AK_FORMAT', `The AK’s file holds ${why.replace(/\.$/, '')}.`, HINT);
}
