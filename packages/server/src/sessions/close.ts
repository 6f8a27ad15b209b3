import type { SessionClaims } from '@kallio/appraisal';
import { canonicalDigest, KallioError, parseDigest, toHex } from '@kallio/codec';
import type { CallInput, SessionRecord, sessionClose } from '@kallio/protocol';
import { type CertifiedKey, certifiedKey } from '@kallio/signature';
import { checkGoverned, governingPolicy } from '@kallio/tpm/structures';
import { type Judged, judge, signResult } from '../attestation/appraise.ts';
import { recordResult } from '../attestation/record.ts';
import type { Verifier } from '../attestation/verifier.ts';
import type { ServerCode } from '../codes.ts';
import type { Claim } from '../store/claims.ts';
import type { Closing as ClosedOn, StoredSession } from '../store/sessions.ts';
import { failSessionsOf } from './end.ts';
import { requireSameAk, whyNotGoneOn } from './goes-on.ts';
import { notIn, ownSession, recordOrNotFound } from './open.ts';
import { namedPolicy, requireSamePolicy } from './policy.ts';
import { endingOnRefusal, SessionEnded } from './refused.ts';

type Closing = CallInput<typeof sessionClose>['body'];

/**
 * The evidence after the build, committed to one image. Either the session is closed with a signed result, or it has
 * failed with its reason; both for good. Only a request that never reached judgement (nonce out of time, another's
 * session) leaves it open.
 */
export function closeSession(
  verifier: Verifier,
  attester: string,
  id: string,
  closing: Closing,
  now: Date,
): Promise<SessionRecord> {
  const { store, turns } = verifier;
  return turns.take(attester, async () => {
    const { session, claim } = ownSession(store, attester, id, now);
    const repeated = answerRepeated(session, closing);
    if (repeated !== undefined) return repeated;
    if (session.state !== 'open') throw notIn(session, 'SESSION_NOT_OPEN', 'wait for its closing evidence');
    return endingOnRefusal(verifier, id, now, () => closeOpen(verifier, session, claim, closing, now));
  });
}

/** The answer to a closing that was heard, when the answer got lost on its way; or why it can't be changed. */
function answerRepeated(session: StoredSession, closing: Closing): SessionRecord | undefined {
  if (session.state !== 'closed') return undefined;
  const { record } = session;
  if (record.evidence.at(-1) === canonicalDigest(closing.evidence)) return record;
  // Stops claims from being moved to another image: one session, one subject.
  throw new KallioError(
    'SESSION_SUBJECT_SET' satisfies ServerCode,
    `The session is closed on ${record.subject}; it never changes again.`,
  );
}

async function closeOpen(
  verifier: Verifier,
  session: StoredSession,
  claim: Claim,
  closing: Closing,
  now: Date,
): Promise<SessionRecord> {
  const { store } = verifier;
  const id = session.session;
  requireSameAk(session, claim);
  requireSamePolicy(verifier, session, claim);
  const subject = parseDigest(closing.subject);
  const statement = parseDigest(closing.statement);
  const { nonce } = closing.evidence;
  const signingKey = certifiedKey(closing.signingKey, { session: id, nonce }, claim.akPublic);
  const asked = {
    purpose: 'session-close',
    session: id,
    subject,
    statement,
    signingKey: signingKey.publicDigest,
  } as const;
  // Stops a key that would sign in any state from being vouched for where the operator governs its build hosts' keys.
  if (verifier.signingAuthority !== undefined) checkGoverned(signingKey.key, verifier.signingAuthority);
  const judged = judge(verifier, claim, closing.evidence, asked, now);
  const reason = whyNotGoneOn(session, claim, judged);
  const closed: ClosedOn = {
    at: now.getTime(),
    evidence: judged.appraisal.evidenceDigest,
    policy: namedPolicy(judged.policy),
    subject,
    statement,
    signingKey: signingKey.spkiDigest,
  };
  const claims =
    reason === undefined ? sessionClaims(verifier, session, judged, signingKey, closed) : undefined;
  const ear = signResult(verifier, judged, now, claims);
  const record = store.transaction(() => {
    recordResult(verifier, judged, ear, id, now);
    if (reason === undefined) store.sessions.close(id, closed, ear);
    else store.sessions.fail(id, reason, now.getTime(), closed.evidence);
    failSessionsOf(store, judged, now);
    return store.sessions.get(id)?.record;
  });
  if (reason !== undefined) throw new SessionEnded(reason);
  return recordOrNotFound(record);
}

function sessionClaims(
  { store }: Verifier,
  session: StoredSession,
  judged: Judged,
  signingKey: CertifiedKey,
  closed: ClosedOn,
): SessionClaims {
  const { platform, boot } = judged.appraisal;
  if (platform.tier === undefined || boot === undefined)
    throw new Error('a VERIFIED platform has tier and boot');
  const { evidence, policy, subject, statement } = closed;
  const signingPolicy = governingPolicy(signingKey.key);
  return {
    session: session.session,
    subject,
    statement,
    signingKey: closed.signingKey,
    // Certified with the key's public area, to which the closing quote is bound.
    ...(signingPolicy?.length === 32 ? { signingPolicy: toHex(signingPolicy) } : {}),
    evidence: [...session.record.evidence.map(parseDigest), evidence],
    builder: session.attester,
    tier: platform.tier,
    boot: boot.resetCount,
    // Of a VERIFIED platform whose policy demands it: without it, it would not be VERIFIED.
    ...(judged.policy.reference.secureBoot?.enabled === true ? { secureBoot: true as const } : {}),
    policy: policy.digest,
    // Nothing is awaited between this and the transaction: the head is that of the record.
    head: store.sessions.headOnceClosed(session.session, closed),
  };
}
