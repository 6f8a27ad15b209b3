import { canonicalize, type Digest, digestOf, digestOfText, fromBase64, toBase64, utf8 } from '@kallio/codec';

/** DSSE envelope with one signature, as it travels. */
export interface Envelope {
  payloadType: 'application/vnd.in-toto+json';
  /** Base64. */
  payload: string;
  signatures: { sig: string; keyid?: string }[];
}

/**
 * The leaf for an envelope, in the shape of Rekor's `dsse` type 0.0.1, as canonical JSON: digests of envelope (its
 * canonical JSON) and payload, each signature, and the key that made it. Today's Sigstore clients verify it.
 */
export function rekorDsseBody(envelope: Envelope, spki: Uint8Array): Uint8Array {
  return utf8(rekorDsseText(envelope, verifierOf(spki), fromBase64(envelope.payload)));
}

/**
 * The same as text, where {@link verifierOf} the key is at hand and the payload was decoded from the envelope's: that its
 * text is base64, and stands in JSON as it is, is what decoding has shown.
 */
export function rekorDsseText(envelope: Envelope, verifier: string, payload: Uint8Array): string {
  const hash = (digest: Digest) => `{"algorithm":"sha256","value":"${digest.slice('sha256:'.length)}"}`;
  const signatures = envelope.signatures.map(
    ({ sig }) => `{"signature":${canonicalize(sig)},"verifier":${canonicalize(verifier)}}`,
  );
  const hashes = `"envelopeHash":${hash(digestOfText(envelopeText(envelope)))},"payloadHash":${hash(digestOf(payload))}`;
  return `{"apiVersion":"0.0.1","kind":"dsse","spec":{${hashes},"signatures":[${signatures.join()}]}}`;
}

/** An envelope's canonical JSON, without looking through its payload, which is most of it. */
function envelopeText({ payload, payloadType, signatures }: Envelope): string {
  return `{"payload":"${payload}","payloadType":${canonicalize(payloadType)},"signatures":${canonicalize(signatures)}}`;
}

/** A public key (SPKI, DER) as a leaf names it: base64 of its PEM. */
export function verifierOf(spki: Uint8Array): string {
  return toBase64(utf8(pemOf(spki)));
}

/** A public key (SPKI, DER) as PEM (RFC 7468). */
export function pemOf(spki: Uint8Array): string {
  const lines = toBase64(spki).match(/.{1,64}/g) ?? [];
  return `-----BEGIN PUBLIC KEY-----\n${lines.join('\n')}\n-----END PUBLIC KEY-----\n`;
}
