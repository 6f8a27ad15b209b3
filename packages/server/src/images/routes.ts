import { canonicalBytes, digestOf, KallioError, parseDigest } from '@kallio/codec';
import { fileManifestPut, imageShow } from '@kallio/protocol';
import type { ServerCode } from '../codes.ts';
import type { Mount } from '../http/mount.ts';
import type { Store } from '../store/store.ts';

const MAX_FILE_MANIFEST_BYTES = 64 * 1024 * 1024;

/** Routes for reference values of instances: file manifests of images that were signed and logged here. */
export function imageRoutes(mount: Mount, store: Store): void {
  const { images } = store;
  mount.route(imageShow, ({ params }) => {
    const fileManifest = images.fileManifestOf(parseDigest(params.digest));
    return {
      image: params.digest,
      ...(fileManifest === undefined ? {} : { fileManifest }),
      known: fileManifest !== undefined && images.has(fileManifest),
    };
  });
  mount.route(
    fileManifestPut,
    ({ params, body }) => {
      const expected = images.fileManifestOf(parseDigest(params.digest));
      if (expected === undefined) {
        throw new KallioError(
          'IMAGE_UNKNOWN' satisfies ServerCode,
          'No logged statement of a closed session here names one file manifest for this image.',
        );
      }
      const bytes = canonicalBytes(body);
      // Stops reference values that the signer never signed, whoever brings them.
      if (digestOf(bytes) !== expected) {
        throw new KallioError(
          'FILE_MANIFEST_MISMATCH' satisfies ServerCode,
          `This is not the file manifest that the image’s statement names (${expected}).`,
        );
      }
      store.transaction(() => images.put(expected, bytes));
      return { fileManifest: expected };
    },
    { bodyLimit: MAX_FILE_MANIFEST_BYTES },
  );
}
