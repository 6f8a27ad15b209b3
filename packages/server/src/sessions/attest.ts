import { canonicalDigest, KallioError } from '@kallio/codec';
import type { EvidenceMessage } from '@kallio/evidence';
import type { SessionRecord } from '@kallio/protocol';
import { judge, signResult } from '../attestation/appraise.ts';
import { recordResult } from '../attestation/record.ts';
import type { Verifier } from '../attestation/verifier.ts';
import type { ServerCode } from '../codes.ts';
import { failSessionsOf } from './end.ts';
import { whyNotGoneOn } from './goes-on.ts';
import { notIn, ownSession, recordOrNotFound, takenFrom } from './open.ts';
import { requireSamePolicy } from './policy.ts';
import { endingOnRefusal, SessionEnded } from './refused.ts';

/** Most evidence messages of one session, the opening and the closing one among them: what a statement can name. */
const MAX_EVIDENCE = 64;

/**
 * Evidence while the build goes on, bound to the session: it is judged like the closing evidence, and joins the record.
 * So a build that takes hours has no hours of which nobody has seen anything. What doesn't hold ends the session.
 */
export function attestSession(
  verifier: Verifier,
  attester: string,
  id: string,
  message: EvidenceMessage,
  now: Date,
): Promise<SessionRecord> {
  const { store, turns } = verifier;
  return turns.take(attester, async () => {
    const { session, claim } = ownSession(store, attester, id, now);
    if (session.state !== 'open') throw notIn(session, 'SESSION_NOT_OPEN', 'wait for evidence');
    const { evidence } = session.record;
    // The answer to what was heard, when the answer got lost on its way.
    if (evidence.length > 1 && evidence.at(-1) === canonicalDigest(message)) return session.record;
    if (evidence.length >= MAX_EVIDENCE - 1) {
      throw new KallioError(
        'SESSION_EVIDENCE_FULL' satisfies ServerCode,
        `The session has ${evidence.length} evidence messages; only its closing one has room.`,
        { hint: 'Show evidence less often.' },
      );
    }
    return endingOnRefusal(verifier, id, now, async () => {
      requireSamePolicy(verifier, session, claim);
      const judged = judge(verifier, claim, message, { purpose: 'session-attest', session: id }, now);
      const reason = whyNotGoneOn(session, claim, judged);
      const ear = signResult(verifier, judged, now);
      const record = store.transaction(() => {
        recordResult(verifier, judged, ear, id, now);
        if (reason === undefined) store.sessions.attested(id, takenFrom(judged, now));
        else store.sessions.fail(id, reason, now.getTime(), judged.appraisal.evidenceDigest);
        failSessionsOf(store, judged, now);
        return store.sessions.get(id)?.record;
      });
      if (reason !== undefined) throw new SessionEnded(reason);
      return recordOrNotFound(record);
    });
  });
}
