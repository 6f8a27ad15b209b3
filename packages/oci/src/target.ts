import type { Digest } from '@kallio/codec';
import type { Descriptor } from './manifest.ts';

/** Where an image's pieces go: a repository of a registry, or a layout on disk. */
export interface ImageTarget {
  /** Puts a blob there, unless it is there. */
  pushBlob(bytes: Uint8Array): Promise<Descriptor>;
  /** Puts a blob there that is too large to hold, unless it is there. Other content than the descriptor's is refused. */
  pushStream(
    blob: Pick<Descriptor, 'digest' | 'size'>,
    open: () => Promise<AsyncIterable<Uint8Array>>,
  ): Promise<void>;
  /** Puts a manifest there, by tag or by its digest. */
  pushManifest(bytes: Uint8Array, mediaType: string, tag?: string): Promise<Digest>;
  /** Puts a manifest there that belongs to `subject`, and lists it among what belongs to it. */
  pushReferrer(
    manifest: Uint8Array,
    subject: Digest,
    listing: Omit<Descriptor, 'digest' | 'size'>,
  ): Promise<Digest>;
  /** Waits until what was listed stays listed, whoever else lists something there at the same time. */
  settle(): Promise<void>;
}
