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

/** The index of a layout, which is read as one; undefined where there is none, and no layout. */
export async function layoutIndex(dir: string): Promise<Uint8Array | undefined> {
  const path = join(dir, 'index.json');
  if ((await sizeOf(path)) === undefined) return undefined;
  const bytes = await small(path);
  parseManifest(bytes, MEDIA.index);
  return bytes;
}

/** Opens an image layout. */
export async function openLayout(dir: string): Promise<Layout> {
  const bytes = await layoutIndex(dir);
  if (bytes === undefined) throw broken(join(dir, 'index.json'));
  const index = parseManifest(bytes, MEDIA.index);
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
      const size = await sizeOf(file);
      if (size === undefined) throw broken(file);
      if (size !== descriptor.size) {
        throw ociError(
          'OCI_SIZE_MISMATCH',
          `The file of ${descriptor.digest} has ${size} bytes, not ${descriptor.size}.`,
        );
      }
      return requireContent(await whole(file), descriptor);
    },

    async content(digest, maxBytes) {
      const file = path(digest);
      const size = await sizeOf(file);
      if (size === undefined) return undefined;
      if (size > maxBytes) throw ociError('OCI_TOO_LARGE', `${digest} is longer than ${maxBytes} bytes.`);
      return requireDigest(await whole(file), digest);
    },

    async stream(descriptor) {
      const file = path(descriptor.digest);
      if ((await sizeOf(file)) === undefined) throw broken(file);
      return readable(file);
    },
  };
}

/** The tag of what is named without one. */
const UNNAMED = 'latest';

/** The image that goes by a tag; where none was said, the only image there, whatever it is called. */
function digestNamed(tag: string, manifests: readonly Descriptor[]): Digest {
  const images = manifests.filter(({ artifactType }) => artifactType === undefined);
  const tagged = images.filter(({ annotations }) => annotations?.[REFERENCE_NAME] === tag);
  const all = [...new Map(images.map((image) => [image.digest, image])).values()];
  const [only, ...more] = tagged.length > 0 || tag !== UNNAMED ? tagged : all;
  if (only !== undefined && more.length === 0) return only.digest;
  throw ociError('OCI_NOT_FOUND', `This layout has ${all.length} images and none that alone is "${tag}".`, {
    hint: 'Name it by its tag or digest: oci:FOLDER:TAG, oci:FOLDER@sha256:…',
  });
}

/** A layout has no headers: of a manifest that its index doesn't list, only the document says what it is. */
function mediaTypeOf(bytes: Uint8Array): string {
  const json = parseJson(bytes, { maxBytes: MAX_MANIFEST });
  const said = typeof json === 'object' && json !== null && 'mediaType' in json ? json.mediaType : undefined;
  return typeof said === 'string' ? said : MEDIA.manifest;
}

/** The length of a file; undefined where there is none. Attack: a pipe or device in its place, which is read for ever. */
async function sizeOf(path: string): Promise<number | undefined> {
  const found = await stat(path).catch((cause: unknown) => {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw broken(path, cause);
  });
  if (found === undefined) return undefined;
  if (!found.isFile()) throw broken(path);
  return found.size;
}

async function small(path: string): Promise<Uint8Array> {
  const size = await sizeOf(path);
  if (size === undefined) throw broken(path);
  if (size > MAX_MANIFEST) throw ociError('OCI_TOO_LARGE', `${path} is longer than any manifest.`);
  return whole(path);
}

async function whole(path: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (cause) {
    throw broken(path, cause);
  }
}

/** A file as it comes. A stick that is pulled out, or goes bad, is a layout that isn't whole. */
async function* readable(path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(path) as AsyncIterable<Uint8Array>;
  } catch (cause) {
    throw broken(path, cause);
  }
}

function broken(path: string, cause?: unknown): Error {
  return ociError('OCI_LAYOUT', `This is no whole image layout: ${path} can’t be read.`, { cause });
}
