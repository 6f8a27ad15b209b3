import { type Digest, isDigest, KallioError } from '@kallio/codec';
import {
  type FileManifest,
  fileManifest,
  fileManifestDigest,
  hostPlatform,
  type ImageContents,
  MAX_FILE_MANIFEST,
  parseFileManifest,
  walkImage,
} from '@kallio/oci';
import { Attached } from './attached.ts';
import { findEvidence } from './attached-evidence.ts';
import { type AtHand, judgeCandidates } from './candidates.ts';
import { signatureError } from './error.ts';
import { compiledPolicy } from './policy/compile.ts';
import type { ImagePolicy } from './policy/schema.ts';
import type { SignedSource } from './source.ts';
import type { Claims } from './statement.ts';
import { type AcceptedImage, type RefusedImage, Trail } from './verdict.ts';

/** An image that may run, with everything that was read and checked on the way. */
export interface VerifiedImage extends AcceptedImage {
  readonly image: ImageContents;
  readonly fileManifest: FileManifest;
  /**
   * Of what is attached, the manifests that the verdict rests on: the signature, the index's where there is one, and the
   * witnessed proofs that were looked at.
   */
  readonly restsOn: readonly Digest[];
}

/** What else {@link verifyImage} is given, or asked to do. */
export interface VerifyOptions extends AtHand {
  /** Also verify the raw evidence that is attached to the image. */
  readonly evidence?: boolean;
}

/**
 * From a tag or digest to a verdict: walks the image, finds its signature, judges it, and gets the file manifest that
 * the signature names. What registry and attacker bring is refused in the verdict, never thrown. An image without any
 * signature is `IMAGE_UNSIGNED`. Where the name leads to an index, the index must be signed too: otherwise whoever can
 * move a tag could put any signed image in another's place. Whatever runs afterwards must be named by the verdict's digest: a tag may have moved.
 */
export async function verifyImage(
  reference: string,
  source: SignedSource,
  policy: ImagePolicy,
  now: Date,
  options: VerifyOptions = {},
): Promise<VerifiedImage | RefusedImage> {
  const trail = new Trail();
  try {
    // Who names a digest need not wait for its manifest to ask what is attached to it. Nothing is read of the answer before
    // the image has been walked, and a list of another digest is asked for anew.
    const named = isDigest(reference) ? new Attached(source, reference).begin() : undefined;
    const attachedTo = (subject: Digest) =>
      named?.subject === subject ? named : new Attached(source, subject);
    // Stops other bytes for a digest, an image of another platform, documents of two kinds.
    const image = await trail.wait(
      'image',
      () => walkImage(source, reference, compiledPolicy(policy).platform ?? hostPlatform()),
      ({ manifest }) => `image manifest ${manifest.digest}`,
    );
    const { index } = image;
    const restsOn: Digest[] = [];
    if (index !== undefined) {
      const attached = attachedTo(index.digest);
      const verdict = await judgeCandidates({ attached, policy, now }, { index }, {}, restsOn);
      if (!verdict.ok) return { ...verdict, steps: [...trail.steps, ...verdict.steps] };
      trail.step(
        'index',
        () => verdict,
        ({ builder, session }) => `image index ${index.digest}, signed by ${builder} in session ${session}`,
      );
    }
    const attached = attachedTo(image.manifest.digest);
    const { bytes: configBytes } = image.config;
    const verdict = await judgeCandidates({ attached, policy, now }, { configBytes }, options, restsOn);
    if (!verdict.ok) return { ...verdict, steps: [...trail.steps, ...verdict.steps] };
    trail.append(verdict.steps);
    // Stops reference values for instances that are not of this image.
    const files = await trail.wait(
      'file-manifest',
      () => findFileManifest(image, source, verdict.claims.fileManifest),
      (manifest) => `${manifest.files.length} files`,
    );
    if (options.evidence === true) {
      await trail.wait(
        'evidence',
        () => findEvidence(attached, verdict),
        ({ shown: { messages, boot, milliseconds } }) =>
          `${messages} quotes of one AK in boot ${boot}, ${milliseconds} ms apart; the last commits to image, claims and key`,
      );
    }
    return { ...verdict, steps: trail.steps, image, fileManifest: files, restsOn };
  } catch (error) {
    return refused(error, trail.steps);
  }
}

function refused(error: unknown, steps: RefusedImage['steps']): RefusedImage {
  if (!(error instanceof KallioError)) throw error;
  return { ok: false, steps, refusal: error.toJSON() };
}

/** The file manifest that the signature names: as it lies there, or else from the layers themselves. */
async function findFileManifest(
  image: ImageContents,
  source: SignedSource,
  { digest, files }: Claims['fileManifest'],
): Promise<FileManifest> {
  // Its digest is signed, so its content is: whoever put it there, and whatever the manifest says that attaches it.
  const there = await source.content(digest, MAX_FILE_MANIFEST);
  const found = there === undefined ? await fileManifest(source, image) : parseFileManifest(there);
  if (there === undefined && fileManifestDigest(found) !== digest) {
    throw signatureError(
      'IMAGE_FILE_MANIFEST',
      'The image’s layers hold other files than its signature says.',
      { pointer: '/predicate/fileManifest/digest' },
    );
  }
  // Stops an image of no known files from passing, by its number of them, for one whose instances can be attested.
  if (found.files.length !== files) {
    throw signatureError(
      'IMAGE_FILE_MANIFEST',
      `The signature says ${files} files, and its file manifest lists ${found.files.length}.`,
      { pointer: '/predicate/fileManifest/files' },
    );
  }
  return found;
}
