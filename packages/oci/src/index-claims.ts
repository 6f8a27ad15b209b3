import type { Digest } from '@kallio/codec';
import { ociError } from './error.ts';
import { MAX_INDEX, parseManifest } from './manifest.ts';

/** What an image index says: which image is for which platform. */
export interface ImageIndexClaims {
  /** In the index's order. */
  readonly index: readonly {
    readonly digest: Digest;
    readonly os: string;
    readonly architecture: string;
    readonly variant?: string;
  }[];
}

/** The claims of an image index. Every entry names its platform, and no two name one image or platform. */
export function indexClaims(bytes: Uint8Array, mediaType: string): ImageIndexClaims {
  const parsed = parseManifest(bytes, mediaType);
  if (parsed.kind !== 'index') throw ociError('OCI_MANIFEST', 'This is no image index.');
  if (parsed.manifests.length > MAX_INDEX)
    throw ociError('OCI_MANIFEST', `An index names at most ${MAX_INDEX} images.`);
  const seen = new Set<string>();
  const index = parsed.manifests.map(({ digest, platform }, at) => {
    if (platform === undefined) {
      throw ociError('OCI_PLATFORM', 'An image of this index names no platform.', {
        pointer: `/manifests/${at}/platform`,
      });
    }
    const { os, architecture, variant } = platform;
    const name = JSON.stringify([os, architecture, variant]);
    // Attack: two images for one platform, of which each reader takes another.
    if (seen.has(name) || seen.has(digest)) {
      throw ociError('OCI_PLATFORM', 'This index names one image or platform twice.', {
        pointer: `/manifests/${at}`,
      });
    }
    seen.add(name).add(digest);
    return { digest, os, architecture, ...(variant === undefined ? {} : { variant }) };
  });
  return { index };
}
