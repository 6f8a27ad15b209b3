import { createPublicKey } from 'node:crypto';
import { concat, fromBase64Url, KallioError, sha256, utf8 } from '@kallio/codec';
import type { TpmCode } from '../structures/error.ts';
import type { EccPublic, TpmtPublic } from '../structures/public.ts';
import { nameOf } from '../structures/public.ts';
import { PolicyCalculator } from './policy.ts';

/** What an operator's approvals are for: no other policy that the same key approves opens a signing key. */
export const SIGNING_POLICY_REF = utf8('kallio-signing-v1');

/** PCR values of the SHA-256 bank, by PCR. */
export type PcrValues = ReadonlyMap<number, Uint8Array>;

/**
 * An operator's key (SPKI, DER, P-256) as the TPM loads it to verify what it approved. One SPKI has one public area, so
 * that everybody computes the same Name.
 */
export function signingAuthority(spki: Uint8Array): EccPublic {
  const { kty, crv, x, y } = exported(spki);
  if (kty !== 'EC' || crv !== 'P-256' || x === undefined || y === undefined) {
    throw new KallioError<TpmCode>('TPM_KEY_CURVE', 'An operator’s approval key is an ECDSA key on P-256.');
  }
  return {
    type: 'ecc',
    nameAlg: 'sha256',
    attributes: {
      fixedTPM: false,
      stClear: false,
      fixedParent: false,
      sensitiveDataOrigin: false,
      userWithAuth: true,
      adminWithPolicy: false,
      noDA: false,
      encryptedDuplication: false,
      restricted: false,
      decrypt: false,
      sign: true,
    },
    authPolicy: new Uint8Array(0),
    symmetric: 'null',
    scheme: { scheme: 'ecdsa', hash: 'sha256' },
    curve: 'P-256',
    x: fromBase64Url(x),
    y: fromBase64Url(y),
  };
}

function exported(spki: Uint8Array) {
  try {
    return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }).export({ format: 'jwk' });
  } catch (cause) {
    throw new KallioError<TpmCode>('TPM_KEY_CURVE', 'This is no public key.', { cause });
  }
}

/**
 * The policy of a signing key that is usable only in PCR states which the operator has approved (TPM 2.0 Part 3,
 * TPM2_PolicyAuthorize): the key names the operator, not a state, so a later approval opens the same key.
 */
export function signingPolicy(authority: EccPublic): Uint8Array {
  return signingPolicyOf(nameOf(authority));
}

/** The same, where only the Name of {@link signingAuthority} is at hand (TPM 2.0 Part 1 section 16). */
export function signingPolicyOf(name: Uint8Array): Uint8Array {
  return new PolicyCalculator('sha256').authorize(name, SIGNING_POLICY_REF).digest;
}

/** The policy that alone opens a key, where there is one; undefined of a key that its authorization value opens as well. */
export function governingPolicy({ attributes, authPolicy }: TpmtPublic): Uint8Array | undefined {
  return attributes.userWithAuth || authPolicy.length === 0 ? undefined : authPolicy;
}

/** The policy that is met where these PCRs have these values (TPM2_PolicyPCR). */
export function pcrPolicy(values: PcrValues): Uint8Array {
  const pcrs = [...values.keys()].sort((a, b) => a - b);
  const digest = sha256(concat(...pcrs.map((pcr) => values.get(pcr) ?? new Uint8Array(0))));
  return new PolicyCalculator('sha256').pcr([{ bank: 'sha256', pcrs }], digest).digest;
}

/** What an operator signs to approve a policy: ECDSA P-256 over SHA-256 of this (Part 3 section 23.16, "aHash"). */
export function approvalMessage(policy: Uint8Array): Uint8Array {
  return concat(policy, SIGNING_POLICY_REF);
}

/** Throws unless the signing key is usable only by approval of this operator. */
export function checkGoverned(key: TpmtPublic, authority: EccPublic): void {
  // Attack: a key that opens with its (empty) authorization value as well, whatever its policy says.
  if (key.attributes.userWithAuth) {
    throw new KallioError<TpmCode>(
      'TPM_KEY_AUTH',
      'A governed signing key must not have the attribute userWithAuth: it would open without its policy.',
      { pointer: 'attributes.userWithAuth' },
    );
  }
  if (Buffer.compare(key.authPolicy, signingPolicy(authority)) !== 0) {
    throw new KallioError<TpmCode>(
      'TPM_KEY_POLICY',
      'This signing key is not governed by the operator’s approvals.',
      { pointer: 'authPolicy' },
    );
  }
}
