import type { ImageReference } from '@kallio/appraisal';
import { type Digest, decodeShape, parseJson } from '@kallio/codec';
import { Type } from 'typebox';
import { Recent } from '../recent.ts';
import type { Store } from '../store/store.ts';

/** What an appraisal needs of a file manifest; its digest was checked when it came in. */
const Files = Type.Object({ files: Type.Array(Type.Object({ path: Type.String(), sha256: Type.String() })) });

/** Images whose parsed reference values are kept in memory. */
const CACHED = 64;

/** Reference values of images, for appraising their instances. */
export class ImageLookup {
  readonly #store: Store;
  readonly #parsed = new Recent<Digest, ImageReference>(CACHED);

  constructor(store: Store) {
    this.#store = store;
  }

  /** {@link get} for one appraisal, which asks for an image once for each of its instances. */
  once(): (image: Digest) => ImageReference | undefined {
    const asked = new Map<Digest, ImageReference | undefined>();
    return (image) => {
      if (!asked.has(image)) asked.set(image, this.get(image));
      return asked.get(image);
    };
  }

  /** The reference values of an image; `undefined` while its file manifest is not known, or in dispute. */
  get(image: Digest): ImageReference | undefined {
    const fileManifest = this.#store.images.fileManifestOf(image);
    if (fileManifest === undefined) return undefined;
    const known = this.#parsed.get(fileManifest);
    if (known !== undefined) return known;
    const bytes = this.#store.images.get(fileManifest);
    if (bytes === undefined) return undefined;
    const { files } = decodeShape(
      Files,
      parseJson(bytes, { maxBytes: bytes.length }),
      'STORE_CORRUPT',
      'A file manifest',
    );
    const reference: ImageReference = { files: new Map(files.map(({ path, sha256 }) => [path, sha256])) };
    this.#parsed.set(fileManifest, reference);
    return reference;
  }
}
