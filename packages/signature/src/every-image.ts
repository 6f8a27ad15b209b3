import { type Digest, KallioError } from '@kallio/codec';
import {
  childrenOf,
  type Descriptor,
  type FoundManifest,
  indexClaims,
  isAttestation,
  parseManifest,
  platformName,
} from '@kallio/oci';
import { type VerifiedImage, verifyImage } from './image.ts';
import type { ImagePolicy } from './policy/schema.ts';
import type { SignedSource } from './source.ts';
import type { RefusedImage } from './verdict.ts';

/** The first image that a policy refuses, of those that one digest stands for. */
export interface RefusedOne extends RefusedImage {
  readonly image: Digest;
}

/**
 * Verifies every image that a digest stands for: itself, or each that an index names, as a machine of that image's
 * platform would. For whoever passes on all of them: a machine verifies the one that it takes. What an index names
 * besides must be attestation manifests, which nothing runs.
 */
export async function verifyEveryImage(
  found: FoundManifest,
  source: SignedSource,
  policy: ImagePolicy,
  now: Date,
): Promise<readonly VerifiedImage[] | RefusedOne> {
  const manifest = parseManifest(found.bytes, found.mediaType);
  const entries: readonly Named[] =
    manifest.kind === 'manifest' ? [{ digest: found.digest }] : manifest.manifests;
  const verified: VerifiedImage[] = [];
  for (const entry of entries) {
    if (isAttestation(entry)) continue;
    const { digest } = entry;
    const verdict = await verifyImage(found.digest, source, forPlatformOf(entry, policy), now);
    if (!verdict.ok) return { ...verdict, image: digest };
    // A platform has one image in an index, and an image has a platform: otherwise the index was refused.
    if (verdict.image.manifest.digest !== digest) throw new Error('another image was verified');
    verified.push(verdict);
  }
  try {
    // Attack: an index of nothing, which nobody has signed, and of which no image is refused.
    if (verified.length === 0) indexClaims(found.bytes, found.mediaType);
    if (verified.length < entries.length) await childrenOf(source, found);
    return verified;
  } catch (error) {
    if (!(error instanceof KallioError)) throw error;
    return { ok: false, steps: [], refusal: error.toJSON(), image: found.digest };
  }
}

type Named = Pick<Descriptor, 'digest' | 'platform' | 'annotations'>;

/** The policy of a machine that takes this entry of an index; of an image by itself, the policy as it is. */
function forPlatformOf({ platform }: Named, policy: ImagePolicy): ImagePolicy {
  return platform === undefined ? policy : { ...policy, platform: platformName(platform) };
}
