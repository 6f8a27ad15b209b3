import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest, Json } from '@kallio/codec';
import {
  childrenOf,
  type FileManifest,
  type FoundManifest,
  fileManifest,
  fileManifestDigest,
  imageOf,
  indexClaims,
  isAttestation,
  type Layout,
  openLayout,
  type Platform,
  parseManifest,
  platformName,
  unpackLayout,
} from '@kallio/oci';
import type { Claims } from '@kallio/signature';
import { cliError } from '../output/output.ts';

/** One thing that a build left and that is signed: an image, or the index over several. */
export interface Built {
  readonly manifest: FoundManifest;
  readonly claims: Claims;
  /** `os/architecture[/variant]` of an image; an index has none. */
  readonly platform?: string;
  /** When the image says that it was created; an index has no such time. */
  readonly created?: string;
  /** Of an image. */
  readonly files?: FileManifest;
}

/** The layout that a builder left: in a folder, or in a tar archive, which is unpacked beside it and is gone then. */
export async function openBuilt(out: string, folder: string, signal: AbortSignal): Promise<Layout> {
  const found = await stat(out).catch(() => undefined);
  if (found?.isDirectory()) return openLayout(out);
  if (!found?.isFile()) {
    throw cliError(
      'CLI_BUILDER',
      'The builder ended well, and left no image layout at $OUT.',
      'It is a path where nothing is yet: leave a folder there, or a tar archive. docs/operations.md shows how for each builder.',
    );
  }
  const unpacked = join(folder, 'unpacked');
  await unpackLayout(out, unpacked, { signal });
  await rm(out);
  return openLayout(unpacked);
}

/** Whether sessions were opened for one image, or for an index and each image in it. */
export type Wanted = 'image' | 'index';

/** What a builder left. */
export interface Left {
  /** In the order in which it is signed; the last is what the tag will name. */
  readonly built: readonly Built[];
  /** An index around the one image that was wanted, which is not pushed. */
  readonly leftOut?: LeftOut;
}

/** An index that is not pushed, and how many attestation manifests go with it. */
export interface LeftOut {
  readonly index: Digest;
  readonly attestations: number;
}

/** Reads what a builder left. Where one image was wanted, an index around just that one is left out. */
export async function readBuilt(layout: Layout, name: string, wanted: Wanted): Promise<Left> {
  const top = await topOf(layout);
  const parsed = parseManifest(top.bytes, top.mediaType);
  if (parsed.kind === 'manifest') {
    if (wanted === 'image') return { built: [await readImage(layout, top, name)] };
    throw cliError(
      'CLI_BUILDER',
      'The builder left an image and no index.',
      'Sessions were opened for an index. Say one --platform, or none, and not --index; or have the builder make one.',
    );
  }
  const index = indexClaims(top.bytes, top.mediaType);
  const children = (await childrenOf(layout, top)).map((child, at) => ({
    child,
    entry: parsed.manifests[at],
  }));
  const images = children.filter(({ entry }) => entry !== undefined && !isAttestation(entry));
  if (wanted === 'image') requireOne(images.map(({ entry }) => entry?.platform));
  const built: Built[] = [];
  for (const { child, entry } of images) built.push(await readImage(layout, child, name, entry?.platform));
  if (wanted === 'image') {
    return { built, leftOut: { index: top.digest, attestations: children.length - images.length } };
  }
  const none: FileManifest = { version: 'kallio-file-manifest-v1', files: [] };
  return { built: [...built, { manifest: top, claims: claimsOf(name, top.digest, index, none) }] };
}

/** What the layout is of: a builder may have named it several times. */
async function topOf(layout: Layout): Promise<FoundManifest> {
  const images = layout.manifests.filter(({ artifactType }) => artifactType === undefined);
  const [only, ...more] = new Set(images.map(({ digest }) => digest));
  if (only !== undefined && more.length === 0) return layout.manifest(only);
  throw cliError(
    'CLI_BUILDER',
    `The builder left ${images.length} images in the layout.`,
    'It must leave exactly one, or one index.',
  );
}

/** A session has one subject, and none can be opened after the build for what it left. */
function requireOne(platforms: readonly (Platform | undefined)[]): void {
  if (platforms.length === 1) return;
  const names = platforms.flatMap((one) => (one === undefined ? [] : [platformName(one)]));
  throw cliError(
    'CLI_BUILDER',
    `The builder left an index over ${platforms.length} images; a session was opened for one.`,
    `Say --platform ${names.join(',')}: each image, and the index, has a session of its own, opened before the build.`,
  );
}

async function readImage(
  layout: Layout,
  manifest: FoundManifest,
  name: string,
  named?: Platform,
): Promise<Built> {
  const image = await imageOf(layout, manifest, named);
  const files = await fileManifest(layout, image);
  const claims = claimsOf(name, manifest.digest, image.claims, files);
  const created = createdOf(image.config.json);
  return {
    manifest,
    claims,
    files,
    platform: platformName(image.claims),
    ...(created === undefined ? {} : { created }),
  };
}

/** `created` of an image's configuration (image specification 1.1), if it is there. */
function createdOf(config: Json): string | undefined {
  if (typeof config !== 'object' || config === null || !('created' in config)) return undefined;
  return typeof config.created === 'string' ? config.created : JSON.stringify(config.created);
}

function claimsOf(name: string, digest: Digest, image: Claims['image'], files: FileManifest): Claims {
  return {
    subject: { name, digest },
    image,
    fileManifest: { digest: fileManifestDigest(files), files: files.files.length },
  };
}
