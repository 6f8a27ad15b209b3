import {
  borrowBase64,
  borrowConcat,
  borrowUtf8,
  fromBase64,
  type HoldsEcdsa,
  KallioError,
  sha256,
  toBase64,
} from '@kallio/codec';
import { type Envelope, verifyP256 } from '@kallio/tlog';
import { signatureError } from './error.ts';
import type { SigningKey } from './key.ts';

/** The only type of payload that is signed here. */
export const PAYLOAD_TYPE = 'application/vnd.in-toto+json';

/**
 * The bytes under a DSSE signature (DSSE protocol, "PAE"): type and payload with their lengths, so that no payload of
 * one type can be read as a payload of another. They may lie in memory that is shared with others: to be read only.
 */
export function pae(payloadType: string, payload: Uint8Array): Uint8Array {
  const typeBytes = Buffer.byteLength(payloadType);
  return borrowConcat(borrowUtf8(`DSSEv1 ${typeBytes} ${payloadType} ${payload.length} `), payload);
}

/** SHA-256 of the {@link pae}: what the signing key in the TPM signs. */
export function paeDigest(payloadType: string, payload: Uint8Array): Uint8Array {
  return sha256(pae(payloadType, payload));
}

/** An envelope around a payload and its one signature (ECDSA P-256, DER). */
export function makeEnvelope(payload: Uint8Array, signature: Uint8Array): Envelope {
  return {
    payloadType: PAYLOAD_TYPE,
    payload: toBase64(payload),
    signatures: [{ sig: toBase64(signature) }],
  };
}

/**
 * Verifies an envelope's one signature: `SIGNATURE_ENCODING`, `SIGNATURE_INVALID`. The payload is given where it is decoded
 * already.
 */
export function verifyEnvelope(
  envelope: Envelope,
  { key }: SigningKey,
  payload: Uint8Array = fromBase64(envelope.payload),
  holds?: HoldsEcdsa,
): void {
  const message = pae(envelope.payloadType, payload);
  const [only, second] = envelope.signatures;
  if (only === undefined || second !== undefined) {
    throw signatureError('BUNDLE_SIGNATURE_COUNT', 'An envelope has exactly one signature here.');
  }
  const pointer = '/dsseEnvelope/signatures/0/sig';
  if (!inOneSpelling(pointer, () => verifyP256(key, message, borrowBase64(only.sig), holds))) {
    throw signatureError('SIGNATURE_INVALID', 'The signature does not hold for this statement.', { pointer });
  }
}

/** Whether a signature holds; one that is not in its one DER form is `SIGNATURE_ENCODING` there. */
export function inOneSpelling(pointer: string, verify: () => boolean): boolean {
  try {
    return verify();
  } catch (error) {
    if (!(error instanceof KallioError) || error.code !== 'LOG_SIGNATURE_ENCODING') throw error;
    throw signatureError('SIGNATURE_ENCODING', 'The signature is not two integers of P-256 in DER.', {
      pointer,
      cause: error,
    });
  }
}
