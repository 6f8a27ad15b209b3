import type { AttesterSummary, SubjectState } from '@kallio/protocol';
import { staleReason } from '../events/changes.ts';
import type { Claim } from '../store/claims.ts';
import type { StoredResult } from '../store/results.ts';
import { isoTime } from '../time.ts';
import type { Verifier } from './verifier.ts';

/**
 * How a claim stands now. What was VERIFIED or DEGRADED turns STALE by the server's clock when `staleSeconds` are past;
 * this is worked out on every reading and never stored, so nothing has to run for it to become true.
 */
function standingOf(
  { store, config }: Pick<Verifier, 'store' | 'config'>,
  claim: Claim,
  now: Date,
): { readonly subject: SubjectState; readonly result?: StoredResult } {
  const result = store.results.latest(claim.claim);
  if (result === undefined) return { subject: { state: 'UNKNOWN', reasons: [] } };
  const { platform } = result.record;
  const good = platform.state === 'VERIFIED' || platform.state === 'DEGRADED';
  const { staleSeconds } = config.attestation;
  if (!good || now.getTime() - result.at <= staleSeconds * 1000) return { subject: platform, result };
  return {
    subject: { ...platform, state: 'STALE', reasons: [staleReason(result.at, staleSeconds)] },
    result,
  };
}

/** A claim and its standing, as everybody is told it. */
export function summaryOf(
  verifier: Pick<Verifier, 'store' | 'config' | 'presence'>,
  claim: Claim,
  now: Date,
): AttesterSummary {
  const { subject, result } = standingOf(verifier, claim, now);
  const admission = claim.state === 'superseded' ? 'refused' : claim.state;
  return {
    attester: claim.attester,
    kind: claim.kind,
    admission,
    // Whoever is not admitted is not known, whatever it once showed.
    state: admission === 'admitted' ? subject.state : 'UNKNOWN',
    ...(subject.tier === undefined ? {} : { tier: subject.tier }),
    ek: claim.ek,
    ak: claim.ak,
    enrolledAt: isoTime(claim.createdAt),
    ...(result === undefined
      ? {}
      : {
          lastEvidenceAt: isoTime(result.at),
          result: result.digest,
          ...(result.record.boot === undefined ? {} : { boot: result.record.boot }),
        }),
    ...(admission === 'admitted'
      ? {
          reachability: verifier.presence.of(
            claim.attester,
            { lastEvidenceAt: result?.at, updating: (result?.record.updates ?? []).length > 0 },
            now,
          ),
        }
      : {}),
    reasons: [...(claim.reason === undefined ? [] : [claim.reason]), ...subject.reasons],
  };
}
