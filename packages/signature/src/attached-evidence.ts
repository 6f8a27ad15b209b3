import { type Digest, KallioError } from '@kallio/codec';
import type { ImageContents } from '@kallio/oci';
import { Attached, MAX_CANDIDATES } from './attached.ts';
import { signatureError } from './error.ts';
import type { ShownEvidence } from './evidence.ts';
import { EVIDENCE_TYPE, MAX_EVIDENCE } from './evidence-type.ts';
import type { SignedSource } from './source.ts';
import type { AcceptedImage } from './verdict.ts';

/** What the raw evidence shows that is attached to an image; anybody may have attached other evidence beside it. */
export async function findEvidence(
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
export async function evidenceOf(
  source: SignedSource,
  image: AcceptedImage & { readonly image: ImageContents },
): Promise<Digest | undefined> {
  try {
    return (await findEvidence(new Attached(source, image.image.manifest.digest), image)).digest;
  } catch (error) {
    if (error instanceof KallioError) return undefined;
    throw error;
  }
}
