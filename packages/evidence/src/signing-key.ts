import { canonicalBytes, concat, sha256, utf8 } from '@kallio/codec';

/** The closing of one session: what a certification of a signing key is made for. */
export interface SigningKeyBinding {
  readonly session: string;
  /** The nonce of the closing evidence, hexadecimal. */
  readonly nonce: string;
}

const LABEL = concat(utf8('kallio-signing-key-v1'), new Uint8Array(1));

/**
 * qualifyingData of the TPM2_Certify by which the AK vouches for the signing key when a session closes:
 * SHA-256("kallio-signing-key-v1" || 0x00 || JCS({nonce, session})). So a certification made once can't be shown
 * again for another session. The label differs from evidence's, so a quote's qualifyingData can't stand in.
 */
export function signingKeyQualifyingData({ session, nonce }: SigningKeyBinding): Uint8Array {
  return sha256(LABEL, canonicalBytes({ session, nonce }));
}
