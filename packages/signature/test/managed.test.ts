import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { canonicalBytes, digestOf, fromBase64, utf8 } from '@kallio/codec';
import { afterAll, describe, expect, test } from 'vitest';
import { makeTrustedRoot, parseClaims, verifyBundleWithKey } from '../src/index.ts';
import { build, claimsOf, manifestDigest, TestServer, testKey } from './support/honest.ts';

const vectors = join(import.meta.dirname, '../../../../shared/vectors/sigstore-bundles');

/** The key of Sigstore's public log, rekor.sigstore.dev, since 2021. */
const rekor = fromBase64(
  'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2G2Y+2tabdTV5BcGiBIx0a9fAFwrkBbmLSGtks4L3qX6yYY0zufBnhC8Ur/iy55GhWP/9A/bY2LhC30M9+RYtw==',
);
const publicGood = makeTrustedRoot([
  {
    publicKey: rekor,
    origin: 'rekor.sigstore.dev - 1193050959916656506',
    validFrom: new Date('2021-01-12T11:53:27Z'),
  },
]);

/** The vectors' PEM as it comes: one of them is no key. */
function spkiOfPem(pem: string): Uint8Array {
  return new Uint8Array(Buffer.from(pem.replaceAll(/-----[^-]+-----|\n/g, ''), 'base64'));
}

function load(name: string) {
  const file = (part: string) => new Uint8Array(readFileSync(join(vectors, name, part)));
  const own = existsSync(join(vectors, name, 'trusted_root.json'));
  return {
    bundle: file('bundle.sigstore.json'),
    publicKey: spkiOfPem(Buffer.from(file('key.pub')).toString()),
    trustedRoot: own ? file('trusted_root.json') : publicGood,
    artifact: new Uint8Array(readFileSync(join(vectors, 'a.txt'))),
  };
}

describe.skipIf(!existsSync(vectors))(
  'managed-key bundles of sigstore-conformance (skipped where absent)',
  () => {
    test('are accepted with their key, of two logs', () => {
      expect(verifyBundleWithKey(load('managed-key-happy-path')).logIndex).toBe(771488337);
      expect(verifyBundleWithKey(load('managed-key-and-trusted-root')).logIndex).toBe(51753644);
    });

    test('are refused with another key, and with what is no key', () => {
      const honest = load('managed-key-happy-path');
      verifyBundleWithKey(honest);
      expect(() => verifyBundleWithKey({ ...honest, publicKey: rekor })).toThrow(
        expect.objectContaining({ code: 'SIGNATURE_INVALID' }),
      );
      expect(() => verifyBundleWithKey(load('managed-key-wrong-key_fail'))).toThrow(
        expect.objectContaining({ code: 'SIGNATURE_KEY_UNSUITABLE' }),
      );
    });

    test('are refused for another artifact', () => {
      const honest = load('managed-key-happy-path');
      verifyBundleWithKey(honest);
      const artifact = Uint8Array.of(...honest.artifact, 10);
      const code = 'SIGNATURE_SUBJECT_MISMATCH';
      expect(() => verifyBundleWithKey({ ...honest, artifact })).toThrow(expect.objectContaining({ code }));
    });

    test('are refused where the trusted root names another log', () => {
      const honest = load('managed-key-and-trusted-root');
      verifyBundleWithKey(honest);
      const code = 'BUNDLE_LOG_UNTRUSTED';
      expect(() => verifyBundleWithKey({ ...honest, trustedRoot: publicGood })).toThrow(
        expect.objectContaining({ code }),
      );
    });

    test('are refused with a log entry of another signature', () => {
      const honest = load('managed-key-happy-path');
      const other = JSON.parse(Buffer.from(load('managed-key-and-trusted-root').bundle).toString());
      const swapped = JSON.parse(Buffer.from(honest.bundle).toString());
      swapped.messageSignature = other.messageSignature;
      verifyBundleWithKey(honest);
      const bundle = new Uint8Array(Buffer.from(JSON.stringify(swapped)));
      expect(() => verifyBundleWithKey({ ...honest, bundle })).toThrow(
        expect.objectContaining({ code: 'SIGNATURE_LOG_LEAF' }),
      );
    });

    test('are refused where time, place, proof or checkpoint were changed', () => {
      const honest = load('managed-key-happy-path');
      verifyBundleWithKey(honest);
      const changes: [string, string, string][] = [
        ['"integratedTime":"1766077479"', '"integratedTime":"1766077478"', 'LOG_SET_INVALID'],
        ['"logIndex":"649584075"', '"logIndex":"649584074"', 'LOG_PROOF_MISMATCH'],
        ['"treeSize":"649584076"', '"treeSize":"649584077"', 'LOG_HEAD_MISMATCH'],
        ['"ysxPntoDCEDAQGR1', '"ysxPntoDCEDAQGR2', 'LOG_PROOF_MISMATCH'],
        ['— rekor.sigstore.dev wNI9', '— rekor.sigstore.dev wNI8', 'LOG_CHECKPOINT_SIGNATURE'],
        ['"logIndex":"771488337"', '"logIndex":"-1"', 'BUNDLE_SHAPE'],
        ['bundle.v0.3+json', 'bundle.v0.2+json', 'BUNDLE_MEDIA_TYPE'],
        ['{"mediaType"', '{"mediaType":"","mediaType"', 'JSON_DUPLICATE_KEY'],
      ];
      const text = Buffer.from(honest.bundle).toString();
      for (const [from, to, code] of changes) {
        expect(text).toContain(from);
        const bundle = new Uint8Array(Buffer.from(text.replace(from, to)));
        expect(() => verifyBundleWithKey({ ...honest, bundle }), to).toThrow(
          expect.objectContaining({ code }),
        );
      }
    });
  },
);

