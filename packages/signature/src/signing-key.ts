import { type Digest, digestOf, equalBytes, fromBase64 } from '@kallio/codec';
import { type Attestation, type SigningKeyBinding, signingKeyQualifyingData } from '@kallio/evidence';
import {
  checkSigningKey,
  nameOf,
  parseAttest,
  parsePublic,
  parseSignature,
  publicKeyOf,
  type TpmtPublic,
  verifySignature,
} from '@kallio/tpm/structures';
import { signatureError } from './error.ts';

/** A signing key that the AK's own TPM holds. */
export interface CertifiedKey {
  readonly key: TpmtPublic;
  /** SHA-256 of its SPKI. */
  readonly spkiDigest: Digest;
  /** SHA-256 of its TPMT_PUBLIC: what the closing quote is bound to. */
  readonly publicDigest: Digest;
}

/**
 * Checks that the AK vouches, for this closing of this session, that the signing key is in its TPM and can't leave it
 * (TPM 2.0 Part 3, TPM2_Certify).
 */
export function certifiedKey(
  shown: { readonly public: string; readonly certification: Attestation },
  binding: SigningKeyBinding,
  akPublic: Uint8Array,
): CertifiedKey {
  const bytes = fromBase64(shown.public);
  const key = parsePublic(bytes);
  // Stops a key that could be copied out of the TPM, or that Sigstore clients can't verify; the reasons stand there.
  checkSigningKey(key);
  const attestBytes = fromBase64(shown.certification.attest);
  // Stops a certification made by any other key, on this TPM or another.
  verifySignature(
    parsePublic(akPublic),
    attestBytes,
    parseSignature(fromBase64(shown.certification.signature)),
  );
  const attest = parseAttest(attestBytes);
  // Stops a quote, or anything else the AK once signed, from passing for a certification.
  if (attest.type !== 'certify') return uncertified('The AK signed something else than a certification.');
  // Stops the certification of one key from being shown with another.
  if (!equalBytes(attest.name, nameOf(key))) return uncertified('The AK certified another key.');
  // Stops a certification of an earlier session from being shown again.
  if (!equalBytes(attest.extraData, signingKeyQualifyingData(binding))) {
    return uncertified('The certification was made for another session or nonce.');
  }
  const spki = new Uint8Array(publicKeyOf(key).export({ format: 'der', type: 'spki' }));
  return { key, spkiDigest: digestOf(spki), publicDigest: digestOf(bytes) };
}

function uncertified(message: string): never {
  throw signatureError('SIGNING_KEY_NOT_CERTIFIED', message, { pointer: '/signingKey/certification' });
}
