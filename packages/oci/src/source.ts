import { createHash } from 'node:crypto';
import { type Digest, digestOf } from '@kallio/codec';
import { ociError } from './error.ts';
import type { Descriptor } from './manifest.ts';

/** A manifest as it was found. */
export interface FoundManifest {
  readonly bytes: Uint8Array;
  readonly digest: Digest;
  readonly mediaType: string;
}

/** Where an image's pieces come from: a repository of a registry, or a layout on disk. Nothing it gives is believed. */
export interface ImageSource {
  /** The manifest of a digest or tag. */
  manifest(reference: string): Promise<FoundManifest>;
  /** A whole blob of at most so many bytes. */
  blob(descriptor: Descriptor, maxBytes: number): Promise<Uint8Array>;
  /** A blob's bytes as they come. The reader checks digest and size. */
  stream(descriptor: Descriptor): Promise<AsyncIterable<Uint8Array>>;
}

/** Refuses bytes that are not the content that a descriptor names. */
export function requireContent(
  bytes: Uint8Array,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
): Uint8Array {
  if (bytes.length !== size) {
    throw ociError('OCI_SIZE_MISMATCH', `${digest} should have ${size} bytes and has ${bytes.length}.`, {
      pointer: digest,
    });
  }
  return requireDigest(bytes, digest);
}

/** Refuses a manifest of another size or media type than the index says that names it. */
export function requireListed(
  { bytes, digest, mediaType }: FoundManifest,
  listed: Pick<Descriptor, 'size' | 'mediaType'>,
): void {
  if (bytes.length !== listed.size) {
    throw ociError(
      'OCI_SIZE_MISMATCH',
      `Of this manifest its index says ${listed.size} bytes, and it has ${bytes.length}.`,
      { pointer: digest },
    );
  }
  // Attack: a document that is one thing to who believes the index, and another to who asks for it by its digest.
  if (mediaType !== listed.mediaType) {
    throw ociError(
      'OCI_MEDIA_TYPE',
      `Of this manifest its index says ${JSON.stringify(listed.mediaType)}, and it came as ${JSON.stringify(mediaType)}.`,
      { pointer: digest },
    );
  }
}

/** Refuses bytes that are not the content of a digest. Attack: a registry (or who sits before it) gives others. */
export function requireDigest(bytes: Uint8Array, digest: Digest): Uint8Array {
  if (digestOf(bytes) !== digest) {
    throw ociError('OCI_DIGEST_MISMATCH', `What was given for ${digest} is something else.`, {
      pointer: digest,
    });
  }
  return bytes;
}

/** All of a stream, up to `maxBytes`. */
export async function collect(
  stream: AsyncIterable<Uint8Array>,
  maxBytes: number,
  what: string,
): Promise<Uint8Array> {
  // As long as what has come, or twice that: what comes byte by byte would take a hundred times its length as pieces.
  let all = new Uint8Array(0);
  let length = 0;
  for await (const chunk of stream) {
    const end = length + chunk.length;
    if (end > maxBytes) throw ociError('OCI_TOO_LARGE', `${what} is longer than ${maxBytes} bytes.`);
    if (end > all.length) {
      const longer = new Uint8Array(Math.max(end, Math.min(2 * all.length, maxBytes)));
      longer.set(all.subarray(0, length));
      all = longer;
    }
    all.set(chunk, length);
    length = end;
  }
  return length === all.length ? all : all.slice(0, length);
}

/**
 * A stream that is handed on as it comes, and refused while it goes by when it is not the content that a descriptor names:
 * longer, shorter, or other bytes. The last piece is held back until the digest holds, so that whoever writes it down never
 * has a whole blob of other content.
 */
export async function* checkedStream(
  stream: AsyncIterable<Uint8Array>,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  let length = 0;
  let held: Uint8Array | undefined;
  for await (const piece of stream) {
    if (piece.length === 0) continue;
    length += piece.length;
    if (length > size) {
      throw ociError('OCI_TOO_LARGE', `${digest} is longer than the ${size} bytes that it should have.`, {
        pointer: digest,
      });
    }
    hash.update(piece);
    if (held !== undefined) yield held;
    held = piece;
  }
  if (length !== size) {
    throw ociError('OCI_SIZE_MISMATCH', `${digest} should have ${size} bytes and has ${length}.`, {
      pointer: digest,
    });
  }
  if (`sha256:${hash.digest('hex')}` !== digest) {
    throw ociError('OCI_DIGEST_MISMATCH', `What was given for ${digest} is something else.`, {
      pointer: digest,
    });
  }
  if (held !== undefined) yield held;
}
