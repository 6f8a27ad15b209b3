import { type Digest, isDigest, KallioError, type Refusal, utf8 } from '@kallio/codec';
import {
  type Artifact,
  type Descriptor,
  FILE_MANIFEST_TYPE,
  type FileManifest,
  type FoundManifest,
  fileManifest,
  fileManifestDigest,
  hostPlatform,
  type ImageContents,
  type ImageSource,
  type Layout,
  MAX_FILE_MANIFEST,
  parseFileManifest,
  parseManifest,
  referrerBlob,
  walkImage,
} from '@kallio/oci';
import { MAX_TLOG_PROOF } from '@kallio/tlog';
import { BUNDLE_MEDIA_TYPE, MAX_BUNDLE } from './bundle.ts';
import { signatureError } from './error.ts';
import type { ShownEvidence } from './evidence.ts';
import { EVIDENCE_TYPE, MAX_EVIDENCE } from './evidence-type.ts';
import { compiledPolicy } from './policy/compile.ts';
import type { ImagePolicy } from './policy/schema.ts';
import { WITNESSED_TYPE } from './policy/witnesses.ts';
import { type Claims, PREDICATE_TYPE } from './statement.ts';
import { type AcceptedImage, type RefusedImage, Trail } from './verdict.ts';
import { verifyImageSignature } from './verify.ts';

/** Most candidates that are read, of bundles and of witnessed proofs: anybody who may push can attach more. */
const MAX_CANDIDATES = 64;
/** What belongs to a signed image, by artifact type. */
export const ATTACHED_TYPES: readonly string[] = [
  BUNDLE_MEDIA_TYPE,
  FILE_MANIFEST_TYPE,
  EVIDENCE_TYPE,
  WITNESSED_TYPE,
];

const PREDICATE_ANNOTATION = 'dev.sigstore.bundle.predicateType';

/** Where an image and what is attached to it come from. A repository is one; for a layout see {@link layoutSource}. */
export interface SignedSource extends ImageSource {
  /** What says that it belongs to `subject`, of these artifact types, each type's together. */
  referrers(subject: Digest, ...artifactTypes: readonly string[]): Promise<readonly Descriptor[]>;
  /** The blob of a digest, of a length that nobody said, but at most so long; undefined where there is none. */
  content(digest: Digest, maxBytes: number): Promise<Uint8Array | undefined>;
}

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

/** What is attached to an image or index: listed when it is first asked for, and once, whatever is looked for in it. */
class Attached {
  readonly source: SignedSource;
  readonly subject: Digest;
  #listed: Promise<readonly Descriptor[]> | undefined;

  constructor(source: SignedSource, subject: Digest) {
    this.source = source;
    this.subject = subject;
  }

  /** Has it listed now, while others are waited for. What goes wrong is told to who asks {@link of} it. */
  begin(): this {
    this.#list().catch(() => undefined);
    return this;
  }

