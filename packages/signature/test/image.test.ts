import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Digest, digestOf, KallioError, utf8 } from '@kallio/codec';
import {
  FILE_MANIFEST_TYPE,
  fileManifest,
  fileManifestBytes,
  fileManifestDigest,
  MEDIA,
  openLayout,
  publishReferrer,
  Repository,
  walkImage,
} from '@kallio/oci';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  BUNDLE_MEDIA_TYPE,
  bundleArtifact,
  type ImagePolicy,
  layoutSource,
  type SignedSource,
  verifyImage,
} from '../src/index.ts';
import { build, TestServer, testKey } from './support/honest.ts';
import { platform, type TestImage, testImage } from './support/image.ts';
import { hasRegistry, TestRegistry } from './support/registry.ts';

describe.skipIf(!hasRegistry)('images in a registry (skipped where docker-registry is not installed)', () => {
  const server = new TestServer();
  const key = testKey();
  const policy: ImagePolicy = { ...server.policy(), platform };
  const directory = mkdtempSync(join(tmpdir(), 'kallio-image-'));
  let registry: TestRegistry;
  beforeAll(async () => {
    registry = await TestRegistry.start();
  });
  afterAll(async () => {
    await registry.stop();
    await server.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const repository = (name: string) => new Repository({ registry: registry.host, repository: name });

  async function push(target: Repository, image: TestImage) {
    await target.pushBlob(image.layer);
    await target.pushBlob(image.config);
    await target.pushManifest(image.manifest, MEDIA.manifest, 'latest');
    return target.manifest('latest');
  }

  /** Claims as a builder computes them, from the image itself. */
  async function claimsFor(source: SignedSource, image: TestImage) {
    const contents = await walkImage(source, image.digest, { os: 'linux', architecture: 'amd64' });
    const files = await fileManifest(source, contents);
    return {
      files,
      claims: {
        subject: { name: 'registry.example/greeting', digest: image.digest },
        image: contents.claims,
        fileManifest: { digest: fileManifestDigest(files), files: files.files.length },
      },
    };
  }

  async function signed(name: string, greeting = name) {
    const target = repository(name);
    const image = testImage(greeting);
    const subject = await push(target, image);
    const { claims, files } = await claimsFor(target, image);
    const { bundle } = await build(server, key, { claims });
    return { target, image, subject, claims, files, bundle };
  }

  const judge = (source: SignedSource, reference = 'latest') =>
    verifyImage(reference, source, policy, new Date());

  test('that are signed are accepted by tag and by digest, with the files they hold', async () => {
    const { target, image, subject, bundle, files } = await signed('signed');
    expect((await judge(target)).refusal?.code).toBe('IMAGE_UNSIGNED');
    await publishReferrer(target, subject, bundleArtifact(bundle));
    for (const reference of ['latest', image.digest]) {
      const verdict = await judge(target, reference);
      expect(verdict.refusal).toBeUndefined();
      expect(verdict).toMatchObject({
        ok: true,
        claims: { subject: { digest: image.digest } },
        fileManifest: files,
      });
      expect(verdict.steps.map(({ step }) => step)).toEqual(
        expect.arrayContaining(['image', 'bundle', 'policy', 'file-manifest']),
      );
      expect(verdict.steps.every(({ ok }) => ok)).toBe(true);
    }
    await publishReferrer(target, subject, { type: FILE_MANIFEST_TYPE, bytes: fileManifestBytes(files) });
    expect(await judge(target)).toMatchObject({ ok: true, fileManifest: files });
  });

  test('are refused when they were built outside a session: nothing is attached', async () => {
    const target = repository('unsigned');
    await push(target, testImage('built at home'));
    const verdict = await judge(target);
    expect(verdict).toMatchObject({ ok: false, refusal: { code: 'IMAGE_UNSIGNED' } });
    expect(verdict.steps.map(({ step }) => step)).toEqual(['image']);
  });

  test('are refused with the signature of another image', async () => {
    const honest = await signed('honest');
    await publishReferrer(honest.target, honest.subject, bundleArtifact(honest.bundle));
    expect((await judge(honest.target)).ok).toBe(true);
    const target = repository('moved');
    const subject = await push(target, testImage('malicious'));
    await publishReferrer(target, subject, bundleArtifact(honest.bundle));
    expect((await judge(target)).refusal?.code).toBe('SIGNATURE_SUBJECT_MISMATCH');
  });

  test('are refused when the fallback tag lists a referrer of another image', async () => {
    const honest = await signed('listed');
    await publishReferrer(honest.target, honest.subject, bundleArtifact(honest.bundle));
    const [listing] = await honest.target.referrers(honest.image.digest, BUNDLE_MEDIA_TYPE);
    const other = testImage('other');
    await push(honest.target, other);
    const index = { schemaVersion: 2, mediaType: MEDIA.index, manifests: [listing] };
    await honest.target.pushManifest(
      utf8(JSON.stringify(index)),
      MEDIA.index,
      other.digest.replace(':', '-'),
    );
    expect((await judge(honest.target, honest.image.digest)).ok).toBe(true);
    expect((await judge(honest.target, other.digest)).refusal?.code).toBe('IMAGE_UNSIGNED');
  });

  test('are unsigned where what is attached has no blob, or two, of which readers take another', async () => {
    const { target, subject, bundle } = await signed('blobs');
    await target.pushBlob(bundle);
    const empty = utf8('{}');
    await target.pushBlob(empty);
    const layer = { mediaType: BUNDLE_MEDIA_TYPE, digest: digestOf(bundle), size: bundle.length };
    const attach = (layers: unknown[]) => {
      const manifest = utf8(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: MEDIA.manifest,
          artifactType: BUNDLE_MEDIA_TYPE,
          config: { mediaType: MEDIA.empty, digest: digestOf(empty), size: 2 },
          layers,
          subject: { mediaType: MEDIA.manifest, digest: subject.digest, size: subject.bytes.length },
        }),
      );
      const listing = { mediaType: MEDIA.manifest, artifactType: BUNDLE_MEDIA_TYPE };
      return target.pushReferrer(manifest, subject.digest, listing);
    };
    for (const layers of [[], [layer, layer], [{ ...layer, mediaType: 'text/plain' }]]) {
      await attach(layers);
      expect((await judge(target)).refusal?.code).toBe('IMAGE_UNSIGNED');
    }
    await attach([layer]);
    expect((await judge(target)).ok).toBe(true);
  });

  test('are found signed among what others attach, and refused when there is nothing else', async () => {
    const { target, subject, image, bundle } = await signed('crowded');
    const junk = await Promise.all(
      Array.from({ length: 70 }, async (_, i) => {
        const bytes = utf8(JSON.stringify({ junk: i }));
        await target.pushBlob(bytes);
        const manifest = utf8(
          JSON.stringify({
            schemaVersion: 2,
            mediaType: MEDIA.manifest,
            artifactType: BUNDLE_MEDIA_TYPE,
            config: { mediaType: MEDIA.empty, digest: digestOf(bytes), size: bytes.length },
            layers: [{ mediaType: BUNDLE_MEDIA_TYPE, digest: digestOf(bytes), size: bytes.length }],
            subject: { mediaType: MEDIA.manifest, digest: image.digest, size: image.manifest.length },
          }),
        );
        const digest = await target.pushManifest(manifest, MEDIA.manifest);
        return { mediaType: MEDIA.manifest, artifactType: BUNDLE_MEDIA_TYPE, digest, size: manifest.length };
      }),
    );
    const list = (manifests: unknown[]) =>
      target.pushManifest(
        utf8(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests })),
        MEDIA.index,
        image.digest.replace(':', '-'),
      );
    await list(junk.slice(0, 5));
    expect((await judge(target)).refusal?.code).toBe('BUNDLE_MEDIA_TYPE');
    await list(junk);
    expect((await judge(target)).refusal?.code).toBe('IMAGE_TOO_MANY_SIGNATURES');
    await publishReferrer(target, subject, bundleArtifact(bundle));
    expect((await judge(target)).ok).toBe(true);
  });

  test('are refused when their layers hold other files than were signed', async () => {
    const honest = await signed('files');
    await publishReferrer(honest.target, honest.subject, bundleArtifact(honest.bundle));
    expect((await judge(honest.target)).ok).toBe(true);
    const { target, subject, claims } = await signed('other-files');
    const lie = { ...claims, fileManifest: { digest: digestOf(utf8('other files')), files: 1 } };
    const lied = await build(server, key, { claims: lie });
    await publishReferrer(target, subject, bundleArtifact(lied.bundle));
    const verdict = await judge(target);
    expect(verdict.refusal?.code).toBe('IMAGE_FILE_MANIFEST');
    expect(verdict.steps.at(-1)).toMatchObject({ step: 'file-manifest', ok: false });
  });

  test('are refused when the signature says another number of files than its file manifest lists', async () => {
    const { target, subject, claims, files } = await signed('counted');
    const said = async (count: number) => {
      const fileManifest = { ...claims.fileManifest, files: count };
      const { bundle } = await build(server, key, { claims: { ...claims, fileManifest } });
      await target.pushManifest(
        utf8(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests: [] })),
        MEDIA.index,
        subject.digest.replace(':', '-'),
      );
      await publishReferrer(target, subject, bundleArtifact(bundle));
      return (await judge(target)).refusal;
    };
    const refused = { code: 'IMAGE_FILE_MANIFEST', pointer: '/predicate/fileManifest/files' };
    expect(await said(412)).toMatchObject(refused);
    expect(await said(files.files.length)).toBeUndefined();
    // The same where the list lies there and the layers are not looked at.
    await target.pushBlob(fileManifestBytes(files));
    expect(await said(0)).toMatchObject(refused);
    expect(await said(files.files.length)).toBeUndefined();
  });

  test('are refused with a bundle that is too large, before it is fetched', async () => {
    const { target, subject, bundle } = await signed('huge-bundle');
    const huge = Buffer.concat([bundle, Buffer.alloc(2 * 1024 * 1024, ' ')]);
    await publishReferrer(target, subject, bundleArtifact(huge));
    expect((await judge(target)).refusal?.code).toBe('OCI_TOO_LARGE');
    await publishReferrer(target, subject, bundleArtifact(bundle));
    expect((await judge(target)).ok).toBe(true);
  });

  test('are judged by a bundle that was kept, as by the one that is attached', async () => {
    const { target, subject, bundle } = await signed('cached');
    const kept = (cached: Uint8Array) =>
      verifyImage('latest', target, policy, new Date(), { bundle: cached });
    expect((await judge(target)).refusal?.code).toBe('IMAGE_UNSIGNED');
    const asked = vi.spyOn(target, 'referrers');
    const verdict = await kept(bundle);
    expect(verdict.ok).toBe(true);
    // Nothing is asked of what others may have attached.
    expect(asked).not.toHaveBeenCalled();
    asked.mockRestore();
    await publishReferrer(target, subject, bundleArtifact(bundle));
    expect((await judge(target)).steps).toEqual(verdict.steps);
    // A kept bundle is believed no more than one that is attached, and none takes its place.
    const other = await signed('cached-other');
    expect((await kept(other.bundle)).refusal?.code).toBe('SIGNATURE_SUBJECT_MISMATCH');
    expect((await kept(utf8('{}'))).refusal?.code).toBe('BUNDLE_MEDIA_TYPE');
    expect((await kept(new Uint8Array(2 * 1024 * 1024 + 1))).refusal?.code).toBe('BUNDLE_TOO_LARGE');
  });

  test('are accepted with the file manifest that was signed, whatever is attached beside it', async () => {
    const { target, subject, claims } = await signed('manifest-lies-there');
    const files = { version: 'kallio-file-manifest-v1' as const, files: [] };
    const bytes = fileManifestBytes(files);
    const fileManifest = { digest: digestOf(bytes), files: 0 };
    const { bundle } = await build(server, key, { claims: { ...claims, fileManifest } });
    await publishReferrer(target, subject, bundleArtifact(bundle));
    await publishReferrer(target, subject, { type: FILE_MANIFEST_TYPE, bytes: utf8('of somebody else') });
    expect((await judge(target)).refusal?.code).toBe('IMAGE_FILE_MANIFEST');
    // No manifest names it: what is signed is its digest.
    await target.pushBlob(bytes);
    expect(await judge(target)).toMatchObject({ ok: true, fileManifest: files });
    // Attack: the registry gives other bytes for it. The layers are no way around.
    const lying = vi.spyOn(target, 'content').mockImplementation(async () => {
      throw new KallioError('OCI_DIGEST_MISMATCH', 'What was given is something else.');
    });
    const verdict = await judge(target);
    expect(verdict.refusal?.code).toBe('OCI_DIGEST_MISMATCH');
    expect(verdict.steps.at(-1)).toMatchObject({ step: 'file-manifest', ok: false });
    lying.mockRestore();
    expect((await judge(target)).ok).toBe(true);
  });

  test('of another platform are refused before anything is fetched for them', async () => {
    const { target, subject, bundle } = await signed('platform');
    await publishReferrer(target, subject, bundleArtifact(bundle));
    expect((await judge(target)).ok).toBe(true);
    const arm = await verifyImage('latest', target, { ...policy, platform: 'linux/arm64' }, new Date());
    expect(arm.refusal?.code).toBe('OCI_PLATFORM');
  });

  test('in a folder are judged as in a registry, with no network', async () => {
    const { image, bundle } = await signed('folder');
    const attachedTo = (digest: Digest) =>
      utf8(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: MEDIA.manifest,
          artifactType: BUNDLE_MEDIA_TYPE,
          config: { mediaType: MEDIA.empty, digest: digestOf(utf8('{}')), size: 2 },
          layers: [{ mediaType: BUNDLE_MEDIA_TYPE, digest: digestOf(bundle), size: bundle.length }],
          subject: { mediaType: MEDIA.manifest, digest, size: image.manifest.length },
        }),
      );
    const referrer = attachedTo(image.digest);
    // A folder holds many images: what belongs to others takes none of the candidates that are looked at.
    const others = Array.from({ length: 80 }, (_, i) => attachedTo(digestOf(utf8(`image ${i}`))));
    const blobs = join(directory, 'blobs/sha256');
    mkdirSync(blobs, { recursive: true });
    for (const bytes of [image.layer, image.config, image.manifest, bundle, referrer, ...others]) {
      writeFileSync(join(blobs, digestOf(bytes).slice('sha256:'.length)), bytes);
    }
    const named = (bytes: Uint8Array) => ({
      mediaType: MEDIA.manifest,
      digest: digestOf(bytes),
      size: bytes.length,
    });
    const index = (manifests: unknown[]) =>
      writeFileSync(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
    index([named(image.manifest)]);
    expect((await judge(layoutSource(await openLayout(directory)), image.digest)).refusal?.code).toBe(
      'IMAGE_UNSIGNED',
    );
    const listed = (bytes: Uint8Array) => ({ ...named(bytes), artifactType: BUNDLE_MEDIA_TYPE });
    index([named(image.manifest), listed(referrer)]);
    expect((await judge(layoutSource(await openLayout(directory)), image.digest)).ok).toBe(true);
    index([named(image.manifest), ...others.map(listed), listed(utf8('junk')), listed(referrer)]);
    expect((await judge(layoutSource(await openLayout(directory)), image.digest)).ok).toBe(true);
  });
});
