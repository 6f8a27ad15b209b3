import { canonicalBytes, type Digest, digestOf } from '@kallio/codec';
import { type Descriptor, MEDIA } from './manifest.ts';
import type { Repository } from './registry.ts';
import { collect, type FoundManifest, type ImageSource, requireContent } from './source.ts';
import type { ImageContents } from './walk.ts';

/** Largest layer that is copied through memory. */
const MAX_LAYER = 2 * 1024 ** 3;

/** Copies an image to a repository: layers and configuration first, so that a manifest there is always whole. */
export async function copyImage(
  source: ImageSource,
  image: ImageContents,
  target: Repository,
  tag?: string,
): Promise<Digest> {
  for (const layer of image.layers) {
    const bytes = await collect(await source.stream(layer), Math.min(layer.size, MAX_LAYER), layer.digest);
    await target.pushBlob(requireContent(bytes, layer));
  }
  await target.pushBlob(image.config.bytes);
  return target.pushManifest(image.manifest.bytes, image.manifest.mediaType, tag);
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
  target: Repository,
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
