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
/** PolicyOR of PolicyA and the policy that an NV index holds (annex B.6, "PolicyB"). */
const POLICY_B_SHA256 = fromHex('ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0');
const POLICY_B_SHA384 = fromHex(
  'b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12',
);

/** A kind of EK, and where its certificate is in NV. */
export interface EkProfile {
  readonly kind: EkKind;
  /** NV index of the certificate (section 2.2.1.4 low range, 2.2.1.5 high range). */
  readonly certificate: number;
  /** How it is used: the low range by PolicySecret(endorsement), the high range with its (empty) authorization too. */
  readonly use: 'policy-a' | 'password';
}

/** Low range: L-1 (RSA 2048), L-2 (P-256). High range: H-1 (RSA 2048), H-2 (P-256), H-3 (P-384), H-6 (RSA 3072). */
export type EkKind = 'rsa2048' | 'ecc-p256' | 'rsa2048-high' | 'ecc-p256-high' | 'ecc-p384' | 'rsa3072';

/** Intermediate certificates in NV, as many as there are, from `first` on (section 2.2.1.5.2). */
export const EK_CHAIN = { first: 0x01c0_0100, last: 0x01c0_01ff } as const;

/** Every kind of EK that is known here; ECC first: its primary is made in milliseconds, an RSA one may take seconds. */
export const EK_PROFILES: readonly EkProfile[] = [
  { kind: 'ecc-p384', certificate: 0x01c0_0016, use: 'password' },
  { kind: 'ecc-p256-high', certificate: 0x01c0_0014, use: 'password' },
  { kind: 'ecc-p256', certificate: 0x01c0_000a, use: 'policy-a' },
  { kind: 'rsa2048-high', certificate: 0x01c0_0012, use: 'password' },
  { kind: 'rsa2048', certificate: 0x01c0_0002, use: 'policy-a' },
  { kind: 'rsa3072', certificate: 0x01c0_001c, use: 'password' },
];

/** The EK template of that kind (TCG EK Credential Profile 2.5, annex B). In the high range the unique field is empty, in the low range it is zeros. */
export function ekTemplate(kind: EkKind): RsaPublic | EccPublic {
  switch (kind) {
    case 'rsa2048':
      return rsaEk(2048, LOW, POLICY_A_SHA256, new Uint8Array(256));
    case 'ecc-p256':
      return eccEk('P-256', LOW, POLICY_A_SHA256, new Uint8Array(32));
    case 'rsa2048-high':
      return rsaEk(2048, HIGH, POLICY_B_SHA256, NONE);
    case 'ecc-p256-high':
      return eccEk('P-256', HIGH, POLICY_B_SHA256, NONE);
    case 'ecc-p384':
      return eccEk('P-384', HIGH, POLICY_B_SHA384, NONE);
    case 'rsa3072':
      return rsaEk(3072, HIGH, POLICY_B_SHA384, NONE);
  }
}

const LOW: ObjectAttributes = {
  ...FLAGS,
  userWithAuth: false,
  adminWithPolicy: true,
  restricted: true,
  decrypt: true,
};
const HIGH: ObjectAttributes = { ...LOW, userWithAuth: true };

function rsaEk(
  keyBits: 2048 | 3072,
  attributes: ObjectAttributes,
  authPolicy: Uint8Array,
  modulus: Uint8Array,
): RsaPublic {
  return {
    type: 'rsa',
    ...strength(authPolicy),
    attributes,
    authPolicy,
    scheme: { scheme: 'null' },
    keyBits,
    exponent: 0,
    modulus,
  };
}

function eccEk(
  curve: 'P-256' | 'P-384',
  attributes: ObjectAttributes,
  authPolicy: Uint8Array,
  coordinate: Uint8Array,
): EccPublic {
  return {
    type: 'ecc',
    ...strength(authPolicy),
    attributes,
    authPolicy,
    scheme: { scheme: 'null' },
    curve,
    x: coordinate,
    y: coordinate,
  };
}

/** Name algorithm and symmetric key go by the policy's hash: SHA-256 with AES-128, SHA-384 with AES-256. */
function strength(policy: Uint8Array) {
  return policy.length === 32
    ? ({ nameAlg: 'sha256', symmetric: { bits: 128 } } as const)
    : ({ nameAlg: 'sha384', symmetric: { bits: 256 } } as const);
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

/**
 * An image-signing key: ECDSA P-256, not restricted, as a restricted key can't sign a DSSE envelope. With a policy, it is
 * usable by that alone.
 */
export function signingKeyTemplate(authPolicy?: Uint8Array): EccPublic {
  const key = signer({ ...FLAGS, sign: true });
  if (authPolicy === undefined) return key;
  return { ...key, authPolicy, attributes: { ...key.attributes, userWithAuth: false } };
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
