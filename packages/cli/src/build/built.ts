import type { Digest, Json } from '@kallio/codec';
import {
  childrenOf,
  type FileManifest,
  type FoundManifest,
  fileManifest,
  fileManifestDigest,
  indexClaims,
  type Layout,
  walkImage,
} from '@kallio/oci';
import type { Claims } from '@kallio/signature';
import { cliError } from '../output/output.ts';

/** One thing that a build left and that is signed: an image, or the index over several. */
export interface Built {
  readonly manifest: FoundManifest;
  readonly claims: Claims;
  /** `os/architecture` of an image; an index has none. */
  readonly platform?: string;
  /** When the image says that it was created; an index has no such time. */
  readonly created?: string;
  /** Of an image. */
  readonly files?: FileManifest;
}

/** Reads what a builder left: one image, or an index over images. The last is what the tag will name. */
export async function readBuilt(layout: Layout, name: string): Promise<readonly Built[]> {
  const images = layout.manifests.filter(({ artifactType }) => artifactType === undefined);
  const [only, ...more] = images;
  if (only === undefined || more.length > 0) {
    throw cliError('CLI_BUILDER', 'The builder must leave exactly one image, or one index, in the layout.');
  }
  const top = await layout.manifest(only.digest);
  const children = await childrenOf(layout, top);
  if (children.length === 0) return [await imageOf(layout, top, name)];
  const index = indexClaims(top.bytes, top.mediaType);
  const built: Built[] = [];
  for (const [at, child] of children.entries()) {
    built.push(await imageOf(layout, child, name, index.index[at]));
  }
  const none: FileManifest = { version: 'kallio-file-manifest-v1', files: [] };
  const claims = claimsOf(name, top.digest, index, none);
  return [...built, { manifest: top, claims }];
}

async function imageOf(
  layout: Layout,
  manifest: FoundManifest,
  name: string,
  platform?: { readonly os: string; readonly architecture: string },
): Promise<Built> {
  const image = await walkImage(layout, manifest.digest, platform);
  const files = await fileManifest(layout, image);
  const { os, architecture } = image.claims;
  const claims = claimsOf(name, manifest.digest, image.claims, files);
  const created = createdOf(image.config.json);
  return {
    manifest,
    claims,
    files,
    platform: `${os}/${architecture}`,
    ...(created === undefined ? {} : { created }),
  };
}

/** `created` of an image's configuration (image specification 1.1), if it is there. */
function createdOf(config: Json): string | undefined {
  if (typeof config !== 'object' || config === null || !('created' in config)) return undefined;
  return typeof config.created === 'string' ? config.created : undefined;
}

function claimsOf(name: string, digest: Digest, image: Claims['image'], files: FileManifest): Claims {
  return {
    subject: { name, digest },
    image,
    fileManifest: { digest: fileManifestDigest(files), files: files.files.length },
  };
}
