import { generateKeyPairSync } from 'node:crypto';
import { type Digest, digestOf, KallioError, utf8 } from '@kallio/codec';
import {
  type Descriptor,
  type FoundManifest,
  fileManifest,
  fileManifestDigest,
  type ImageTarget,
  indexClaims,
  MEDIA,
  publishReferrer,
  walkImage,
} from '@kallio/oci';
import { COSIGNATURE_KEY, cosign, formatTlogProof, formatVerifierKey, parseNote } from '@kallio/tlog';
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  bundleArtifact,
  type Claims,
  type ImagePolicy,
  parseImagePolicy,
  proofArtifact,
  type SignedSource,
  verifyEveryImage,
  verifyImage,
} from '../src/index.ts';
import { type Build, build, TestServer, testKey } from './support/honest.ts';
import { testImage } from './support/image.ts';

/** A repository that believes everything it is given, as registries do. */
class Memory implements SignedSource, ImageTarget {
  readonly manifests = new Map<string, FoundManifest>();
  readonly blobs = new Map<string, Uint8Array>();
  readonly attached = new Map<string, Descriptor[]>();

  async manifest(reference: string): Promise<FoundManifest> {
    const found = this.manifests.get(reference);
    if (found === undefined) throw new Error(`no ${reference}`);
    return found;
  }
  async blob({ digest }: Descriptor): Promise<Uint8Array> {
    return this.blobs.get(digest) ?? new Uint8Array();
  }
  async content(digest: Digest): Promise<Uint8Array | undefined> {
    return this.blobs.get(digest);
  }
  async stream({ digest }: Descriptor): Promise<AsyncIterable<Uint8Array>> {
    const bytes = this.blobs.get(digest) ?? new Uint8Array();
    return (async function* () {
      yield bytes;
    })();
  }
  /** Whose referrers were asked for. */
  asked: Digest[] = [];
  async referrers(subject: Digest, ...types: readonly string[]): Promise<readonly Descriptor[]> {
    this.asked.push(subject);
    const listed = this.attached.get(subject) ?? [];
    return types.flatMap((type) => listed.filter(({ artifactType }) => artifactType === type));
  }
  async pushBlob(bytes: Uint8Array): Promise<Descriptor> {
    const digest = digestOf(bytes);
    this.blobs.set(digest, bytes);
    return { mediaType: 'application/octet-stream', digest, size: bytes.length };
  }
  async pushStream(): Promise<void> {
    throw new Error('not here');
  }
  async pushManifest(bytes: Uint8Array, mediaType: string, tag?: string): Promise<Digest> {
    const found = { bytes, digest: digestOf(bytes), mediaType };
    this.manifests.set(found.digest, found);
    if (tag !== undefined) this.manifests.set(tag, found);
    return found.digest;
  }
  async settle(): Promise<void> {}
  async pushReferrer(manifest: Uint8Array, subject: Digest, listing: Omit<Descriptor, 'digest' | 'size'>) {
    const digest = await this.pushManifest(manifest, MEDIA.manifest);
    const entry = { ...listing, digest, size: manifest.length };
    this.attached.set(subject, [...(this.attached.get(subject) ?? []), entry]);
    return digest;
  }
}

const server = new TestServer();
const key = testKey();
afterAll(() => server.close());

let memory: Memory;
beforeEach(() => {
  memory = new Memory();
});

const policy: ImagePolicy = { ...server.policy(), platform: 'linux/amd64' };
const judge = (changes: Partial<ImagePolicy> = {}, options: Parameters<typeof verifyImage>[4] = {}) =>
  verifyImage('latest', memory, parseImagePolicy({ ...policy, ...changes }), new Date(), options);

async function attach(subject: FoundManifest, claims: Claims): Promise<Build> {
  const made = await build(server, key, { claims });
  await publishReferrer(memory, subject, bundleArtifact(made.bundle));
  return made;
}

