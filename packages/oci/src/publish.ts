import { canonicalBytes, type Digest, digestOf, KallioError } from '@kallio/codec';
import { isAttestation, requireAttestation } from './attestation-manifest.ts';
import { ociError } from './error.ts';
import { type Descriptor, type ImageManifest, MAX_CONFIG, MEDIA, parseManifest } from './manifest.ts';
import { type FoundManifest, type ImageSource, requireListed } from './source.ts';
import type { ImageTarget } from './target.ts';

/** Largest layer that is copied: bounds what a hostile manifest has written to a disk. */
const MAX_LAYER = 16 * 1024 ** 3;
/** Most referrers of one type that are copied: anybody who may push can attach more. */
const MAX_COPIED = 64;

/**
 * Copies an image: layers and configuration first, so that a manifest there is always whole. Of an index, every image
 * that it names; an index in an index is refused.
 */
export async function copyImage(
  source: ImageSource,
  found: FoundManifest,
  target: ImageTarget,
  tag?: string,
): Promise<Digest> {
  const manifest = parseManifest(found.bytes, found.mediaType);
  if (manifest.kind === 'manifest') await copyBlobs(source, manifest, target);
  else for (const child of await childrenOf(source, found)) await copyImage(source, child, target);
  return target.pushManifest(found.bytes, found.mediaType, tag);
}

/** The manifests that an index names, of images and of what attests them, in its order; of an image manifest none. */
export async function childrenOf(source: ImageSource, found: FoundManifest): Promise<FoundManifest[]> {
  const manifest = parseManifest(found.bytes, found.mediaType);
  if (manifest.kind === 'manifest') return [];
  const children: FoundManifest[] = [];
  for (const entry of manifest.manifests) {
    const { digest } = entry;
    const child = await source.manifest(digest);
    requireListed(child, entry);
    // Attack: indexes in indexes, each naming many, so that to walk them is all a machine does.
    const parsed = parseManifest(child.bytes, child.mediaType);
    if (parsed.kind !== 'manifest')
      throw ociError('OCI_MANIFEST', 'An index in an index is not followed.', { pointer: digest });
    if (isAttestation(entry)) requireAttestation(entry, parsed);
    children.push(child);
  }
  return children;
}

/** Copies what is attached to an image, of these artifact types; what only claims to be attached is left behind. */
export async function copyReferrers(
  source: ImageSource & { referrers(subject: Digest, type: string): Promise<readonly Descriptor[]> },
  subject: Digest,
  types: readonly string[],
  target: ImageTarget,
): Promise<number> {
  let copied = 0;
  for (const type of types) {
    for (const listed of (await source.referrers(subject, type)).slice(0, MAX_COPIED)) {
      const manifest = await referrerManifest(source, listed.digest);
      if (manifest === undefined || referrerBlob(manifest.manifest, subject, type) === undefined) continue;
      await copyBlobs(source, manifest.manifest, target);
      const { annotations } = manifest.manifest;
      await target.pushReferrer(manifest.bytes, subject, {
        mediaType: MEDIA.manifest,
        artifactType: type,
        ...(annotations === undefined ? {} : { annotations }),
      });
      copied++;
    }
  }
  return copied;
}

/** A listed referrer, or nothing where what is listed is not there or no manifest. */
async function referrerManifest(source: ImageSource, digest: Digest) {
  try {
    const { bytes, mediaType } = await source.manifest(digest);
    const manifest = parseManifest(bytes, mediaType);
    return manifest.kind === 'manifest' && mediaType === MEDIA.manifest ? { bytes, manifest } : undefined;
  } catch (error) {
    // Junk that somebody attached must not keep the rest from being copied.
    if (error instanceof KallioError) return undefined;
    throw error;
  }
}

async function copyBlobs(source: ImageSource, manifest: ImageManifest, target: ImageTarget): Promise<void> {
  for (const layer of manifest.layers) {
    if (layer.size > MAX_LAYER) {
      throw ociError('OCI_TOO_LARGE', `A layer of ${layer.size} bytes is not copied.`, {
        pointer: layer.digest,
      });
    }
    await target.pushStream(layer, () => source.stream(layer));
  }
  await target.pushBlob(await source.blob(manifest.config, MAX_CONFIG));
}

/** An artifact that belongs to an image: one blob of one media type. */
export interface Artifact {
  /** Both artifact type and media type of the blob. */
  readonly type: string;
  readonly bytes: Uint8Array;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Publishes an artifact as a referrer of an image (image specification 1.1, "Guidelines for Artifact Usage"). */
export async function publishReferrer(
  target: ImageTarget,
  subject: FoundManifest,
  artifact: Artifact,
): Promise<Digest> {
  const empty = new TextEncoder().encode('{}');
  await target.pushBlob(empty);
  await target.pushBlob(artifact.bytes);
  const annotations = artifact.annotations === undefined ? {} : { annotations: artifact.annotations };
  const manifest = canonicalBytes({
    schemaVersion: 2,
    mediaType: MEDIA.manifest,
    artifactType: artifact.type,
    config: { mediaType: MEDIA.empty, digest: digestOf(empty), size: empty.length },
    layers: [{ mediaType: artifact.type, digest: digestOf(artifact.bytes), size: artifact.bytes.length }],
    subject: { mediaType: subject.mediaType, digest: subject.digest, size: subject.bytes.length },
    ...annotations,
  });
  return target.pushReferrer(manifest, subject.digest, {
    mediaType: MEDIA.manifest,
    artifactType: artifact.type,
    ...annotations,
  });
}

/** The blob of a referrer, if it is what its type says: one layer of that type, and really of this subject. */
export function referrerBlob(
  manifest: ReferrerManifest,
  subject: Digest,
  type: string,
): Descriptor | undefined {
  const [only, ...more] = manifest.layers;
  if (only === undefined || more.length > 0 || only.mediaType !== type) return undefined;
  // Attack: a fallback tag that lists a referrer of another image.
  return manifest.subject?.digest === subject ? only : undefined;
}

interface ReferrerManifest {
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
}
