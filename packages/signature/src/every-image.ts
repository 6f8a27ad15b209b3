import type { Digest } from '@kallio/codec';
import { type FoundManifest, parseManifest } from '@kallio/oci';
import { type SignedSource, type VerifiedImage, verifyImage } from './image.ts';
import type { ImagePolicy } from './policy/schema.ts';
import type { RefusedImage } from './verdict.ts';

/** The first image that a policy refuses, of those that one digest stands for. */
export interface RefusedOne extends RefusedImage {
  readonly image: Digest;
}

/**
 * Verifies every image that a digest stands for: itself, or each that an index names, as a machine of that image's
 * platform would. For whoever passes on all of them: a machine verifies the one that it takes.
 */
export async function verifyEveryImage(
  found: FoundManifest,
  source: SignedSource,
  policy: ImagePolicy,
  now: Date,
): Promise<readonly VerifiedImage[] | RefusedOne> {
  const verified: VerifiedImage[] = [];
  for (const { digest, platform } of imagesOf(found)) {
    const asked = platform === undefined ? policy : { ...policy, platform };
    const verdict = await verifyImage(found.digest, source, asked, now);
    if (!verdict.ok) return { ...verdict, image: digest };
    // A platform has one image in an index, and an image has a platform: otherwise the index was refused.
    if (verdict.image.manifest.digest !== digest) throw new Error('another image was verified');
    verified.push(verdict);
  }
  return verified;
}

/** Each image, with the platform that an index names for it. */
function imagesOf(found: FoundManifest): { digest: Digest; platform?: string }[] {
  const manifest = parseManifest(found.bytes, found.mediaType);
  if (manifest.kind === 'manifest') return [{ digest: found.digest }];
  return manifest.manifests.map(({ digest, platform }) => ({
    digest,
    ...(platform === undefined ? {} : { platform: `${platform.os}/${platform.architecture}` }),
  }));
}
