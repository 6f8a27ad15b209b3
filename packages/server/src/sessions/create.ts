import { KallioError } from '@kallio/codec';
import { newId } from '@kallio/protocol/serve';
import { policyInForce } from '../attestation/appraise.ts';
import { admittedClaim, heldOfClaim } from '../attestation/evidence.ts';
import type { Verifier } from '../attestation/verifier.ts';
import type { ServerCode } from '../codes.ts';
import { isoTime } from '../time.ts';
import { namedPolicy } from './policy.ts';

/** Begins a session for a build host; the nonce is for its opening evidence. */
export function createSession(verifier: Verifier, attester: string, now: Date) {
  const { store, config, nonces, policies } = verifier;
  const claim = admittedClaim(store, attester);
  if (claim.kind !== 'builder') {
    throw new KallioError(
      'SESSION_NOT_BUILDER' satisfies ServerCode,
      `${attester} is enrolled as a ${claim.kind}.`,
      {
        hint: 'Only a build host opens sessions.',
      },
    );
  }
  // Said before anything is built, and held to until the session has ended: see requireSamePolicy.
  const policy = namedPolicy(policyInForce(policies, claim.kind));
  const time = now.getTime();
  const session = newId();
  const expiresAt = time + config.sessions.windowSeconds * 1000;
  store.transaction(() => {
    // Bounds what one build host can have the server keep.
    const underWay = store.sessions.underWay(claim.claim).filter((s) => s.expiresAt > time).length;
    if (underWay >= config.sessions.maxUnderWay) {
      throw new KallioError(
        'SESSION_TOO_MANY' satisfies ServerCode,
        `${attester} has ${underWay} sessions under way.`,
        {
          hint: 'Close or abandon some, or wait until they expire.',
        },
      );
    }
    store.sessions.create(session, { attester, claim: claim.claim, at: time, expiresAt, policy });
  });
  const { nonce } = nonces.issue({ attester, purpose: 'session-open', session }, now);
  return { session, nonce, expiresAt: isoTime(expiresAt), policy, from: heldOfClaim(verifier, claim) };
}
