import type { Continuity } from '@kallio/appraisal';
import {
  type Appraisal,
  type AppraisalPolicy,
  appraise,
  issueEar,
  type SessionClaims,
} from '@kallio/appraisal';
import { canonicalBytes, type Digest, digestOf, KallioError, type Refusal, utf8 } from '@kallio/codec';
import type { EvidenceMessage } from '@kallio/evidence';
import type { EvidenceReply, SubjectState } from '@kallio/protocol';
import type { ServerCode } from '../codes.ts';
import type { Claim } from '../store/claims.ts';
import type { AppraisalRecord, StoredResult } from '../store/results.ts';
import type { Verifier } from './verifier.ts';

/** What the verifier knows about the evidence it asked for, beside attester and nonce. */
export interface Asked {
  readonly purpose: EvidenceMessage['purpose'];
  readonly session?: string;
  readonly subject?: Digest;
  readonly statement?: Digest;
  readonly signingKey?: Digest;
  readonly tlsKey?: Digest;
}

/** Evidence that was judged, and not yet recorded. */
export interface Judged {
  readonly claim: Claim;
  readonly policy: AppraisalPolicy;
  readonly message: EvidenceMessage;
  readonly appraisal: Appraisal;
  /** Version of the continuity it was judged from. */
  readonly version: number;
}

/** Longest list of reasons that is kept; the first ones say what is wrong. */
const MAX_REASONS = 64;

/**
 * Judges evidence that answers a question of this server: spends its nonce, then appraises. Hold the attester's turn.
 * Throws only for what makes the message no answer at all (`EVIDENCE_*`, `NONCE_*`, `POLICY_MISSING`).
 */
export function judge(
  verifier: Verifier,
  claim: Claim,
  message: EvidenceMessage,
  asked: Asked,
  now: Date,
): Judged {
  const { store, policies, sets, images, nonces } = verifier;
  // Stops one attester's evidence from being shown as another's; the quote is bound to the id as well.
  if (message.attester !== claim.attester) {
    throw new KallioError(
      'EVIDENCE_OTHER_ATTESTER' satisfies ServerCode,
      `This evidence is ${message.attester}’s, not ${claim.attester}’s.`,
      { pointer: '/attester' },
    );
  }
  // Stops evidence gathered for one end from serving another.
  if (message.purpose !== asked.purpose) {
    throw new KallioError(
      'EVIDENCE_WRONG_PURPOSE' satisfies ServerCode,
      `Evidence for ${asked.purpose} was asked for, this is for ${message.purpose}.`,
      { pointer: '/purpose' },
    );
  }
  const policy = policies.get(claim.kind);
  if (policy === undefined) {
    throw new KallioError(
      'POLICY_MISSING' satisfies ServerCode,
      `This server has no appraisal policy for a ${claim.kind}, so nothing can be verified.`,
      { hint: `The operator writes policies/${claim.kind}.json in the data folder.` },
    );
  }
  nonces.spend(
    message.nonce,
    { attester: claim.attester, purpose: asked.purpose, session: asked.session },
    now,
  );
  const kept = store.continuity.get(claim.claim);
  const appraisal = appraise({
    message,
    expected: { ...asked, attester: claim.attester, nonce: message.nonce },
    akPublic: claim.akPublic,
    ...(kept === undefined ? {} : { previous: kept.value }),
    policy,
    sets,
    images: (image) => images.get(image),
    now,
  });
  return {
    claim,
    policy,
    message,
    appraisal,
    version: kept?.version ?? 0,
  };
}

/** Signs the result of judged evidence. With `session`, the result of a closed session. */
export async function signResult(
  { config, keys }: Verifier,
  { claim, appraisal, policy }: Judged,
  now: Date,
  session?: SessionClaims,
): Promise<string> {
  const { resultSeconds, sessionResultSeconds } = config.attestation;
  return issueEar({
    issuer: config.issuer,
    attester: claim.attester,
    appraisal,
    policyId: policy.id,
    issuedAt: now,
    ttlSeconds: session === undefined ? resultSeconds : sessionResultSeconds,
    key: keys.active.key,
    keyId: keys.active.keyId,
    ...(session === undefined ? {} : { session }),
  });
}

/** Stores evidence, result and continuity as one; call inside a transaction. */
export function recordResult(
  { store }: Verifier,
  judged: Judged,
  ear: string,
  session: string | undefined,
  now: Date,
): StoredResult {
  const { claim, message, appraisal } = judged;
  const evidence = appraisal.evidenceDigest;
  const at = now.getTime();
  store.evidence.put(evidence, claim.attester, at, canonicalBytes(message));
  const result: StoredResult = {
    digest: digestOf(utf8(ear)),
    claim: claim.claim,
    at,
    ear,
    record: recordOf(judged, session),
  };
  store.results.insert(result);
  // What did not hold proves nothing about the attester: anybody may have sent it.
  if (appraisal.authentic && appraisal.next !== undefined) {
    store.continuity.set(claim.claim, judged.version, appraisal.next, result.digest);
  }
  return result;
}

/** What a result looks like to the attester that showed the evidence. */
export function evidenceReply(result: StoredResult, acknowledged: Acknowledged): EvidenceReply {
  return {
    ear: result.ear,
    result: result.digest,
    platform: result.record.platform,
    instances: result.record.instances,
    acknowledged,
  };
}

/** From where on an attester's logs are new to this server. */
export interface Acknowledged {
  readonly boot: number;
  readonly ima: number;
  readonly instanceLog: number;
}

/** What is acknowledged of a claim's logs; zeros before there is anything. */
export function acknowledgedOf(continuity: Continuity | undefined): Acknowledged {
  if (continuity === undefined) return { boot: 0, ima: 0, instanceLog: 0 };
  return {
    boot: continuity.boot.resetCount,
    ima: continuity.ima?.entries ?? 0,
    instanceLog: continuity.instanceLog.entries,
  };
}

function recordOf({ appraisal, claim, message, policy }: Judged, session?: string): AppraisalRecord {
  const instances: Record<string, SubjectState> = Object.create(null);
  for (const [id, instance] of appraisal.instances) {
    instances[id] = { state: instance.state, reasons: reasonsOf(instance.refusals) };
  }
  return {
    attester: claim.attester,
    purpose: message.purpose,
    ...(session === undefined ? {} : { session }),
    policy: policy.id,
    platform: {
      state: appraisal.platform.state,
      ...(appraisal.platform.tier === undefined ? {} : { tier: appraisal.platform.tier }),
      reasons: reasonsOf(appraisal.platform.refusals),
    },
    limits: [...appraisal.platform.limits],
    instances,
    ...(appraisal.boot === undefined ? {} : { boot: appraisal.boot.resetCount }),
    evidence: appraisal.evidenceDigest,
  };
}

function reasonsOf(refusals: readonly Refusal[]): Refusal[] {
  return refusals.slice(0, MAX_REASONS).map((r) => ({ ...r }));
}
