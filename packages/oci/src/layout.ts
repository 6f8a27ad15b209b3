import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, digestOf, isDigest, parseJson } from '@kallio/codec';
import { ociError } from './error.ts';
import { type Descriptor, MAX_MANIFEST, MEDIA, parseManifest, REFERENCE_NAME } from './manifest.ts';
import { type ImageSource, requireContent, requireDigest } from './source.ts';

/** An OCI image layout on disk (image specification 1.1, "Image Layout"), as builders leave it. */
export interface Layout extends ImageSource {
  /** What its index names, in order. */
  readonly manifests: readonly Descriptor[];
  /** The blob of a digest, at most so long; undefined where there is none. */
  content(digest: Digest, maxBytes: number): Promise<Uint8Array | undefined>;
}

/** Opens an image layout. */
export async function openLayout(dir: string): Promise<Layout> {
  const index = parseManifest(await small(join(dir, 'index.json')), MEDIA.index);
  if (index.kind !== 'index') throw ociError('OCI_LAYOUT', 'index.json is no image index.');
  const path = (digest: Digest) => join(dir, 'blobs', 'sha256', digest.slice('sha256:'.length));
  return {
    manifests: index.manifests,

    async manifest(named) {
      const reference = isDigest(named) ? named : digestNamed(named, index.manifests);
      const bytes = await small(path(reference));
      if (digestOf(bytes) !== reference) {
        throw ociError('OCI_DIGEST_MISMATCH', `The file of ${reference} holds something else.`, {
          pointer: reference,
        });
      }
      const listed = index.manifests.find((descriptor) => descriptor.digest === reference);
      return { bytes, digest: reference, mediaType: listed?.mediaType ?? mediaTypeOf(bytes) };
    },

    async blob(descriptor, maxBytes) {
      if (descriptor.size > maxBytes) {
        throw ociError('OCI_TOO_LARGE', `${descriptor.digest} is longer than ${maxBytes} bytes.`);
      }
      const file = path(descriptor.digest);
      const { size } = await stat(file);
      if (size !== descriptor.size) {
        throw ociError(
          'OCI_SIZE_MISMATCH',
          `The file of ${descriptor.digest} has ${size} bytes, not ${descriptor.size}.`,
        );
      }
      return requireContent(new Uint8Array(await readFile(file)), descriptor);
    },

    async content(digest, maxBytes) {
      const file = path(digest);
      const size = await sizeOf(file);
      if (size === undefined) return undefined;
      if (size > maxBytes) throw ociError('OCI_TOO_LARGE', `${digest} is longer than ${maxBytes} bytes.`);
      return requireDigest(new Uint8Array(await readFile(file)), digest);
    },

    async stream(descriptor) {
      return createReadStream(path(descriptor.digest));
    },
  };
}

/** The image that goes by a tag; or the only image there, whatever it is called. */
function digestNamed(tag: string, manifests: readonly Descriptor[]): Digest {
  const images = manifests.filter(({ artifactType }) => artifactType === undefined);
  const tagged = images.filter(({ annotations }) => annotations?.[REFERENCE_NAME] === tag);
  const [only, ...more] = tagged.length > 0 ? tagged : images;
  if (only !== undefined && more.length === 0) return only.digest;
  throw ociError(
    'OCI_NOT_FOUND',
    `This layout has ${images.length} images and none that alone is "${tag}".`,
    {
      hint: 'Name it by its digest: oci:FOLDER@sha256:…',
    },
  );
}

/** A layout has no headers: of a manifest that its index doesn't list, only the document says what it is. */
function mediaTypeOf(bytes: Uint8Array): string {
  const json = parseJson(bytes, { maxBytes: MAX_MANIFEST });
  const said = typeof json === 'object' && json !== null && 'mediaType' in json ? json.mediaType : undefined;
  return typeof said === 'string' ? said : MEDIA.manifest;
}

/** The length of a file; undefined where there is none. */
async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw ociError('OCI_LAYOUT', `This is no whole image layout: ${path} can’t be read.`, { cause });
  }
}

async function small(path: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(path);
    if (size > MAX_MANIFEST) throw ociError('OCI_TOO_LARGE', `${path} is longer than any manifest.`);
    return new Uint8Array(await readFile(path));
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'KallioError') throw cause;
    throw ociError('OCI_LAYOUT', `This is no whole image layout: ${path} can’t be read.`, { cause });
  }
}