/** An image, signed unless it is said otherwise. */
async function image(greeting: string, sign = true): Promise<FoundManifest> {
  const { layer, config, manifest, digest } = testImage(greeting);
  await memory.pushBlob(layer);
  await memory.pushBlob(config);
  await memory.pushManifest(manifest, MEDIA.manifest);
  const found = await memory.manifest(digest);
  if (!sign) return found;
  const contents = await walkImage(memory, digest, { os: 'linux', architecture: 'amd64' });
  const files = await fileManifest(memory, contents);
  const name = 'registry.example/greeting';
  await attach(found, {
    subject: { name, digest },
    image: contents.claims,
    fileManifest: { digest: fileManifestDigest(files), files: files.files.length },
  });
  return found;
}

const AMD64 = { os: 'linux', architecture: 'amd64' };
const ARM64 = { os: 'linux', architecture: 'arm64' };

/** An index over these images, under the tag. */
async function indexOver(
  ...children: (readonly [FoundManifest, typeof AMD64 | undefined])[]
): Promise<FoundManifest> {
  const manifests = children.map(([{ bytes, digest, mediaType }, platform]) => ({
    mediaType,
    digest,
    size: bytes.length,
    platform,
  }));
  const bytes = utf8(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests }));
  await memory.pushManifest(bytes, MEDIA.index, 'latest');
  return memory.manifest('latest');
}

/** What a builder claims of an index. */
function claimsOf(index: FoundManifest, of: FoundManifest = index): Claims {
  return {
    subject: { name: 'registry.example/greeting', digest: index.digest },
    image: indexClaims(of.bytes, of.mediaType),
    fileManifest: { digest: fileManifestDigest({ version: 'kallio-file-manifest-v1', files: [] }), files: 0 },
  };
}