  #list(): Promise<readonly Descriptor[]> {
    this.#listed ??= this.source.referrers(this.subject, ...ATTACHED_TYPES);
    return this.#listed;
  }

  /** What says that it is of this artifact type. */
  async of(artifactType: string): Promise<readonly Descriptor[]> {
    return (await this.#list()).filter((listed) => listed.artifactType === artifactType);
  }

  /** The one blob of a manifest that was listed; undefined where that is nothing of this type and subject. */
  async blobOf({ digest }: Descriptor, artifactType: string): Promise<Descriptor | undefined> {
    const { bytes, mediaType } = await this.source.manifest(digest);
    const manifest = parseManifest(bytes, mediaType);
    return manifest.kind === 'manifest' ? referrerBlob(manifest, this.subject, artifactType) : undefined;
  }
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

/** A bundle as it is attached to its image: annotated as Sigstore's clients look for it. */
export function bundleArtifact(bundle: Uint8Array, predicateType: string = PREDICATE_TYPE): Artifact {
  return {
    type: BUNDLE_MEDIA_TYPE,
    bytes: bundle,
    annotations: { 'dev.sigstore.bundle.content': 'dsse-envelope', [PREDICATE_ANNOTATION]: predicateType },
  };
}

/** A witnessed proof as it is attached to its image. */
export function proofArtifact(proof: string): Artifact {
  return { type: WITNESSED_TYPE, bytes: utf8(proof) };
}

/** What else {@link verifyImage} is given, or asked to do. */
export interface VerifyOptions {
  /**
   * A bundle that is at hand: what is attached to the image is not looked at. Of an index it is the bundle of the image that
   * is taken from it; the index's own signature is looked for where the index is.
   */
  readonly bundle?: Uint8Array;
  /** A witnessed proof of that bundle's log entry that is at hand. */
  readonly proof?: Uint8Array;
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
      const verdict = await judge({ attached, policy, now }, { index }, {}, restsOn);
      if (!verdict.ok) return { ...verdict, steps: [...trail.steps, ...verdict.steps] };
      trail.step(
        'index',
        () => verdict,
        ({ builder, session }) => `image index ${index.digest}, signed by ${builder} in session ${session}`,
      );
    }
    const attached = attachedTo(image.manifest.digest);
    const { bytes: configBytes } = image.config;
    const verdict = await judge({ attached, policy, now }, { configBytes }, options, restsOn);
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

/** What is judged, by what. */
interface Asked {
  /** Beside the image manifest or index that is to be signed. */
  readonly attached: Attached;
  readonly policy: ImagePolicy;
  readonly now: Date;
}

type Described = { readonly configBytes: Uint8Array } | { readonly index: FoundManifest };

/** The first candidate that holds, which is noted in `restsOn`; otherwise the refusal of the one that came furthest. */
async function judge(
  { attached, policy, now }: Asked,
  described: Described,
  given: Pick<VerifyOptions, 'bundle' | 'proof'>,
  restsOn: Digest[],
): Promise<AcceptedImage | RefusedImage> {
  const proofs = await proofsFor(attached, policy, given, restsOn);
  const verify = (bundle: Uint8Array) =>
    verifyImageSignature({ ...described, bundle, manifestDigest: attached.subject, policy, now, proofs });
  if (given.bundle !== undefined) return verify(given.bundle);
  const candidates = oursFirst(await attached.of(BUNDLE_MEDIA_TYPE));
  let furthest: RefusedImage = { ok: false, steps: [], refusal: unsigned().toJSON() };
  for (const candidate of candidates.slice(0, MAX_CANDIDATES)) {
    const found = await fetchBundle(attached, candidate);
    // Something attached that is no readable bundle of this image must not keep the real one from being found.
    const verdict: AcceptedImage | RefusedImage =
      found instanceof Uint8Array ? await verify(found) : { ok: false, steps: [], refusal: found };
    if (verdict.ok) {
      restsOn.push(candidate.digest);
      return verdict;
    }
    if (verdict.steps.length >= furthest.steps.length) furthest = verdict;
  }
  if (candidates.length <= MAX_CANDIDATES) return furthest;
  const error = signatureError(
    'IMAGE_TOO_MANY_SIGNATURES',
    `None of the first ${MAX_CANDIDATES} of ${candidates.length} candidates is a signature that holds.`,
    { hint: 'Somebody may be flooding this image. Remove what is attached to it and is not yours.' },
  );
  return { ...furthest, refusal: error.toJSON() };
}

/** Annotations are not believed; they only say where to look first. */
function oursFirst(listed: readonly Descriptor[]): readonly Descriptor[] {
  const ours = (candidate: Descriptor) => candidate.annotations?.[PREDICATE_ANNOTATION] === PREDICATE_TYPE;
  return [...listed.filter(ours), ...listed.filter((candidate) => !ours(candidate))];
}

/** The witnessed proofs at hand, or attached to the image; none where the policy names no witnesses. */
async function proofsFor(
  attached: Attached,
  policy: ImagePolicy,
  given: Pick<VerifyOptions, 'bundle' | 'proof'>,
  restsOn: Digest[],
): Promise<readonly Uint8Array[]> {
  if (given.proof !== undefined) return [given.proof];
  if (policy.witnesses === undefined) return [];
  const listed = await attached.of(WITNESSED_TYPE);
  const found: Uint8Array[] = [];
  // The newest was attached last.
  for (const candidate of listed.slice(-MAX_CANDIDATES).reverse()) {
    try {
      const blob = await attached.blobOf(candidate, WITNESSED_TYPE);
      if (blob === undefined) continue;
      found.push(await attached.source.blob(blob, MAX_TLOG_PROOF));
      restsOn.push(candidate.digest);
    } catch (error) {
      // Junk that somebody attached must not keep the real one from being found.
      if (!(error instanceof KallioError)) throw error;
    }
  }
  return found;
}

/** The readable bundles that are attached to an image, of those that {@link verifyImage} looks at; none is judged. */
export async function bundlesOf(source: SignedSource, subject: Digest): Promise<readonly Uint8Array[]> {
  const found: Uint8Array[] = [];
  const attached = new Attached(source, subject);
  for (const candidate of oursFirst(await attached.of(BUNDLE_MEDIA_TYPE)).slice(0, MAX_CANDIDATES)) {
    const bundle = await fetchBundle(attached, candidate);
    if (bundle instanceof Uint8Array) found.push(bundle);
  }
  return found;
}

/** The bytes of a candidate's bundle, or why there are none. */
async function fetchBundle(attached: Attached, candidate: Descriptor): Promise<Uint8Array | Refusal> {
  try {
    const blob = await attached.blobOf(candidate, BUNDLE_MEDIA_TYPE);
    // The size is refused before a byte of it is fetched.
    return blob === undefined ? unsigned().toJSON() : await attached.source.blob(blob, MAX_BUNDLE);
  } catch (error) {
    if (!(error instanceof KallioError)) throw error;
    return error.toJSON();
  }
}

/** What the raw evidence shows that is attached to an image; anybody may have attached other evidence beside it. */
async function findEvidence(
  attached: Attached,
  image: AcceptedImage,
): Promise<{ readonly shown: ShownEvidence; readonly digest: Digest }> {
  // Who doesn't ask for evidence doesn't load what judges it: a fifth of the command's code.
  const { verifyBuildEvidence } = await import('./evidence.ts');
  const listed = await attached.of(EVIDENCE_TYPE);
  let refusal: KallioError = signatureError(
    'BUILD_EVIDENCE_MISSING',
    'No raw evidence is attached to this image.',
    { hint: 'kallio build attaches it, and kallio copy takes it along.' },
  );
  for (const candidate of listed.slice(0, MAX_CANDIDATES)) {
    try {
      const blob = await attached.blobOf(candidate, EVIDENCE_TYPE);
      if (blob === undefined) continue;
      const shown = verifyBuildEvidence(await attached.source.blob(blob, MAX_EVIDENCE), image);
      return { shown, digest: candidate.digest };
    } catch (error) {
      if (!(error instanceof KallioError)) throw error;
      refusal = error;
    }
  }
  throw refusal;
}

/** The manifest of the raw evidence that holds for an image, of what is attached to it; undefined where none does. */
export async function evidenceOf(source: SignedSource, image: VerifiedImage): Promise<Digest | undefined> {
  try {
    return (await findEvidence(new Attached(source, image.image.manifest.digest), image)).digest;
  } catch (error) {
    if (error instanceof KallioError) return undefined;
    throw error;
  }
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

function unsigned() {
  return signatureError('IMAGE_UNSIGNED', 'This image has no signature.', {
    hint: 'It was built outside an attestation session, or its signature was not pushed. Build it with kallio build.',
  });
}
