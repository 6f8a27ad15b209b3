import { constants, type KeyObject, verify } from 'node:crypto';
import { KallioError } from '@kallio/codec';
import type { TpmCode } from '../structures/error.ts';
import type { TpmtPublic } from '../structures/public.ts';
import type { TpmtSignature } from '../structures/signature.ts';
import { ecdsaDer } from './der.ts';
import { publicKeyOf } from './public-key.ts';

const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO };

/**
 * Throws unless `signature` is `key`'s over `message`. RSASSA, RSAPSS and ECDSA with SHA-256 or SHA-384. Where the key
 * names its scheme, the signature must be of that scheme.
 */
export function verifySignature(key: TpmtPublic, message: Uint8Array, signature: TpmtSignature): void {
  if (!verify(...verifyQuestion(key, message, signature))) throw invalid();
}

/** What `crypto.verify` is asked. */
export type VerifyQuestion = readonly [
  hash: TpmtSignature['hash'],
  message: Uint8Array,
  key: VerifyKey,
  signature: Uint8Array,
];

/** `crypto.verify` on another thread. */
export type VerifyAside = (...question: VerifyQuestion) => Promise<boolean>;

/** As `crypto.verify` takes it. */
export type VerifyKey =
  | KeyObject
  | { readonly key: KeyObject; readonly padding: number; readonly saltLength: number };

/** The same, with the arithmetic on another thread. */
export async function verifySignatureAside(
  key: TpmtPublic,
  message: Uint8Array,
  signature: TpmtSignature,
  verifyAside: VerifyAside,
): Promise<void> {
  if (!(await verifyAside(...verifyQuestion(key, message, signature)))) throw invalid();
}

/**
 * All that is left to ask of `crypto.verify`: the signature is of the key's scheme, and the key can be imported. Throws what
 * `verifySignature` throws before it does the arithmetic.
 */
export function verifyQuestion(
  key: TpmtPublic,
  message: Uint8Array,
  signature: TpmtSignature,
): VerifyQuestion {
  requireScheme(key, signature);
  const { verifyKey, bytes } = preparedFor(key, signature);
  return [signature.hash, message, verifyKey, bytes];
}

function requireScheme(key: TpmtPublic, signature: TpmtSignature): void {
  if (signature.hash === 'sha1') {
    throw new KallioError<TpmCode>('TPM_SHA1', 'A signature over SHA-1 proves nothing any more.');
  }
  if (signature.hash === 'sha512') {
    throw new KallioError<TpmCode>('TPM_SIGNATURE_SCHEME', 'Signatures are over SHA-256 or SHA-384.');
  }
  const { scheme } = key.type === 'keyedhash' ? { scheme: undefined } : key;
  // Attack: a signature of a weaker scheme that the key was never meant for.
  if (scheme !== undefined && scheme.scheme !== 'null') {
    if (scheme.scheme !== signature.scheme || scheme.hash !== signature.hash) {
      throw new KallioError<TpmCode>(
        'TPM_SIGNATURE_SCHEME',
        'This signature is not of the scheme that its key names.',
      );
    }
  }
  const isRsa = signature.scheme !== 'ecdsa';
  if (isRsa !== (key.type === 'rsa')) {
    throw new KallioError<TpmCode>(
      'TPM_SIGNATURE_SCHEME',
      'This signature and its key are of different kinds.',
    );
  }
}

/** Key and signature as node:crypto takes them. */
function preparedFor(
  key: TpmtPublic,
  signature: TpmtSignature,
): { readonly verifyKey: VerifyKey; readonly bytes: Uint8Array } {
  const publicKey = publicKeyOf(key);
  switch (signature.scheme) {
    // The bare key stands for node's defaults, DER and PKCS #1: naming them makes a verification a fifth dearer.
    case 'ecdsa':
      return { verifyKey: publicKey, bytes: ecdsaDer(signature) };
    case 'rsassa':
      return { verifyKey: publicKey, bytes: signature.signature };
    case 'rsapss':
      return { verifyKey: { key: publicKey, ...PSS }, bytes: signature.signature };
  }
}

function invalid(): KallioError<TpmCode> {
  return new KallioError<TpmCode>(
    'TPM_SIGNATURE_INVALID',
    'This signature is not by that key over that message.',
  );
}
