import { gzipSync } from 'node:zlib';
import { type Digest, digestOf } from '@kallio/codec';
import {
  type FileManifest,
  fileManifest,
  type ImageContents,
  type ImageSource,
  type LayerLimits,
  MEDIA,
} from '../../src/index.ts';

/** Limits that a test reaches. */
export const LIMITS: LayerLimits = {
  entries: 1000,
  names: 1024 * 1024,
  bytes: 64 * 1024 * 1024,
  ratio: 200,
};

/** A layer as it lies in a registry. */
export interface Layer {
  readonly tar: Uint8Array;
  /** What is put after the media type of a plain layer. */
  readonly suffix: '' | '+gzip' | '+zstd';
  readonly compressed: Uint8Array;
}

export function gzipped(tar: Uint8Array): Layer {
  return { tar, suffix: '+gzip', compressed: new Uint8Array(gzipSync(tar)) };
}

/** The file manifest of an image of these layers, base first, that come in pieces of this many bytes. */
export function manifestOfLayers(
  given: readonly Layer[],
  limits = LIMITS,
  piece = Number.POSITIVE_INFINITY,
): Promise<FileManifest> {
  const blobs = new Map<Digest, Uint8Array>();
  const layers = given.map(({ compressed, suffix }) => {
    blobs.set(digestOf(compressed), compressed);
    return {
      mediaType: `${MEDIA.layer}${suffix}`,
      digest: digestOf(compressed),
      size: compressed.length,
    };
  });
  const source: ImageSource = {
    manifest: () => Promise.reject(new Error('not asked')),
    blob: () => Promise.reject(new Error('not asked')),
    stream: async ({ digest }) =>
      (async function* () {
        const bytes = blobs.get(digest) ?? new Uint8Array(0);
        for (let at = 0; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece);
      })(),
  };
  const claims = { layers: given.map(({ tar }) => digestOf(tar)) };
  return fileManifest(source, { layers, claims } as unknown as ImageContents, limits);
}
