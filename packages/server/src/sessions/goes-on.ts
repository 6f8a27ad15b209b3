import { KallioError, type Refusal, refusal } from '@kallio/codec';
import type { Judged } from '../attestation/appraise.ts';
import type { ServerCode } from '../codes.ts';
import type { Claim } from '../store/claims.ts';
import type { StoredSession } from '../store/sessions.ts';
import { notVerified, openingOf } from './open.ts';

/** Stops a session from being continued on another TPM, or under an AK that was made in between. */
export function requireSameAk(session: StoredSession, claim: Claim): void {
  if (session.claim !== claim.claim || session.opening?.ak !== claim.ak) {
    throw new KallioError('SESSION_AK_CHANGED' satisfies ServerCode, 'The session was opened by another AK.');
  }
}

/**
 * Later evidence held against what the session has shown before; each check stops a build that the quotes do not enclose.
 * Every IMA entry since the opening evidence is judged with it: the logs go on from where the server has them.
 */
export function whyNotGoneOn(session: StoredSession, claim: Claim, judged: Judged): Refusal | undefined {
  requireSameAk(session, claim);
  const { opening } = session;
  const { platform } = judged.appraisal;
  if (!judged.appraisal.authentic || opening === undefined) {
    const first = platform.refusals[0];
    return refusal(
      'SESSION_EVIDENCE_REFUSED' satisfies ServerCode,
      `The evidence does not hold${first === undefined ? '.' : `: ${first.message} (${first.code})`}`,
      { pointer: first?.pointer },
    );
  }
  const shown = openingOf(judged);
  // Another boot may have run anything in between; its logs are gone.
  if (shown.resetCount !== opening.resetCount || shown.restartCount !== opening.restartCount) {
    return refusal(
      'SESSION_REBOOTED' satisfies ServerCode,
      `The build host was restarted during the session: boot ${opening.resetCount}.${opening.restartCount} when it was opened, ${shown.resetCount}.${shown.restartCount} now.`,
    );
  }
  // Within one boot the TPM's clock only goes forward; a quote from before the last one is not one from after it.
  if (BigInt(shown.clock) < BigInt(opening.clock)) {
    return refusal(
      'SESSION_CLOCK_WENT_BACK' satisfies ServerCode,
      'The quote is older than the session’s last one by the TPM’s clock.',
    );
  }
  return platform.state === 'VERIFIED' ? undefined : notVerified(platform.state, platform.refusals[0]);
}
