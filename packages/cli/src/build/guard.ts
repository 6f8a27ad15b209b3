import type { ImageTarget, Layout } from '@kallio/oci';

/*
 * What goes on reading or pushing after it was called off ends at its next step: nothing is pushed behind the back of somebody
 * who was told that the build has ended. A question that is on its way to the registry already is answered there.
 */

/** A layout of which nothing more is read once `stop` has come. */
export function guardedLayout(layout: Layout, stop: AbortSignal): Layout {
  return {
    manifests: layout.manifests,
    manifest: async (reference) => {
      stop.throwIfAborted();
      return layout.manifest(reference);
    },
    blob: async (descriptor, maxBytes) => {
      stop.throwIfAborted();
      return layout.blob(descriptor, maxBytes);
    },
    content: async (digest, maxBytes) => {
      stop.throwIfAborted();
      return layout.content(digest, maxBytes);
    },
    async stream(descriptor) {
      stop.throwIfAborted();
      const pieces = await layout.stream(descriptor);
      return (async function* () {
        for await (const piece of pieces) {
          stop.throwIfAborted();
          yield piece;
        }
      })();
    },
  };
}

/** A target to which nothing more is pushed once `stop` has come. */
export function guardedTarget(target: ImageTarget, stop: AbortSignal): ImageTarget {
  return {
    pushBlob: async (bytes) => {
      stop.throwIfAborted();
      return target.pushBlob(bytes);
    },
    pushStream: async (blob, open) => {
      stop.throwIfAborted();
      return target.pushStream(blob, open);
    },
    pushManifest: async (bytes, mediaType, tag) => {
      stop.throwIfAborted();
      return target.pushManifest(bytes, mediaType, tag);
    },
    pushReferrer: async (manifest, subject, listing) => {
      stop.throwIfAborted();
      return target.pushReferrer(manifest, subject, listing);
    },
    settle: async () => {
      stop.throwIfAborted();
      await target.settle();
      stop.throwIfAborted();
    },
  };
}
