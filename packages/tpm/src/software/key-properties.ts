import { KallioError } from '@kallio/codec';
import type { TpmCode } from '../structures/error.ts';
import type { TpmtPublic } from '../structures/public.ts';
import { publicKeyOf } from './public-key.ts';

/** The attributes that are demanded, and what a refusal for their sake is called. */
const CODES = {
  restricted: 'TPM_KEY_RESTRICTION',
  sign: 'TPM_KEY_USE',
  decrypt: 'TPM_KEY_USE',
  fixedTPM: 'TPM_KEY_FIXED_TPM',
  fixedParent: 'TPM_KEY_FIXED_PARENT',
  sensitiveDataOrigin: 'TPM_KEY_ORIGIN',
} as const satisfies Partial<Record<keyof TpmtPublic['attributes'], TpmCode>>;

/** A property a key must have (or must not), with the attack that it stops. */
interface Demand {
  readonly flag: keyof typeof CODES;
  readonly set: boolean;
  readonly because: string;
}

const AK: readonly Demand[] = [
  {
    flag: 'restricted',
    set: true,
    because: 'an unrestricted key signs any bytes, a made-up TPMS_ATTEST among them',
  },
  { flag: 'sign', set: true, because: 'a key that cannot sign cannot attest' },
  { flag: 'decrypt', set: false, because: 'a storage key is no attestation key' },
  { flag: 'fixedTPM', set: true, because: 'a key that may be duplicated can live in another TPM' },
  {
    flag: 'fixedParent',
    set: true,
    because: 'a key that may be moved can live under a parent that leaves the TPM',
  },
  {
    flag: 'sensitiveDataOrigin',
    set: true,
    because: 'a private key that came from outside is known outside',
  },
];

const EK: readonly Demand[] = [
  {
    flag: 'restricted',
    set: true,
    because: 'an unrestricted decryption key opens credentials for anyone who asks',
  },
  { flag: 'decrypt', set: true, because: 'an endorsement key must open credentials' },
  { flag: 'sign', set: false, because: 'a signing key is no endorsement key' },
  { flag: 'fixedTPM', set: true, because: 'a key that may be duplicated can live in another TPM' },
  {
    flag: 'fixedParent',
    set: true,
    because: 'a key that may be moved can live under a parent that leaves the TPM',
  },
  {
    flag: 'sensitiveDataOrigin',
    set: true,
    because: 'a private key that came from outside is known outside',
  },
];

const SIGNING_KEY: readonly Demand[] = [
  { flag: 'sign', set: true, because: 'a key that cannot sign cannot sign an image' },
  {
    flag: 'restricted',
    set: false,
    because: 'a restricted key cannot sign a DSSE envelope; this is not the key that will',
  },
  { flag: 'decrypt', set: false, because: 'a signing key does nothing else' },
  { flag: 'fixedTPM', set: true, because: 'a key that may be duplicated can sign on another machine' },
  { flag: 'fixedParent', set: true, because: 'a key that may be moved can sign on another machine' },
  {
    flag: 'sensitiveDataOrigin',
    set: true,
    because: 'a private key that came from outside can sign outside',
  },
];

/** Throws unless the key can be believed as an attestation key: made in its TPM, bound to it, signs TPM data only. */
export function checkAk(key: TpmtPublic): void {
  demand('An AK', key, AK);
  checkSigner('An AK', key);
}

/** Throws unless the key has the properties of an endorsement key (TCG EK Credential Profile, section 2.1.5.2). */
export function checkEk(key: TpmtPublic): void {
  demand('An EK', key, EK);
  if (key.nameAlg === 'sha1')
    throw new KallioError<TpmCode>('TPM_SHA1', 'An EK whose Name is a SHA-1 digest is not accepted.');
  publicKeyOf(key);
}

/** Throws unless the key can be believed as an image-signing key: ECDSA P-256, made in its TPM, bound to it. */
export function checkSigningKey(key: TpmtPublic): void {
  demand('An image-signing key', key, SIGNING_KEY);
  checkSigner('An image-signing key', key);
  if (key.type !== 'ecc' || key.curve !== 'P-256') {
    throw new KallioError<TpmCode>('TPM_KEY_CURVE', 'An image-signing key is an ECDSA key on P-256.');
  }
}

function demand(what: string, key: TpmtPublic, demands: readonly Demand[]): void {
  for (const { flag, set, because } of demands) {
    if (key.attributes[flag] !== set) {
      throw new KallioError<TpmCode>(
        CODES[flag],
        `${what} must ${set ? '' : 'not '}have the attribute ${flag}: ${because}.`,
        { pointer: `attributes.${flag}` },
      );
    }
  }
}

/** The scheme is fixed in the key, over a hash that holds, on a curve or modulus that holds. */
function checkSigner(what: string, key: TpmtPublic): void {
  publicKeyOf(key);
  if (key.nameAlg === 'sha1') {
    throw new KallioError<TpmCode>(
      'TPM_SHA1',
      `${what} whose Name is a SHA-1 digest could stand for another key.`,
    );
  }
  const { scheme } = key;
  if (scheme.scheme !== 'ecdsa' && scheme.scheme !== 'rsassa' && scheme.scheme !== 'rsapss') {
    throw new KallioError<TpmCode>(
      'TPM_SIGNATURE_SCHEME',
      `${what} names the scheme it signs with: ECDSA, RSASSA or RSAPSS.`,
    );
  }
  if (scheme.hash === 'sha1')
    throw new KallioError<TpmCode>('TPM_SHA1', `${what} that signs SHA-1 digests is not accepted.`);
}
