import { type Digest, KallioError } from '@kallio/codec';
import { type Descriptor, type ImageSource, type Layout, parseManifest } from '@kallio/oci';

/** Where an image and what is attached to it come from. A repository is one; for a layout see {@link layoutSource}. */
export interface SignedSource extends ImageSource {
  /** What says that it belongs to `subject`, of these artifact types, each type's together. */
  referrers(subject: Digest, ...artifactTypes: readonly string[]): Promise<readonly Descriptor[]>;
  /** The blob of a digest, of a length that nobody said, but at most so long; undefined where there is none. */
  content(digest: Digest, maxBytes: number): Promise<Uint8Array | undefined>;
}

/** A layout on disk in which image, signatures and file manifests lie together: for air gaps. */
export function layoutSource(layout: Layout): SignedSource {
  return {
    manifest: (reference) => layout.manifest(reference),
    blob: (descriptor, maxBytes) => layout.blob(descriptor, maxBytes),
    stream: (descriptor) => layout.stream(descriptor),
    content: (digest, maxBytes) => layout.content(digest, maxBytes),
    async referrers(subject, ...artifactTypes) {
      const found: Descriptor[] = [];
      for (const type of artifactTypes) {
        for (const listed of layout.manifests) {
          if (listed.artifactType === type && (await isOf(layout, listed, subject))) found.push(listed);
        }
      }
      return found;
    },
  };
}

/** Whether a manifest in a layout says that it belongs to this image. A layout lists those of all its images together. */
async function isOf(layout: Layout, { digest }: Descriptor, subject: Digest): Promise<boolean> {
  try {
    const { bytes, mediaType } = await layout.manifest(digest);
    const manifest = parseManifest(bytes, mediaType);
    return manifest.kind === 'manifest' && manifest.subject?.digest === subject;
  } catch (error) {
    // Junk in the folder belongs to no image, and must not keep the real one from being found.
    if (error instanceof KallioError) return false;
    throw error;
  }
}
