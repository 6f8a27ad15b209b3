import { equalBytes, fromBase64, KallioError, refusal, sha256 } from '@kallio/codec';
import type { EnrolStatus } from '@kallio/protocol';
import type { ServerCode } from '../codes.ts';
import type { Challenge } from '../store/challenges.ts';
import type { Claim } from '../store/claims.ts';
import type { Store } from '../store/store.ts';
import { admit } from './admission.ts';
import type { Enrolment } from './begin.ts';

/**
 * Second half of enrolment: the answer. One try: right or wrong, the challenge is used up, and a wrong answer hears
 * only that it was wrong. The join token is spent in the same transaction as the admission it buys.
 */
export function proveEnrolment(
  { store, config }: Enrolment,
  challengeId: string,
  proof: string,
  now: Date,
): EnrolStatus {
  const time = now.getTime();
  const outcome = store.transaction(() => {
    const challenge = known(store, challengeId);
    if (challenge.state !== 'outstanding') return { refused: USED };
    // Stops answers made at leisure; the row stays, so that the reason can be told.
    if (challenge.expiresAt <= time) return { refused: EXPIRED };
    // In time that depends on nothing but the lengths: the answer can't be found byte by byte.
    if (!equalBytes(sha256(fromBase64(proof)), challenge.answer)) {
      store.challenges.burn(challengeId);
      return { refused: WRONG };
    }
    const candidate = { proven: challenge.claimed, joinToken: challenge.joinToken };
    const claim = admit(store, config, candidate, time);
    store.challenges.proven(challengeId, claim.claim);
    return { claim };
  });
  // Thrown out here, because a throw inside would undo the burning.
  if (outcome.claim === undefined) throw new KallioError(outcome.refused.code, outcome.refused.message);
  return statusOf(outcome.claim);
}

/** What became of a claim, for whoever holds the challenge's unguessable id. */
export function enrolmentStatus(store: Store, challengeId: string, now: Date): EnrolStatus {
  const challenge = known(store, challengeId);
  const claim = challenge.claim === undefined ? undefined : store.claims.byNumber(challenge.claim);
  if (claim !== undefined) return statusOf(claim);
  const { attester } = challenge.claimed;
  if (challenge.state === 'burned') return { attester, state: 'refused', reason: WRONG };
  return challenge.expiresAt <= now.getTime()
    ? { attester, state: 'refused', reason: EXPIRED }
    : { attester, state: 'pending', reason: UNPROVEN };
}

const WRONG = refusal(
  'ENROL_PROOF_WRONG' satisfies ServerCode,
  'This does not answer the challenge. Enrol again for a new one.',
);
const USED = refusal('ENROL_CHALLENGE_USED' satisfies ServerCode, 'This challenge has been answered.');
const EXPIRED = refusal('ENROL_CHALLENGE_EXPIRED' satisfies ServerCode, 'This challenge’s time is over.');
const UNPROVEN = refusal('ENROL_UNPROVEN' satisfies ServerCode, 'The challenge waits for its answer.');

function known(store: Store, challengeId: string): Challenge {
  const challenge = store.challenges.get(challengeId);
  if (challenge === undefined) {
    throw new KallioError('ENROL_CHALLENGE_UNKNOWN' satisfies ServerCode, 'There is no such challenge.');
  }
  return challenge;
}

function statusOf(claim: Claim): EnrolStatus {
  return {
    attester: claim.attester,
    state: claim.state === 'superseded' ? 'refused' : claim.state,
    ...(claim.reason === undefined ? {} : { reason: claim.reason }),
  };
}
