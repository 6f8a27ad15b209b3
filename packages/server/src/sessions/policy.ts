import { type AppraisalPolicy, policyDigest } from '@kallio/appraisal';
import { KallioError } from '@kallio/codec';
import type { SessionPolicy } from '@kallio/protocol';
import { policyInForce } from '../attestation/appraise.ts';
import type { Verifier } from '../attestation/verifier.ts';
import type { ServerCode } from '../codes.ts';
import type { Claim } from '../store/claims.ts';
import type { StoredSession } from '../store/sessions.ts';

/** How a session names a policy. */
export function namedPolicy(policy: AppraisalPolicy): SessionPolicy {
  return { id: policy.id, digest: policyDigest(policy) };
}

/**
 * Stops a session from being closed by other rules than it was begun under: by laxer ones that were put in force meanwhile,
 * however shortly. Nobody can say of two policies which is the stricter one, so that any change ends it. What was begun
 * before servers noted the policy has none to be held to, and names that of its next evidence.
 */
export function requireSamePolicy({ policies }: Verifier, { record }: StoredSession, { kind }: Claim): void {
  const announced = record.policy;
  const now = namedPolicy(policyInForce(policies, kind));
  if (announced === undefined || announced.digest === now.digest) return;
  throw new KallioError(
    'SESSION_POLICY_CHANGED' satisfies ServerCode,
    `The session was begun under the policy ${announced.id} (${announced.digest}); ${now.id} (${now.digest}) is in force now.`,
    { hint: 'Build again: all evidence of a session is judged by one policy.' },
  );
}
