import { isDigest } from '@kallio/codec';
import { ATTACHED_TYPES } from './attached.ts';
import type { SignedSource } from './source.ts';

/**
 * A source that is asked at once for what a verification of this reference asks first: the manifest and, of a digest, what
 * is attached to it. The answers come while something else is done. Nothing of them is looked at before they are asked for
 * here, and each is given once: who asks again asks the source. What goes wrong is told to who asks, and to nobody else.
 */
export function askAhead(source: SignedSource, reference: string): SignedSource {
  const manifest = begun(source.manifest(reference));
  const listed = isDigest(reference) ? begun(source.referrers(reference, ...ATTACHED_TYPES)) : undefined;
  return {
    manifest: (asked) => (asked === reference ? manifest() : undefined) ?? source.manifest(asked),
    referrers: (subject, ...types) =>
      (subject === reference && isAttached(types) ? listed?.() : undefined) ??
      source.referrers(subject, ...types),
    blob: (descriptor, maxBytes) => source.blob(descriptor, maxBytes),
    content: (digest, maxBytes) => source.content(digest, maxBytes),
    stream: (descriptor) => source.stream(descriptor),
  };
}

/** An answer that is waited for later, and once. */
function begun<T>(answer: Promise<T>): () => Promise<T> | undefined {
  answer.catch(() => undefined);
  let kept: Promise<T> | undefined = answer;
  return () => {
    const given = kept;
    kept = undefined;
    return given;
  };
}

function isAttached(types: readonly string[]): boolean {
  return types.length === ATTACHED_TYPES.length && types.every((type, i) => type === ATTACHED_TYPES[i]);
}
