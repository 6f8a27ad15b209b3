import type { Digest } from '@kallio/codec';
import { attestedBy, isAttestation } from './attestation-manifest.ts';
import { ociError } from './error.ts';
import { MAX_INDEX, parseManifest } from './manifest.ts';
import { isPlatform, platformName } from './platform.ts';

/** What an image index says: which image is for which platform. */
export interface ImageIndexClaims {
  /** In the index's order. What attests one of the images, and is none, is for `unknown/unknown`. */
  readonly index: readonly {
    readonly digest: Digest;
    readonly os: string;
    readonly architecture: string;
    readonly variant?: string;
  }[];
}

/**
 * The claims of an image index. Every entry names its platform, and no two name one image or platform, however they write
 * it. It names an image at least; an attestation manifest in it is about one of them.
 */
export function indexClaims(bytes: Uint8Array, mediaType: string): ImageIndexClaims {
  const parsed = parseManifest(bytes, mediaType);
  if (parsed.kind !== 'index') throw ociError('OCI_MANIFEST', 'This is no image index.');
  const { manifests } = parsed;
  if (manifests.length > MAX_INDEX)
    throw ociError('OCI_MANIFEST', `An index names at most ${MAX_INDEX} images.`);
  const images = new Set(manifests.filter((entry) => !isAttestation(entry)).map(({ digest }) => `${digest}`));
  if (images.size === 0) throw ociError('OCI_MANIFEST', 'This index names no image.');
  const seen = new Set<string>();
  const index = manifests.map((entry, at) => {
    const { digest, platform } = entry;
    if (platform === undefined || !isPlatform(platform)) {
      throw ociError('OCI_PLATFORM', 'An image of this index names no platform, or none that can be.', {
        pointer: `/manifests/${at}/platform`,
      });
    }
    const { os, architecture, variant } = platform;
    const attests = isAttestation(entry);
    const about = attestedBy(entry) ?? '';
    // Their platform is no machine's: there is one for each image, and images may share one, as BuildKit's provenance of an
    // image without a name says nothing that differs.
    const name = attests ? `${digest} of ${about}` : platformName(platform);
    if (attests && !images.has(about)) {
      throw ociError('OCI_MANIFEST', 'An attestation manifest of this index is about no image in it.', {
        pointer: `/manifests/${at}/annotations`,
      });
    }
    // Attack: two images for one platform, of which each reader takes another; an image that calls itself none elsewhere.
    if (seen.has(name) || (attests ? images.has(digest) : seen.has(digest))) {
      throw ociError('OCI_PLATFORM', 'This index names one image or platform twice.', {
        pointer: `/manifests/${at}`,
      });
    }
    seen.add(name);
    if (!attests) seen.add(digest);
    return { digest, os, architecture, ...(variant === undefined ? {} : { variant }) };
  });
  return { index };
}
