import { digestOf, fromUtf8, sha256, toBase64, utf8 } from '@kallio/codec';
import { bundleFromJSON } from '@sigstore/bundle';
import { PublicKeyDetails, TrustedRoot } from '@sigstore/protobuf-specs';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { afterAll, describe, expect, test } from 'vitest';
import { keyHint, makeTrustedRoot, verifyBundleWithKey, verifyImageSignature } from '../src/index.ts';
import { build, configBytes, manifestDigest, TestServer, testKey } from './support/honest.ts';
import { attestationBundle, messageBundle } from './support/managed.ts';

const server = new TestServer();
const key = testKey();
afterAll(() => server.close());

const trustedRoot = makeTrustedRoot([
  { publicKey: server.logKey.spki, origin: server.origin, validFrom: new Date(0) },
]);

/** sigstore-js, with our trusted root and the signer's key under its hint. */
function verifyBySigstore(bundle: Uint8Array, file?: Uint8Array, hint = keyHint(key.spki)): void {
  const publicKey = {
    rawBytes: Buffer.from(key.spki),
    keyDetails: PublicKeyDetails.PKIX_ECDSA_P256_SHA_256,
    validFor: { start: new Date(0) },
  };
  const root = TrustedRoot.fromJSON(JSON.parse(fromUtf8(trustedRoot)));
  const material = toTrustMaterial(root, { [hint]: publicKey });
  const verifier = new Verifier(material, { tlogThreshold: 1, timestampThreshold: 1 });
  const parsed = bundleFromJSON(JSON.parse(fromUtf8(bundle)));
  verifier.verify(toSignedEntity(parsed, file === undefined ? undefined : Buffer.from(file)));
}

describe('a bundle of ours', () => {
  test('is accepted by @sigstore/verify with public key and trusted root, and by our own verifier', async () => {
    const { bundle } = await build(server, key);
    verifyBySigstore(bundle);
    const policy = server.policy();
    const verdict = await verifyImageSignature({
      bundle,
      manifestDigest,
      configBytes,
      policy,
      now: new Date(),
    });
    expect(verdict.refusal).toBeUndefined();
  });

  test('is refused by both once a bit of the signature is changed', async () => {
    const { bundle } = await build(server, key, {
      envelope: (made) => {
        const sig = Buffer.from(made.signatures[0]?.sig ?? '', 'base64');
        const last = sig.length - 1;
        sig.writeUInt8(sig.readUInt8(last) ^ 1, last);
        return { ...made, signatures: [{ sig: sig.toString('base64') }] };
      },
    });
    expect(() => verifyBySigstore(bundle)).toThrow();
    const policy = server.policy();
    const verdict = await verifyImageSignature({
      bundle,
      manifestDigest,
      configBytes,
      policy,
      now: new Date(),
    });
    expect(verdict.refusal?.code).toBe('SIGNATURE_INVALID');
  });

  test('is accepted by the verifier for anybody’s bundles, given the image’s digest', async () => {
    const { bundle } = await build(server, key);
    const input = { bundle, publicKey: key.spki, trustedRoot, artifact: manifestDigest };
    verifyBundleWithKey(input);
    expect(() => verifyBundleWithKey({ ...input, artifact: `sha256:${'0'.repeat(64)}` })).toThrow(
      expect.objectContaining({ code: 'SIGNATURE_SUBJECT_MISMATCH' }),
    );
    expect(() => verifyBundleWithKey({ ...input, publicKey: testKey().spki })).toThrow(
      expect.objectContaining({ code: 'SIGNATURE_INVALID' }),
    );
  });
});

describe('a bundle of another maker, as this package’s tests make them', () => {
  const file = utf8('what is released');
  const input = { publicKey: key.spki, trustedRoot };

  test('is accepted by @sigstore/verify and here; with a signature of something else by neither', async () => {
    const hint = toBase64(sha256(key.spki));
    const bundle = await messageBundle(server, key, file);
    verifyBySigstore(bundle, file, hint);
    const attested = await attestationBundle(server, key, [digestOf(file).slice('sha256:'.length)]);
    verifyBySigstore(attested);
    for (const one of [bundle, attested]) {
      verifyBundleWithKey({ ...input, bundle: one, artifact: file });
      verifyBundleWithKey({ ...input, bundle: one, artifact: digestOf(file) });
    }
    const other = await messageBundle(server, key, utf8('something else'));
    expect(() => verifyBySigstore(other, file, hint)).toThrow();
    for (const artifact of [file, digestOf(file)]) {
      expect(() => verifyBundleWithKey({ ...input, bundle: other, artifact })).toThrow(
        expect.objectContaining({ code: 'SIGNATURE_SUBJECT_MISMATCH' }),
      );
    }
  });
});