describe('an image index', () => {
  test('is accepted with its signature and that of the image that is taken from it', async () => {
    const index = await indexOver([await image('one'), AMD64], [await image('two', false), ARM64]);
    await attach(index, claimsOf(index));
    memory.asked = [];
    const verdict = await judge();
    // Once each: what a list says later can't differ from what was judged.
    expect(memory.asked).toEqual([index.digest, verdict.ok ? verdict.claims.subject.digest : '']);
    expect(verdict.refusal).toBeUndefined();
    expect(verdict.steps.map(({ step }) => step)).toEqual(expect.arrayContaining(['index', 'image-config']));
  });

  test('that is named by its digest is listed while it is walked, and judged alike', async () => {
    const one = await image('one');
    const index = await indexOver([one, AMD64]);
    await attach(index, claimsOf(index));
    const byTag = await judge();
    for (const subject of [index, one]) {
      memory.asked = [];
      const listing = vi.spyOn(memory, 'referrers');
      // Who waits for the manifest before asking what is attached waits for ever here.
      const manifest = vi.spyOn(memory, 'manifest').mockImplementation(async (reference) => {
        await vi.waitFor(() => expect(memory.asked).toContain(subject.digest));
        return memory.manifests.get(reference) ?? expect.fail(reference);
      });
      const verdict = await verifyImage(subject.digest, memory, parseImagePolicy(policy), new Date());
      expect(verdict.ok).toBe(true);
      expect(listing).toHaveBeenCalledTimes(subject === index ? 2 : 1);
      if (subject === index) expect(verdict.steps).toEqual(byTag.steps);
      manifest.mockRestore();
      listing.mockRestore();
    }
  });

  test('whose list can’t be had is refused for that, and for what is wrong with itself before', async () => {
    const one = await image('one');
    const failing = vi.spyOn(memory, 'referrers').mockImplementation(async () => {
      throw new KallioError('OCI_REFERRERS', 'There is no list.');
    });
    const verify = () => verifyImage(one.digest, memory, parseImagePolicy(policy), new Date());
    expect((await verify()).refusal?.code).toBe('OCI_REFERRERS');
    memory.manifests.set(one.digest, { ...one, mediaType: 'text/plain' });
    expect((await verify()).refusal?.code).toBe('OCI_MEDIA_TYPE');
    failing.mockRestore();
    memory.manifests.set(one.digest, one);
    expect((await verify()).ok).toBe(true);
  });

  test('that nobody signed is refused, though every image in it is signed', async () => {
    await indexOver([await image('one'), AMD64]);
    expect((await judge()).refusal?.code).toBe('IMAGE_UNSIGNED');
  });

  test('with a bundle that was kept: it is of the image that is taken, the index’s own is looked for', async () => {
    const one = await image('one', false);
    const index = await indexOver([one, AMD64]);
    const contents = await walkImage(memory, one.digest, AMD64);
    const files = await fileManifest(memory, contents);
    const { bundle } = await build(server, key, {
      claims: {
        subject: { name: 'registry.example/greeting', digest: one.digest },
        image: contents.claims,
        fileManifest: { digest: fileManifestDigest(files), files: files.files.length },
      },
    });
    expect((await judge({}, { bundle })).refusal?.code).toBe('IMAGE_UNSIGNED');
    const { bundle: ofIndex } = await attach(index, claimsOf(index));
    expect((await judge()).refusal?.code).toBe('IMAGE_UNSIGNED');
    expect((await judge({}, { bundle })).ok).toBe(true);
    expect((await judge({}, { bundle: ofIndex })).refusal?.code).toBe('SIGNATURE_SUBJECT_MISMATCH');
  });

  test('that names an image which is not in the signed index is refused', async () => {
    const one = await image('one');
    const signed = await indexOver([one, AMD64]);
    await attach(signed, claimsOf(signed));
    expect((await judge()).ok).toBe(true);
    // The tag leads to another index, with another image of the same builder; the old signature is attached to it.
    const other = await indexOver([await image('older, with a hole'), AMD64]);
    for (const listing of memory.attached.get(signed.digest) ?? []) {
      const { bytes } = await memory.manifest(listing.digest);
      const moved = utf8(Buffer.from(bytes).toString('utf8').replace(signed.digest, other.digest));
      await memory.pushReferrer(moved, other.digest, listing);
    }
    expect((await judge()).refusal?.code).toBe('SIGNATURE_SUBJECT_MISMATCH');
    // Signed for this index, but of the images of the other.
    memory.attached.delete(other.digest);
    await attach(other, claimsOf(other, signed));
    expect((await judge()).refusal?.code).toBe('SIGNATURE_IMAGE_CONFIG');
  });

  test('whose image is not signed, or is of another platform than it says, is refused', async () => {
    const unsigned = await indexOver([await image('one', false), AMD64]);
    await attach(unsigned, claimsOf(unsigned));
    expect((await judge()).refusal?.code).toBe('IMAGE_UNSIGNED');
    const confused = await indexOver([await image('two'), ARM64]);
    await attach(confused, claimsOf(confused));
    expect((await judge({ platform: 'linux/arm64' })).refusal?.code).toBe('OCI_PLATFORM');
    const honest = await indexOver([await image('two'), AMD64]);
    await attach(honest, claimsOf(honest));
    expect((await judge()).ok).toBe(true);
  });

  test('is passed on only if every image in it is verified, also one that no platform takes', async () => {
    const passed = async (index: FoundManifest) =>
      verifyEveryImage(index, memory, parseImagePolicy(server.policy()), new Date());
    const one = await image('one');
    const hidden = await image('nobody looks at this one', false);
    const honest = await indexOver([one, AMD64]);
    await attach(honest, claimsOf(honest));
    expect(await passed(honest)).toMatchObject([{ ok: true }]);
    // Attack: an image rides along, with no platform by which anybody would take and judge it.
    const ridden = await indexOver([one, AMD64], [hidden, undefined]);
    await attach(ridden, claimsOf(ridden, honest));
    expect(await passed(ridden)).toMatchObject({ image: one.digest, refusal: { code: 'OCI_PLATFORM' } });
    // The same beside an image of another platform: this machine takes its own, and never looks at that one.
    const beside = await indexOver([one, AMD64], [hidden, ARM64]);
    await attach(beside, claimsOf(beside));
    expect((await judge()).ok).toBe(true);
    expect(await passed(beside)).toMatchObject({ image: hidden.digest, refusal: { code: 'OCI_PLATFORM' } });
    // An image by itself is judged as it always is, for the platform of the policy.
    expect(await passed(one)).toMatchObject(
      process.arch === 'x64' ? [{ ok: true }] : { refusal: { code: 'OCI_PLATFORM' } },
    );
  });

  test('with what BuildKit attests is accepted, and passed on only if that is nothing that runs', async () => {
    const one = await image('one');
    const empty = await memory.pushBlob(utf8('{}'));
    /** What says that it only attests, and holds a layer of this type. */
    const attesting = async (layerType: string): Promise<FoundManifest> => {
      const bytes = utf8(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: MEDIA.manifest,
          config: { ...empty, mediaType: MEDIA.empty },
          layers: [{ ...empty, mediaType: layerType }],
        }),
      );
      return memory.manifest(await memory.pushManifest(bytes, MEDIA.manifest));
    };
    const over = async (attestation: FoundManifest): Promise<FoundManifest> => {
      const entry = ({ digest, bytes }: FoundManifest) => ({
        mediaType: MEDIA.manifest,
        digest,
        size: bytes.length,
      });
      const about = {
        platform: { os: 'unknown', architecture: 'unknown' },
        annotations: {
          'vnd.docker.reference.type': 'attestation-manifest',
          'vnd.docker.reference.digest': one.digest,
        },
      };
      const manifests = [
        { ...entry(one), platform: AMD64 },
        { ...entry(attestation), ...about },
      ];
      const bytes = utf8(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests }));
      await memory.pushManifest(bytes, MEDIA.index, 'latest');
      return memory.manifest('latest');
    };
    const passed = async (index: FoundManifest) =>
      verifyEveryImage(index, memory, parseImagePolicy(server.policy()), new Date());
    const honest = await over(await attesting('application/vnd.in-toto+json'));
    await attach(honest, claimsOf(honest));
    const verdict = await judge();
    expect(verdict.refusal).toBeUndefined();
    expect(verdict.steps.find(({ step }) => step === 'index')?.ok).toBe(true);
    expect(await passed(honest)).toMatchObject([{ ok: true }]);
    // Attack: it is an image, and nobody has signed it.
    const ridden = await over(await attesting(`${MEDIA.layer}+gzip`));
    await attach(ridden, claimsOf(ridden));
    expect(await passed(ridden)).toMatchObject({ ok: false, refusal: { code: 'OCI_MANIFEST' } });
    // Attack: what it names was changed after the index was signed.
    const other = await over(await attesting('application/vnd.in-toto+json; other'));
    await attach(other, claimsOf(other, honest));
    expect((await judge()).refusal?.code).toBe('SIGNATURE_IMAGE_CONFIG');
  });

  test('of no image is not passed on, as there is nothing in it that was accepted', async () => {
    const bytes = utf8(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests: [] }));
    await memory.pushManifest(bytes, MEDIA.index, 'latest');
    const passed = await verifyEveryImage(
      await memory.manifest('latest'),
      memory,
      parseImagePolicy(server.policy()),
      new Date(),
    );
    expect(passed).toMatchObject({ ok: false, refusal: { code: 'OCI_MANIFEST' } });
  });

  test('is judged by the rules that can be of an index, its image by all', async () => {
    const one = await image('one');
    const index = await indexOver([one, AMD64]);
    await attach(index, claimsOf(index));
    const require = {
      nonRoot: true as const,
      fileManifest: true as const,
      names: ['registry.example/greeting'],
    };
    expect((await judge({ require })).refusal).toBeUndefined();
    expect((await judge({ require: { names: ['elsewhere'] } })).refusal?.code).toBe('CLAIM_NAME');
    expect((await judge({ require: { labels: { any: [] } } })).refusal?.code).toBe('CLAIM_LABEL');
    const revoked = (digest: string) => [{ image: digest, reason: 'a hole' }];
    expect((await judge({ revoked: revoked(index.digest) })).refusal?.code).toBe('REVOKED_IMAGE');
    expect((await judge({ revoked: revoked(one.digest) })).refusal?.code).toBe('REVOKED_IMAGE');
    expect((await judge({ revoked: revoked(digestOf(utf8('another'))) })).ok).toBe(true);
  });

  test('wants witnessed proofs of both signatures, where the policy names witnesses', async () => {
    const log = await server.log();
    const pair = generateKeyPairSync('ed25519');
    const raw = new Uint8Array(pair.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32));
    const name = 'w.example/1';
    const changes: Partial<ImagePolicy> = {
      logs: policy.logs.map((one) => ({ ...one, verifierKey: log.verifierKey })),
      witnesses: { quorum: 1, keys: [formatVerifierKey(name, COSIGNATURE_KEY, raw)] },
    };
    const witnessed = async (subject: FoundManifest, index: number) => {
      const note = log.checkpoint('c2sp');
      const line = cosign(parseNote(note).text, { name, raw, key: pair.privateKey }, 1_800_000_000);
      const proof = { index, hashes: log.inclusion(index, log.head.size), checkpoint: note + line };
      await publishReferrer(memory, subject, proofArtifact(formatTlogProof(proof)));
    };
    const one = await image('witnessed');
    const before = log.head.size - 1;
    const index = await indexOver([one, AMD64]);
    const { entry } = await attach(index, claimsOf(index));
    expect((await judge(changes)).refusal?.code).toBe('WITNESS_PROOF_MISSING');
    await witnessed(index, entry.logIndex);
    const half = await judge(changes);
    expect(half.refusal?.code).toBe('WITNESS_PROOF_MISSING');
    expect(half.steps.some(({ step, ok }) => step === 'index' && ok)).toBe(true);
    await witnessed(one, before);
    expect((await judge(changes)).refusal).toBeUndefined();
  });

  test('is judged by a proof that was kept, with the bundle that it is of', async () => {
    const log = await server.log();
    const pair = generateKeyPairSync('ed25519');
    const raw = new Uint8Array(pair.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32));
    const name = 'w.example/1';
    const changes: Partial<ImagePolicy> = {
      logs: policy.logs.map((one) => ({ ...one, verifierKey: log.verifierKey })),
      witnesses: { quorum: 1, keys: [formatVerifierKey(name, COSIGNATURE_KEY, raw)] },
    };
    // Of two leaves that are siblings: the proof of one is as long as that of the other.
    if (log.head.size % 2 === 1) await image('one before');
    const one = await image('kept proof');
    await memory.pushManifest(one.bytes, one.mediaType, 'latest');
    const own = log.head.size - 1;
    await image('a later one');
    const proofAt = (index: number) => {
      const note = log.checkpoint('c2sp');
      const line = cosign(parseNote(note).text, { name, raw, key: pair.privateKey }, 1_800_000_000);
      return utf8(
        formatTlogProof({ index, hashes: log.inclusion(index, log.head.size), checkpoint: note + line }),
      );
    };
    expect((await judge(changes)).refusal?.code).toBe('WITNESS_PROOF_MISSING');
    expect((await judge(changes, { proof: proofAt(own) })).refusal).toBeUndefined();
    expect((await judge(changes, { proof: proofAt(own + 1) })).refusal?.code).toBe('LOG_PROOF_MISMATCH');
    expect((await judge(changes, { proof: utf8('junk') })).refusal?.code).toBe('LOG_PROOF_MALFORMED');
  });
});

test('an image without raw evidence is refused where that is asked for, and only there', async () => {
  const one = await image('no evidence');
  await memory.pushManifest(one.bytes, one.mediaType, 'latest');
  expect((await judge()).ok).toBe(true);
  expect((await judge({}, { evidence: true })).refusal?.code).toBe('BUILD_EVIDENCE_MISSING');
});
