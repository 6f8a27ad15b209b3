import { generateKeyPairSync } from 'node:crypto';
import { canonicalBytes, sha256, toBase64, toHex, utf8 } from '@kallio/codec';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Envelope, pemOf, rekorDsseBody, rekorDsseText, verifierOf } from '../src/index.ts';

const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));

test('writes the leaf that canonical JSON makes of the whole envelope, whatever is in it', () => {
  const signature = fc.record(
    { sig: fc.uint8Array({ maxLength: 72 }).map(toBase64), keyid: fc.string({ unit: 'grapheme' }) },
    { requiredKeys: ['sig'] },
  );
  fc.assert(
    fc.property(fc.uint8Array(), fc.array(signature, { maxLength: 2 }), (payload, signatures) => {
      const envelope: Envelope = {
        signatures,
        payloadType: 'application/vnd.in-toto+json',
        payload: toBase64(payload),
      };
      const hash = (bytes: Uint8Array) => ({ algorithm: 'sha256', value: toHex(sha256(bytes)) });
      const verifier = toBase64(utf8(pemOf(spki)));
      const leaf = canonicalBytes({
        kind: 'dsse',
        apiVersion: '0.0.1',
        spec: {
          envelopeHash: hash(canonicalBytes(envelope)),
          payloadHash: hash(payload),
          signatures: signatures.map(({ sig }) => ({ signature: sig, verifier })),
        },
      });
      expect(rekorDsseBody(envelope, spki)).toEqual(leaf);
      expect(utf8(rekorDsseText(envelope, verifierOf(spki), payload))).toEqual(leaf);
    }),
  );
});
