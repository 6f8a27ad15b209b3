import { type Json, parseJson } from '@kallio/codec';
import { ociError } from './error.ts';
import { type Descriptor, MAX_LISTED, MAX_MANIFEST, MEDIA, parseManifest } from './manifest.ts';

/** An entry of an index as it stands there, with what Kallio doesn't know. */
export interface RawEntry {
  readonly digest?: Json;
  readonly artifactType?: Json;
  readonly annotations?: Json;
  readonly [key: string]: Json | undefined;
}

/** An index as it was found. */
export interface FoundIndex {
  readonly bytes: Uint8Array;
  readonly mediaType: string;
}

/**
 * An index with other entries, and with everything else that it says: annotations, and what Kallio doesn't know, are for
 * others. What is no index is refused with `OCI_MANIFEST`, and one that nobody could read any more with `OCI_TOO_LARGE`.
 */
export function rewrittenIndex(
  found: FoundIndex | undefined,
  rewrite: (entries: readonly RawEntry[]) => readonly (RawEntry | Descriptor)[],
): Uint8Array {
  if (found === undefined) return encoded({ schemaVersion: 2, mediaType: MEDIA.index }, rewrite([]));
  // Strictly first: what is not read here is not written either.
  parseManifest(found.bytes, found.mediaType);
  const document = parseJson(found.bytes, { maxBytes: MAX_MANIFEST });
  if (!isObject(document) || !Array.isArray(document.manifests)) {
    throw ociError('OCI_MANIFEST', 'This is no image index.');
  }
  return encoded(document, rewrite(document.manifests.filter(isObject)));
}

function encoded(document: object, manifests: readonly (RawEntry | Descriptor)[]): Uint8Array {
  const bytes = Buffer.from(JSON.stringify({ ...document, manifests }));
  if (manifests.length > MAX_LISTED || bytes.length > MAX_MANIFEST) {
    throw ociError('OCI_TOO_LARGE', `An index has at most ${MAX_LISTED} entries and ${MAX_MANIFEST} bytes.`);
  }
  return bytes;
}

/** True for a JSON object. */
export function isObject(value: Json | undefined): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
