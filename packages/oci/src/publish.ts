import { canonicalBytes, type Digest, digestOf, KallioError } from '@kallio/codec';
import { isAttestation, requireAttestation } from './attestation-manifest.ts';
import { ociError } from './error.ts';
import { MAX_FILE_MANIFEST } from './file-manifest.ts';
import { type Descriptor, type ImageManifest, MAX_CONFIG, MEDIA, parseManifest } from './manifest.ts';
import { type FoundManifest, type ImageSource, requireListed } from './source.ts';
import type { ImageTarget } from './target.ts';

/** Largest layer that is copied: bounds what a hostile manifest has written to a disk. */
const MAX_LAYER = 16 * 1024 ** 3;
/** Most referrers of one type that are copied: anybody who may push can attach more. */
const MAX_COPIED = 64;
/** What says of a source that it has not what its manifest names. */
const NOT_THERE: ReadonlySet<string> = new Set([
  'OCI_NOT_FOUND',
  'OCI_LAYOUT',
  'OCI_DIGEST_MISMATCH',
  'OCI_SIZE_MISMATCH',
  'OCI_TOO_LARGE',
]);
/** Most of one type that are looked at for it. */
const MAX_LOOKED_AT = 1024;

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

/** What was copied of what is attached to images. */
interface CopiedReferrers {
  /** The manifests of what was copied. */
  readonly copied: readonly Digest[];
  /** How many others were listed and left behind, looked at or not. */
  readonly left: number;
}

/**
 * Copies what is attached to images, of these artifact types; what only claims to be attached is left behind. Of a flood so
 * many of each type are copied, those that `first` names first and all of them. Who doesn't name any doesn't know what
 * matters: then a flood is refused. Both refusals are `OCI_REFERRERS`.
 */
export async function copyReferrers(
  source: ImageSource & { referrers(subject: Digest, type: string): Promise<readonly Descriptor[]> },
  subjects: readonly Digest[],
  types: readonly string[],
  target: ImageTarget,
  first?: ReadonlySet<Digest>,
): Promise<CopiedReferrers> {
  const copied: Digest[] = [];
  let left = 0;
  for (const subject of subjects) {
    for (const type of types) {
      const listed = await source.referrers(subject, type);
      const isFirst = ({ digest }: Descriptor) => first?.has(digest) === true;
      const ordered = [...listed.filter(isFirst), ...listed.filter((other) => !isFirst(other))];
      const before = copied.length;
      for (const [at, { digest }] of ordered.entries()) {
        if (at === MAX_LOOKED_AT || copied.length - before === MAX_COPIED) {
          if (first === undefined) throw flooded(subject, type);
          left += ordered.length - at;
          break;
        }
        if (await copyReferrer(source, digest, subject, type, target)) copied.push(digest);
      }
    }
  }
  const lost = [...(first ?? [])].find((digest) => !copied.includes(digest));
  // Attack: a source that shows the signature to who verifies, and not to who copies.
  if (lost !== undefined) {
    throw ociError('OCI_REFERRERS', 'What the policy accepted is no longer attached.', { pointer: lost });
  }
  return { copied, left };
}

/** Copies what is listed, if it is there and of this type and subject. */
async function copyReferrer(
  source: ImageSource,
  digest: Digest,
  subject: Digest,
  type: string,
  target: ImageTarget,
): Promise<boolean> {
  const found = await referrerManifest(source, digest);
  const blob = found === undefined ? undefined : referrerBlob(found.manifest, subject, type);
  if (found === undefined || blob === undefined || blob.size > MAX_FILE_MANIFEST) return false;
  try {
    await copyBlobs(source, found.manifest, target);
  } catch (error) {
    // Junk again: what it names is not there, or is something else.
    if (error instanceof KallioError && NOT_THERE.has(error.code)) return false;
    throw error;
  }
  const { annotations } = found.manifest;
  await target.pushReferrer(found.bytes, subject, {
    mediaType: MEDIA.manifest,
    artifactType: type,
    ...(annotations === undefined ? {} : { annotations }),
  });
  return true;
}

function flooded(subject: Digest, type: string): Error {
  return ociError('OCI_REFERRERS', `More of the type ${type} is attached to this image than is copied.`, {
    pointer: subject,
    hint: 'Somebody may be flooding it. Say --policy: what that accepts is copied first, and at all events.',
  });
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
