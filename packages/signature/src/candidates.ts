import { type Digest, KallioError, type Refusal } from '@kallio/codec';
import type { Descriptor, FoundManifest } from '@kallio/oci';
import { MAX_TLOG_PROOF } from '@kallio/tlog';
import { Attached, MAX_CANDIDATES, oursFirst } from './attached.ts';
import { BUNDLE_MEDIA_TYPE, MAX_BUNDLE } from './bundle.ts';
import { signatureError } from './error.ts';
import type { ImagePolicy } from './policy/schema.ts';
import { WITNESSED_TYPE } from './policy/witnesses.ts';
import type { SignedSource } from './source.ts';
import type { AcceptedImage, RefusedImage } from './verdict.ts';
import { verifyImageSignature } from './verify.ts';

/** What was found without looking for it. */
export interface AtHand {
  /**
   * A bundle that is at hand: what is attached to the image is not looked at. Of an index it is the bundle of the image that
   * is taken from it; the index's own signature is looked for where the index is.
   */
  readonly bundle?: Uint8Array;
  /** A witnessed proof of that bundle's log entry that is at hand. */
  readonly proof?: Uint8Array;
}

/** What is judged, by what. */
interface Asked {
  /** Beside the image manifest or index that is to be signed. */
  readonly attached: Attached;
  readonly policy: ImagePolicy;
  readonly now: Date;
}

type Described = { readonly configBytes: Uint8Array } | { readonly index: FoundManifest };

/**
 * The first bundle at hand or attached to an image that is a signature of it, noted in `restsOn`; otherwise the refusal of
 * the one that came furthest.
 */
export async function judgeCandidates(
  { attached, policy, now }: Asked,
  described: Described,
  given: AtHand,
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

/** The witnessed proofs at hand, or attached to the image; none where the policy names no witnesses. */
async function proofsFor(
  attached: Attached,
  policy: ImagePolicy,
  given: AtHand,
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

/** The readable bundles that are attached to an image, of those that {@link judgeCandidates} looks at; none is judged. */
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

function unsigned() {
  return signatureError('IMAGE_UNSIGNED', 'This image has no signature.', {
    hint: 'It was built outside an attestation session, or its signature was not pushed. Build it with kallio build.',
  });
}
