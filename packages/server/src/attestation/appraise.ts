import type { KeyObject } from 'node:crypto';
import {
  type Appraisal,
  type AppraisalPolicy,
  appraise,
  type Continuity,
  type EarInput,
  type Endorsement,
  earToSign,
  issueEar,
  issueEarAside,
  type SessionClaims,
} from '@kallio/appraisal';
import { type Digest, KallioError } from '@kallio/codec';
import { CheckedSignature, type EvidenceMessage } from '@kallio/evidence';
import type { AttesterKind } from '@kallio/protocol';
import type { VerifyQuestion } from '@kallio/tpm/structures';
import type { ServerCode } from '../codes.ts';
import type { Policies } from '../policies/policies.ts';
import type { Claim } from '../store/claims.ts';
import type { KeptContinuity } from '../store/continuity.ts';
import { writtenForm } from './message-reader.ts';
import type { Nonce } from './nonces.ts';
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
  readonly asked: Asked;
  readonly nonce: Nonce;
  readonly endorsement: Endorsement;
  /** Images whose reference values were used. */
  readonly images: ReadonlySet<Digest>;
  /** What was kept of the attester before. */
  readonly previous?: Continuity;
  /** Version of the continuity it was judged from. */
  readonly version: number;
}

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
  const answer = answerTo(verifier, claim, message, asked, now);
  // COMMIT POINT: the nonce is spent before anything is judged.
  verifier.nonces.spend(answer.nonce);
  return judgeAnswer(verifier, answer, undefined, now);
}

/**
 * The same, with the arithmetic of the signature on another thread, and the nonce not spent yet: spend it in the
 * transaction that records what was judged. Where this throws, it is spent.
 */
export async function judgeAside(
  verifier: Verifier,
  claim: Claim,
  message: EvidenceMessage,
  asked: Asked,
  now: Date,
): Promise<Judged> {
  const answer = answerTo(verifier, claim, message, asked, now);
  const checked = await CheckedSignature.of(message.quote, akOf(verifier, claim), (...asked) =>
    verifier.arithmetic.verify(...asked),
  );
  try {
    return judgeAnswer(verifier, answer, checked, now);
  } catch (cause) {
    // COMMIT POINT: what was looked at is used up, whatever came of it.
    verifier.nonces.spend(answer.nonce);
    throw cause;
  }
}

/** Evidence that was judged as if its quote's signature held. */
export interface Supposed {
  readonly judged: Judged;
  /** Whether it does. Until that is known nothing that was judged may be told or kept. */
  readonly question: VerifyQuestion;
}

/**
 * The same, with the signature taken to hold, and nothing spent. Undefined for evidence that does not come to a judgement so:
 * {@link judgeAside} says to what it does.
 */
export function judgeSupposing(
  verifier: Verifier,
  claim: Claim,
  message: EvidenceMessage,
  asked: Asked,
  now: Date,
): Supposed | undefined {
  const answer = answerTo(verifier, claim, message, asked, now);
  const taken = CheckedSignature.takenToHold(message.quote, akOf(verifier, claim));
  if (taken === undefined) return undefined;
  try {
    return { judged: judgeAnswer(verifier, answer, taken.checked, now), question: taken.question };
  } catch (cause) {
    // What is wrong with it counts only once the signature is known to hold.
    if (cause instanceof KallioError) return undefined;
    throw cause;
  }
}

/** A message that answers a question of this server, and the policy it is to be judged by. */
interface Answer {
  readonly claim: Claim;
  readonly message: EvidenceMessage;
  readonly asked: Asked;
  readonly policy: AppraisalPolicy;
  readonly nonce: Nonce;
}

function answerTo(
  { policies, nonces }: Verifier,
  claim: Claim,
  message: EvidenceMessage,
  asked: Asked,
  now: Date,
): Answer {
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
  const policy = policyInForce(policies, claim.kind);
  const terms = { attester: claim.attester, purpose: asked.purpose, session: asked.session };
  return { claim, message, asked, policy, nonce: nonces.recognise(message.nonce, terms, now) };
}

/** The policy in force for a kind of attester; `POLICY_MISSING`. */
export function policyInForce(policies: Policies, kind: AttesterKind): AppraisalPolicy {
  const policy = policies.get(kind);
  if (policy !== undefined) return policy;
  throw new KallioError(
    'POLICY_MISSING' satisfies ServerCode,
    `This server has no appraisal policy for a ${kind}, so nothing can be verified.`,
    { hint: `The operator puts one in force: kallio policy set --kind ${kind} FILE` },
  );
}

