import { keyDigest, type ParsedStatement, statementDigest } from '@kallio/signature';
import type { Store } from '../store/store.ts';

/**
 * Notes which file manifest a logged image signature names, if it is the outcome of a session that closed here: on
 * this image, these claims and this key. What any other statement says about an image is its signer's opinion, and
 * would let whoever may write to the log choose the reference values of instances.
 */
export function nameFileManifest(
  store: Store,
  statement: ParsedStatement,
  spki: Uint8Array,
  logIndex: number,
): void {
  const { subject, fileManifest, buildEnvironment } = statement;
  const session = store.sessions.get(buildEnvironment.session);
  if (
    session?.state === 'closed' &&
    session.record.subject === subject.digest &&
    session.record.statement === statementDigest(statement) &&
    session.signingKey === keyDigest(spki)
  ) {
    store.transaction(() => {
      store.sessions.signed(session.session, logIndex);
      store.images.name(subject.digest, fileManifest.digest, session.session, logIndex);
    });
  }
}
