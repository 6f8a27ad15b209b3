import { canonicalBytes, fromBase64, sha256, toBase64, toHex, utf8 } from '@kallio/codec';

/** DSSE envelope with one signature, as it travels. */
export interface Envelope {
  payloadType: 'application/vnd.in-toto+json';
  /** Base64. */
  payload: string;
  signatures: { sig: string; keyid?: string }[];
}

/**
 * The leaf for an envelope, in the shape of Rekor's `dsse` type 0.0.1, as canonical JSON: digests of envelope (its
 * canonical JSON) and payload (given where it is decoded already), each signature, and the key that made it. Today's Sigstore clients verify it.
 */
export function rekorDsseBody(
  envelope: Envelope,
  spki: Uint8Array,
  payload: Uint8Array = fromBase64(envelope.payload),
): Uint8Array {
  const verifier = toBase64(utf8(pemOf(spki)));
  return canonicalBytes({
    apiVersion: '0.0.1',
    kind: 'dsse',
    spec: {
      envelopeHash: { algorithm: 'sha256', value: toHex(sha256(canonicalBytes(envelope))) },
      payloadHash: { algorithm: 'sha256', value: toHex(sha256(payload)) },
      signatures: envelope.signatures.map(({ sig }) => ({ signature: sig, verifier })),
    },
  });
}

/** A public key (SPKI, DER) as PEM (RFC 7468). */
export function pemOf(spki: Uint8Array): string {
  const lines = toBase64(spki).match(/.{1,64}/g) ?? [];
  return `-----BEGIN PUBLIC KEY-----\n${lines.join('\n')}\n-----END PUBLIC KEY-----\n`;
}