function judgeAnswer(
  verifier: Verifier,
  { claim, message, asked, policy, nonce }: Answer,
  checked: CheckedSignature | undefined,
  now: Date,
): Judged {
  const { store, policies, images } = verifier;
  const kept = store.continuity.get(claim.claim);
  const used = new Set<Digest>();
  const lookUp = images.once();
  const endorsement = endorsementOf(claim, verifier.config);
  const appraisal = appraise({
    message,
    written: writtenForm(message),
    expected: { ...asked, attester: claim.attester, nonce: message.nonce },
    akPublic: akOf(verifier, claim),
    checked,
    endorsement,
    ...(kept === undefined ? {} : { previous: kept.value }),
    policy,
    sets: policies.sets,
    images: (image) => {
      const reference = lookUp(image);
      if (reference !== undefined) used.add(image);
      return reference;
    },
    now,
  });
  requirePlace(appraisal);
  requireFresh(verifier, nonce, kept, appraisal, now);
  return {
    claim,
    policy,
    message,
    appraisal,
    asked,
    nonce,
    endorsement,
    images: used,
    ...(kept === undefined ? {} : { previous: kept.value }),
    version: kept?.version ?? 0,
  };
}

/** The same array each time. */
function akOf({ aks }: Verifier, { ak, akPublic }: Claim): Uint8Array {
  const known = aks.get(ak);
  if (known === undefined) aks.set(ak, akPublic);
  return known ?? akPublic;
}

/** How far this server believes who certified a claim’s TPM: only as far as its configuration says. */
function endorsementOf({ ekRoot }: Claim, { enrolment }: Verifier['config']): Endorsement {
  const endorser = enrolment.endorsers.find(({ root }) => root === ekRoot);
  if (endorser === undefined) return { kind: 'private' };
  return endorser.kind === 'maker' ? { kind: 'maker' } : { kind: 'hypervisor', reason: endorser.reason };
}

/**
 * Throws for honest evidence that goes on from a place where this server is not: one that was restored from a backup,
 * or lost. It is no answer, and says nothing about the machine; to come with it is like staying away.
 */
function requirePlace({ authentic, platform }: Appraisal): void {
  const place = platform.refusals.find(({ code }) => code === 'LOG_POSITION');
  if (!authentic || platform.state !== 'UNKNOWN' || place === undefined) return;
  throw new KallioError('EVIDENCE_POSITION' satisfies ServerCode, place.message, {
    ...place,
    hint: 'Ask for a nonce: its answer says where to go on from.',
  });
}

/** TPM time may run slow, by a third at most of what it should (TPM 2.0 Part 1, 36.2 allows less). */
const SLOWEST_CLOCK = 2 / 3;

/**
 * Throws for evidence that was made long before it was shown, with a nonce that came in the answer before. Such a nonce
 * lives longer than one that was asked for, and quoting at once with it would let a machine that is well keep a quote
 * for the time when it is not. The TPM's own clock says when the quote was made.
 */
function requireFresh(
  { config }: Verifier,
  nonce: Nonce,
  kept: KeptContinuity | undefined,
  { authentic, boot }: Appraisal,
  now: Date,
): void {
  const allowed = config.attestation.nonceSeconds * 1000;
  const waited = now.getTime() - nonce.issuedAt;
  if (!authentic || boot === undefined || kept === undefined || waited <= allowed) return;
  const before = kept.value.boot;
  // In another boot the quote is later than the reboot; TPM2_Startup(STATE) may have stopped the clock in between.
  if (boot.resetCount !== before.resetCount || boot.restartCount !== before.restartCount) return;
  // The nonce is no older than the quote before it: since then the TPM's clock must have gone on nearly as far as ours.
  if (Number(boot.clock - before.clock) >= (waited - allowed) * SLOWEST_CLOCK) return;
  throw new KallioError(
    'NONCE_EXPIRED' satisfies ServerCode,
    'By the TPM’s clock this evidence was made long before it was shown.',
    { hint: 'Ask for another nonce and quote again.' },
  );
}

/** Signs the result of judged evidence. With `session`, the result of a closed session. */
export function signResult(verifier: Verifier, judged: Judged, now: Date, session?: SessionClaims): string {
  return issueEar(resultOf(verifier, judged, now, session));
}

/** The same, with the arithmetic of the signature on another thread. */
export function signResultAside(verifier: Verifier, judged: Judged, now: Date): Promise<string> {
  return issueEarAside(resultOf(verifier, judged, now), (...asked) => verifier.arithmetic.sign(...asked));
}

/** What is signed of the result, and the key that signs it. */
export function resultToSign(
  verifier: Verifier,
  judged: Judged,
  now: Date,
): { sign: string; key: KeyObject } {
  const input = resultOf(verifier, judged, now);
  return { sign: earToSign(input), key: input.key };
}

function resultOf(
  { config, keys }: Verifier,
  { claim, appraisal, policy }: Judged,
  now: Date,
  session?: SessionClaims,
): EarInput {
  const { resultSeconds, sessionResultSeconds } = config.attestation;
  return {
    issuer: config.issuer,
    attester: claim.attester,
    appraisal,
    policyId: policy.id,
    issuedAt: now,
    ttlSeconds: session === undefined ? resultSeconds : sessionResultSeconds,
    key: keys.active.key,
    keyId: keys.active.keyId,
    ...(session === undefined ? {} : { session }),
  };
}
