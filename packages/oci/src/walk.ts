import { type Json, parseJson } from '@kallio/codec';
import { isAttestation } from './attestation-manifest.ts';
import { configClaims, type ImageConfigClaims } from './config.ts';
import { ociError } from './error.ts';
import {
  type Descriptor,
  type ImageManifest,
  MAX_CONFIG,
  MAX_INDEX,
  MEDIA,
  parseManifest,
} from './manifest.ts';
import { hostPlatform, nearest, type Platform, platformName, runsOn } from './platform.ts';
import { type FoundManifest, type ImageSource, requireListed } from './source.ts';

/** An image whose manifest and configuration have been read and checked; its layers are named, not read. */
export interface ImageContents {
  readonly manifest: FoundManifest;
  /** The index that named it, where it was reached through one. */
  readonly index?: FoundManifest;
  readonly layers: readonly Descriptor[];
  readonly config: { readonly descriptor: Descriptor; readonly bytes: Uint8Array; readonly json: Json };
  readonly claims: ImageConfigClaims;
}

const LAYER =
  /^application\/vnd\.(?:oci\.image\.layer\.v1\.tar(?:\+gzip|\+zstd)?|docker\.image\.rootfs\.diff\.tar\.gzip)$/;

/**
 * From a tag or digest to an image: index (where it is one) -> manifest of the platform -> configuration. Every digest
 * and size is checked; media types are the ones known; an index in an index is refused. Of an index that names images for
 * several processors that this platform's can stand in for, the nearest is taken.
 */
export async function walkImage(
  source: ImageSource,
  reference: string,
  platform: Platform = hostPlatform(),
): Promise<ImageContents> {
  const first = await source.manifest(reference);
  const top = parseManifest(first.bytes, first.mediaType);
  if (top.kind === 'manifest') {
    const image = await contents(source, first, top);
    // Attack: an image of another platform, run under emulation or not at all, where this one was asked for.
    if (!runsOn(image.claims, platform)) throw otherPlatform(image.claims, platform);
    return image;
  }
  // Attack: an index with so many entries, or so deep, that to walk it is all a machine does.
  if (top.manifests.length > MAX_INDEX)
    throw ociError('OCI_MANIFEST', `An index names at most ${MAX_INDEX} images.`);
  const [only, ...more] = nearest(
    top.manifests.filter((entry) => !isAttestation(entry)),
    platform,
  );
  // Attack: two images for one platform, of which each reader takes another.
  if (only === undefined || more.length > 0) {
    const many = only === undefined ? 'no image' : 'more than one image';
    throw ociError('OCI_PLATFORM', `This index names ${many} for ${platformName(platform)}.`);
  }
  const found = await source.manifest(only.digest);
  requireListed(found, only);
  return { ...(await imageOf(source, found, only.platform)), index: first };
}

/**
 * The image of a manifest, whatever platform it is for; where an index names it for one, it must be for that. An index, and
 * what is no image, is refused.
 */
export async function imageOf(
  source: ImageSource,
  found: FoundManifest,
  named?: Platform,
): Promise<ImageContents> {
  const manifest = parseManifest(found.bytes, found.mediaType);
  if (manifest.kind !== 'manifest') throw ociError('OCI_MANIFEST', 'An index in an index is not followed.');
  const image = await contents(source, found, manifest);
  // Attack: an index that calls an image of another platform one of this.
  if (named !== undefined && platformName(image.claims) !== platformName(named)) {
    throw otherPlatform(image.claims, named);
  }
  return image;
}

function otherPlatform(is: Platform, asked: Platform) {
  return ociError('OCI_PLATFORM', `This image is for ${platformName(is)}.`, {
    hint: `One for ${platformName(asked)} was asked for.`,
  });
}

async function contents(
  source: ImageSource,
  found: FoundManifest,
  manifest: ImageManifest,
): Promise<ImageContents> {
  const { mediaType } = manifest.config;
  if (mediaType !== MEDIA.config && mediaType !== MEDIA.dockerConfig) {
    throw ociError('OCI_MEDIA_TYPE', `This manifest is of an artifact (${mediaType}), not of an image.`, {
      pointer: '/config/mediaType',
    });
  }
  for (const [index, layer] of manifest.layers.entries()) {
    if (!LAYER.test(layer.mediaType)) {
      throw ociError('OCI_MEDIA_TYPE', `A layer of type ${layer.mediaType} is not read here.`, {
        pointer: `/layers/${index}/mediaType`,
      });
    }
  }
  const bytes = await source.blob(manifest.config, MAX_CONFIG);
  const json = parseJson(bytes);
  const claims = configClaims(json);
  if (claims.layers.length !== manifest.layers.length) {
    throw ociError('OCI_CONFIG', 'Manifest and configuration name different numbers of layers.', {
      pointer: '/rootfs/diff_ids',
    });
  }
  return {
    manifest: found,
    layers: manifest.layers,
    config: { descriptor: manifest.config, bytes, json },
    claims,
  };
}