describe('a bundle of this project’s own', () => {
  const server = new TestServer();
  const key = testKey();
  afterAll(() => server.close());
  const trusts = (log: TestServer) =>
    makeTrustedRoot([{ publicKey: log.logKey.spki, origin: log.origin, validFrom: new Date(0) }]);
  const judged = async (
    trustedRoot: Uint8Array,
    artifact: Uint8Array | typeof manifestDigest = manifestDigest,
  ) => {
    const { bundle } = await build(server, key);
    return verifyBundleWithKey({ bundle, publicKey: key.spki, trustedRoot, artifact });
  };

  test('is accepted with its key and log, and refused by what trusts another log, or is no trusted root', async () => {
    expect((await judged(trusts(server))).logIndex).toBeGreaterThanOrEqual(0);
    const other = new TestServer();
    await expect(judged(trusts(other))).rejects.toMatchObject({ code: 'BUNDLE_LOG_UNTRUSTED' });
    await other.close();
    for (const nonsense of ['{}', '{"tlogs":[{}]}', '{"tlogs":{}}']) {
      await expect(judged(utf8(nonsense))).rejects.toMatchObject({ code: 'BUNDLE_TRUSTED_ROOT' });
    }
  });

  test('is refused with a signature of another bundle in any of its places, for the first that does not hold', async () => {
    const trustedRoot = trusts(server);
    const [bundle, other] = [await build(server, key), await build(server, key)].map((made) => made.bundle);
    const code = (changed: Uint8Array) => {
      try {
        verifyBundleWithKey({ bundle: changed, publicKey: key.spki, trustedRoot, artifact: manifestDigest });
        return undefined;
      } catch (error) {
        return (error as { code?: string }).code;
      }
    };
    const read = (bytes: Uint8Array | undefined) => JSON.parse(Buffer.from(bytes ?? []).toString());
    const [own, foreign] = [read(bundle), read(other)];
    const note = (of: typeof own): string =>
      of.verificationMaterial.tlogEntries[0].inclusionProof.checkpoint.envelope;
    const changes: [string, (of: typeof own) => void][] = [
      [
        'SIGNATURE_INVALID',
        (of) => Object.assign(of.dsseEnvelope, { signatures: foreign.dsseEnvelope.signatures }),
      ],
      [
        'LOG_SET_INVALID',
        (of) => {
          const [entry] = of.verificationMaterial.tlogEntries;
          entry.inclusionPromise = foreign.verificationMaterial.tlogEntries[0].inclusionPromise;
        },
      ],
      [
        'LOG_CHECKPOINT_SIGNATURE',
        (of) => {
          const [entry] = of.verificationMaterial.tlogEntries;
          const [text] = note(own).split('— ');
          entry.inclusionProof.checkpoint.envelope = `${text}— ${note(foreign).split('— ')[1]}`;
        },
      ],
    ];
    for (const [refusal, change] of changes) {
      const changed = structuredClone(own);
      expect(code(canonicalBytes(changed))).toBeUndefined();
      change(changed);
      expect(code(canonicalBytes(changed)), refusal).toBe(refusal);
      // In another order of keys the text is read in another way.
      expect(code(utf8(JSON.stringify({ dsseEnvelope: 1, ...changed }))), refusal).toBe(refusal);
    }
  });

  test('is of a subject whose digest is a text, whatever stands beside it', async () => {
    const trustedRoot = trusts(server);
    const of = (digest: string) => ({
      payload: (text: string) =>
        text.replace(/"subject":\[.*?\]/, `"subject":[{"digest":{"sha256":${digest}}}]`),
    });
    const judgedOf = async (digest: string) => {
      const { bundle } = await build(server, key, of(digest));
      return verifyBundleWithKey({ bundle, publicKey: key.spki, trustedRoot, artifact: manifestDigest });
    };
    await judgedOf(`"${manifestDigest.slice(7)}"`);
    for (const digest of ['{}', '{"toString":1}', '[]', 'null', '7', `["${manifestDigest.slice(7)}"]`]) {
      await expect(judgedOf(digest)).rejects.toMatchObject({ code: 'SIGNATURE_SUBJECT_MISMATCH' });
    }
  });

  test('is refused by a root whose key was not valid when it was logged, in the array of one that was', async () => {
    const { bundle } = await build(server, key);
    const trustedRoot = utf8(
      Buffer.from(trusts(server)).toString().replace('"start"', '"end":"2100-01-01T00:00:00Z","start"'),
    );
    const input = { bundle, publicKey: key.spki, trustedRoot, artifact: manifestDigest };
    verifyBundleWithKey(input);
    trustedRoot.set(utf8(Buffer.from(trustedRoot).toString().replace('2100-', '2001-')));
    expect(() => verifyBundleWithKey(input)).toThrow(
      expect.objectContaining({ code: 'BUNDLE_LOG_UNTRUSTED' }),
    );
    trustedRoot.set(utf8(Buffer.from(trustedRoot).toString().replace('2001-', '2100-')));
    verifyBundleWithKey(input);
  });
});

describe('claims that a builder wants signed', () => {
  test('are taken as they should be, and refused with a field more, less, or an index that names itself', () => {
    const { subject, image, fileManifest } = claimsOf();
    expect(parseClaims(JSON.parse(JSON.stringify(claimsOf())))).toEqual(claimsOf());
    const one = { digest: digestOf(utf8('an image')), os: 'linux', architecture: 'amd64' };
    const index = (digest: string) => ({ subject, fileManifest, image: { index: [{ ...one, digest }] } });
    expect(parseClaims(index(one.digest))).toBeDefined();
    for (const bad of [
      { subject, image },
      { subject, image, fileManifest, tier: 'A' },
      { subject: { ...subject, digest: 'sha256:AB' }, image, fileManifest },
      index(subject.digest),
      'claims',
    ]) {
      expect(() => parseClaims(bad)).toThrow(expect.objectContaining({ code: 'BUILD_CLAIMS' }));
    }
  });
});
