import { KallioError, type Refusal, refusal } from '@kallio/codec';
import type { EvidenceMessage } from '@kallio/evidence';
import type { Opening, ProtocolCode, SessionRecord } from '@kallio/protocol';
import { type Judged, judge, signResult } from '../attestation/appraise.ts';
import { recordResult } from '../attestation/record.ts';
import type { Verifier } from '../attestation/verifier.ts';
import type { ServerCode } from '../codes.ts';
import type { Claim } from '../store/claims.ts';
import type { StoredSession, Taken } from '../store/sessions.ts';
import type { Store } from '../store/store.ts';
import { failSessionsOf, sessionNow } from './end.ts';
import { namedPolicy, requireSamePolicy } from './policy.ts';
import { endingOnRefusal, SessionEnded } from './refused.ts';

/** The evidence before the build. A platform that is not VERIFIED ends the session as failed, with the reason. */
export function openSession(
  verifier: Verifier,
  attester: string,
  id: string,
  message: EvidenceMessage,
  now: Date,
): Promise<SessionRecord> {
  const { store, turns } = verifier;
  return turns.take(attester, async () => {
    const { session, claim } = ownSession(store, attester, id, now);
    if (session.state !== 'opening')
      throw notIn(session, 'SESSION_NOT_OPENING', 'wait for its opening evidence');
    return endingOnRefusal(verifier, id, now, async () => {
      requireSamePolicy(verifier, session, claim);
      const judged = judge(verifier, claim, message, { purpose: 'session-open', session: id }, now);
      const ear = signResult(verifier, judged, now);
      const reason = whyNotOpen(judged);
      const record = store.transaction(() => {
        recordResult(verifier, judged, ear, id, now);
        if (reason === undefined) store.sessions.open(id, takenFrom(judged, now));
        else store.sessions.fail(id, reason, now.getTime(), judged.appraisal.evidenceDigest);
        failSessionsOf(store, judged, now);
        return store.sessions.get(id)?.record;
      });
      if (reason !== undefined) throw new SessionEnded(reason);
      return recordOrNotFound(record);
    });
  });
}

function whyNotOpen({ appraisal }: Judged): Refusal | undefined {
  if (appraisal.authentic && appraisal.platform.state === 'VERIFIED') return undefined;
  return notVerified(appraisal.platform.state, appraisal.platform.refusals[0]);
}

/** A refusal that says which state the platform had, and the first reason for it. */
export function notVerified(state: string, first: Refusal | undefined): Refusal {
  const why = first === undefined ? '' : `: ${first.message} (${first.code})`;
  return refusal(
    'SESSION_PLATFORM_NOT_VERIFIED' satisfies ServerCode,
    `The build host is ${state}, not VERIFIED${why}${why === '' ? '.' : ''}`,
    { pointer: first?.pointer },
  );
}

/** What a quote says of the boot it was made in. */
export function openingOf({ appraisal, claim }: Judged): Opening {
  const { boot } = appraisal;
  if (boot === undefined) throw new Error('authentic evidence names its boot');
  return {
    resetCount: boot.resetCount,
    restartCount: boot.restartCount,
    clock: String(boot.clock),
    ak: claim.ak,
  };
}

/** What a session takes of evidence that was judged. */
export function takenFrom(judged: Judged, now: Date): Taken {
  return {
    evidence: judged.appraisal.evidenceDigest,
    opening: openingOf(judged),
    policy: namedPolicy(judged.policy),
    at: now.getTime(),
  };
}

/** The attester's own session, and the claim that the attester is admitted by now. */
export function ownSession(
  store: Store,
  attester: string,
  id: string,
  now: Date,
): { session: StoredSession; claim: Claim } {
  const session = store.transaction(() => sessionNow(store, id, now));
  if (session === undefined) {
    throw new KallioError('NOT_FOUND' satisfies ProtocolCode, 'There is no such session.');
  }
  // Stops one build host from opening, closing or spoiling the session of another.
  if (session.attester !== attester) {
    throw new KallioError(
      'SESSION_OTHER_ATTESTER' satisfies ServerCode,
      'This is the session of another attester.',
    );
  }
  const claim = store.claims.admittedAs(attester);
  if (claim === undefined) {
    throw new KallioError(
      'ATTESTER_NOT_ADMITTED' satisfies ServerCode,
      `${attester} is not admitted any more.`,
    );
  }
  return { session, claim };
}

/** The refusal for a session in the wrong state; one that is over says why it is. */
export function notIn(session: StoredSession, code: ServerCode, what: string): KallioError {
  if (session.state === 'expired') {
    return new KallioError('SESSION_EXPIRED' satisfies ServerCode, 'The session’s window is over.');
  }
  const { reason } = session.record;
  const why = reason === undefined ? '' : ` (${reason.code})`;
  return new KallioError(code, `The session is ${session.state}${why}; it does not ${what}.`);
}

export function recordOrNotFound(record: SessionRecord | undefined): SessionRecord {
  if (record !== undefined) return record;
  throw new KallioError('NOT_FOUND' satisfies ProtocolCode, 'There is no such session.');
}
