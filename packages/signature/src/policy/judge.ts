import type { EarClaims, SessionClaims } from '@kallio/appraisal';
import { signatureError } from '../error.ts';
import type { ImagePolicy } from './schema.ts';

/** What a policy is asked about, once everything in it is proved. */
export interface Judged {
  readonly session: SessionClaims;
  readonly ear: EarClaims;
  /** Seconds since 1970: when the signature was logged. */
  readonly logged: number;
  readonly now: Date;
}

/** Who built, where, with which key, how long ago: `POLICY_…`. */
export function requirePolicy(policy: ImagePolicy, { session, ear, logged, now }: Judged): void {
  const { builders, tiers, signingKeys, appraisalPolicies, maxAgeSeconds, maxResultAgeSeconds } = policy;
  // A build host that is real, attested, and not one of those this relying party chose.
  if (!builders.includes(session.builder)) {
    throw signatureError('POLICY_BUILDER', `The policy does not allow builds of "${session.builder}".`, {
      pointer: '/predicate/buildEnvironment/builder',
      hint: 'Add it to the policy’s builders if you trust it; otherwise build on one of those.',
    });
  }
  if (!tiers.includes(session.tier)) {
    throw signatureError(
      'POLICY_TIER',
      `The policy does not allow build environments of tier ${session.tier}.`,
      {
        pointer: '/predicate/buildEnvironment/tier',
        hint: `Build on a host of tier ${tiers.join(' or ')}: kallio doctor says what a machine can prove.`,
      },
    );
  }
  // A key that was made on a host of that name, but not one that this relying party has seen.
  if (signingKeys !== undefined && !signingKeys.includes(session.signingKey)) {
    throw signatureError('POLICY_SIGNING_KEY', 'The policy does not name the key that signed.', {
      pointer: '/predicate/buildEnvironment/akCertification/key',
      hint: `It is ${session.signingKey}. Was the builder’s key rotated? Then add the new one to signingKeys.`,
    });
  }
  // A build host that was judged, but by rules that this relying party has not agreed to.
  if (appraisalPolicies !== undefined && !ear.policyIds.every((id) => appraisalPolicies.includes(id))) {
    throw signatureError('POLICY_APPRAISAL', 'The build environment was judged by another policy.', {
      pointer: '/predicate/buildEnvironment/ear',
      hint: `It was ${ear.policyIds.join(', ')}. Add it to appraisalPolicies once you have read it.`,
    });
  }
  // An old image with known holes, long after it was replaced. A clock before the log's can't tell: refused too.
  const age = now.getTime() / 1000 - logged;
  if (maxAgeSeconds !== undefined && !(age >= -CLOCK_SKEW && age <= maxAgeSeconds)) {
    throw signatureError('POLICY_AGE', `The policy allows signatures of the last ${maxAgeSeconds} seconds.`, {
      hint: `This one was logged at ${isoTime(logged)}. Build the image again.`,
    });
  }
  // A result that was kept, and a signature made with it when the host may have been another.
  const waited = logged - ear.issuedAt.getTime() / 1000;
  if (maxResultAgeSeconds !== undefined && !(waited <= maxResultAgeSeconds)) {
    throw signatureError(
      'POLICY_RESULT_AGE',
      `The policy allows ${maxResultAgeSeconds} seconds from the session’s close to the log, not ${Math.round(waited)}.`,
      { pointer: '/predicate/buildEnvironment/ear', hint: 'Build the image again, with the log in reach.' },
    );
  }
}

/** How far a clock may be behind the log's, in seconds, and its owner still be believed about ages. */
const CLOCK_SKEW = 300;

function isoTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
