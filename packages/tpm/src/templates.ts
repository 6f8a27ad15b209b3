import { fromHex } from '@kallio/codec';
import type { ObjectAttributes } from './structures/attributes.ts';
import type { EccPublic, KeyedHashPublic, RsaPublic } from './structures/public.ts';

const NONE = new Uint8Array(0);

const FLAGS: ObjectAttributes = {
  fixedTPM: true,
  stClear: false,
  fixedParent: true,
  sensitiveDataOrigin: true,
  userWithAuth: true,
  adminWithPolicy: false,
  noDA: false,
  encryptedDuplication: false,
  restricted: false,
  decrypt: false,
  sign: false,
};

/** PolicySecret(TPM_RH_ENDORSEMENT), SHA-256 (EK Credential Profile 2.5, annex B.3). */
const POLICY_A_SHA256 = fromHex('837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa');
/** PolicyOR of PolicyA and the NV policy, SHA-384 (annex B.6.3, "PolicyB"). */
const POLICY_B_SHA384 = fromHex(
  'b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12',
);

/** Which EK. Low range: L-1 (RSA 2048), L-2 (ECC P-256); high range: H-3 (ECC P-384). */
export type EkKind = 'rsa2048' | 'ecc-p256' | 'ecc-p384';

/** The EK template of the TCG EK Credential Profile 2.5, annex B. */
export function ekTemplate(kind: EkKind): RsaPublic | EccPublic {
  const low: ObjectAttributes = {
    ...FLAGS,
    userWithAuth: false,
    adminWithPolicy: true,
    restricted: true,
    decrypt: true,
  };
  switch (kind) {
    case 'rsa2048':
      return {
        type: 'rsa',
        nameAlg: 'sha256',
        attributes: low,
        authPolicy: POLICY_A_SHA256,
        symmetric: { bits: 128 },
        scheme: { scheme: 'null' },
        keyBits: 2048,
        exponent: 0,
        modulus: new Uint8Array(256),
      };
    case 'ecc-p256':
      return {
        type: 'ecc',
        nameAlg: 'sha256',
        attributes: low,
        authPolicy: POLICY_A_SHA256,
        symmetric: { bits: 128 },
        scheme: { scheme: 'null' },
        curve: 'P-256',
        x: new Uint8Array(32),
        y: new Uint8Array(32),
      };
    case 'ecc-p384':
      return {
        type: 'ecc',
        nameAlg: 'sha384',
        attributes: { ...low, userWithAuth: true },
        authPolicy: POLICY_B_SHA384,
        symmetric: { bits: 256 },
        scheme: { scheme: 'null' },
        curve: 'P-384',
        x: NONE,
        y: NONE,
      };
  }
}

/** A storage root under which an attester's keys live (TCG TPM 2.0 Provisioning Guidance, SRK, ECC P-256). */
export function storageTemplate(): EccPublic {
  return {
    type: 'ecc',
    nameAlg: 'sha256',
    attributes: { ...FLAGS, noDA: true, restricted: true, decrypt: true },
    authPolicy: NONE,
    symmetric: { bits: 128 },
    scheme: { scheme: 'null' },
    curve: 'P-256',
    x: NONE,
    y: NONE,
  };
}

/** An attestation key: restricted ECDSA P-256. */
export function akTemplate(): EccPublic {
  return signer({ ...FLAGS, restricted: true, sign: true });
}

/** An image-signing key: ECDSA P-256, not restricted, as a restricted key can't sign a DSSE envelope. */
export function signingKeyTemplate(): EccPublic {
  return signer({ ...FLAGS, sign: true });
}

/** Sealed data: opened with its authorization value, or by a policy where one is given and only so. */
export function sealedTemplate(authPolicy?: Uint8Array): KeyedHashPublic {
  return {
    type: 'keyedhash',
    nameAlg: 'sha256',
    attributes: { ...FLAGS, sensitiveDataOrigin: false, userWithAuth: authPolicy === undefined },
    authPolicy: authPolicy ?? NONE,
    scheme: { scheme: 'null' },
    unique: NONE,
  };
}

function signer(attributes: ObjectAttributes): EccPublic {
  return {
    type: 'ecc',
    nameAlg: 'sha256',
    attributes,
    authPolicy: NONE,
    symmetric: 'null',
    scheme: { scheme: 'ecdsa', hash: 'sha256' },
    curve: 'P-256',
    x: NONE,
    y: NONE,
  };
}
