import type { KeyObject } from 'node:crypto';
import {
  borrowUtf8,
  canonicalBytes,
  canonicalize,
  KallioError,
  type Refusal,
  toBase64Url,
  utf8,
} from '@kallio/codec';
import type { Appraisal, PlatformAppraisal } from '../appraise.ts';
import type { AppraisalCode } from '../codes.ts';
import type { InstanceAppraisal } from '../instances.ts';
import {
  EAR_PROFILE,
  EAR_TYPE,
  type EarPayload,
  EXTENSION,
  INSTANCE_PREFIX,
  type InstanceClaims,
  type PlatformClaims,
  type SessionClaims,
  type TrustVector,
} from './claims.ts';
import { requireP256, type SignAside, signEs256, signEs256Aside } from './es256.ts';
import { statusOf, vectorOf } from './vector.ts';

/** What a signed result is made from. */
export interface EarInput {
  /** Name of the attestation server: `iss`. */
  readonly issuer: string;
  /** `sub`. */
  readonly attester: string;
  readonly appraisal: Appraisal;
  readonly policyId: string;
  readonly issuedAt: Date;
  readonly ttlSeconds: number;
  /** P-256 private key. */
  readonly key: KeyObject;
  /** `kid`: which of the published keys it is. */
  readonly keyId: string;
  /** For the result of a closed session. */
  readonly session?: SessionClaims;
}

/** Most reasons that a result repeats for one subject; the appraisal record has all of them. */
const MAX_REASONS = 8;
const MAX_TEXT = 512;
/** Most bytes of claims: relying parties take a result of 64 KiB, base64 and signature included. */
const MAX_CLAIMS = 46 * 1024;

/** What the claims of a result are made from. */
export type EarFacts = Omit<EarInput, 'key' | 'keyId'>;

/**
 * Signs the result of an appraisal as EAR (draft-ietf-rats-ear-04): a compact JWT of type `application/eat+jwt`, ES256.
 * Sub-modules: `platform`; `instance:<name>` for each instance; `build-env` for a closed session.
 */
export function issueEar(input: EarInput): string {
  return signEar(earPayload(input), input);
}

/** The same, with the arithmetic of the signature on another thread. */
export async function issueEarAside(input: EarInput, signAside: SignAside): Promise<string> {
  const signed = earToSign(input);
  return `${signed}.${toBase64Url(await signEs256Aside(input.key, utf8(signed), signAside))}`;
}

/** What is signed of an EAR: header and payload. The EAR is this, a dot, and the signature as {@link es256OfDer} has it. */
export function earToSign(input: EarInput): string {
  requireP256(input.key);
  return signedText(earPayload(input), input.keyId);
}

/** Signs the bytes of claims. */
export function signEar(payload: Uint8Array, { key, keyId }: Pick<EarInput, 'key' | 'keyId'>): string {
  const signed = signedText(payload, keyId);
  return `${signed}.${toBase64Url(signEs256(key, utf8(signed)))}`;
}

/** Header and payload, as they are signed (RFC 7515 section 5.1). */
function signedText(payload: Uint8Array, keyId: string): string {
  return `${headerOf(keyId)}.${toBase64Url(payload)}`;
}

/** The header that was made last: a server signs with one key. */
let header = { keyId: '', text: '' };

function headerOf(keyId: string): string {
  if (header.keyId !== keyId || header.text === '') {
    header = { keyId, text: toBase64Url(canonicalBytes({ alg: 'ES256', typ: EAR_TYPE, kid: keyId })) };
  }
  return header.text;
}

/** The claims of a result, JCS. The same facts always give the same bytes, so that anybody can make them again. */
export function earPayload(facts: EarFacts): Uint8Array {
  const before = lastClaims.get(facts.appraisal.platform);
  const isLike = before !== undefined && differsInTime(before.facts, facts);
  return borrowUtf8(isLike ? before.at(facts) : claimsText(facts));
}

function claimsText(facts: EarFacts): string {
  const { appraisal, attester, issuer, session } = facts;
  if (session !== undefined && appraisal.platform.state !== 'VERIFIED') {
    // A build environment that was not verified must not get the claims that make an image's signature.
    throw new KallioError('EAR_SESSION_NOT_VERIFIED', 'Only a VERIFIED platform closes a session.');
  }
  const payload: EarPayload = {
    iss: issuer,
    sub: attester,
    ...timesOf(facts),
    eat_profile: EAR_PROFILE,
    ear_verifier_id: { developer: 'https://kallio.dev', build: 'kallio 0.1.0' },
    submods: {
      platform: platformClaims(facts),
      ...(session === undefined ? {} : { 'build-env': buildEnvironment(session, facts) }),
    },
  };
  const text = withInstances(payload, facts);
  keepClaims(facts, text);
  return text;
}

function timesOf({ issuedAt, ttlSeconds }: EarFacts): { readonly iat: number; readonly exp: number } {
  const iat = Math.floor(issuedAt.getTime() / 1000);
  return { iat, exp: iat + ttlSeconds };
}

/** Claims that were written, and how they are written with another time and the digest of other evidence. */
interface WrittenClaims {
  readonly facts: LastingFacts;
  at(facts: EarFacts): string;
}

/** What the claims are made from beside their time and the digest of the evidence. */
type LastingFacts = Pick<EarFacts, 'issuer' | 'attester' | 'policyId'> &
  Pick<Appraisal, 'authentic' | 'instances'> & { readonly boot: number | undefined };

/** What was claimed last of a machine: as long as nothing happens on it, its appraisals share what it came to. */
const lastClaims = new WeakMap<PlatformAppraisal, WrittenClaims>();

function lastingOf({ issuer, attester, policyId, appraisal }: EarFacts): LastingFacts {
  const { authentic, instances, boot } = appraisal;
  return { issuer, attester, policyId, authentic, instances, boot: boot?.resetCount };
}

/** Whether claims of these facts differ from those before in nothing but times and the digest of the evidence. */
function differsInTime(before: LastingFacts, facts: EarFacts): boolean {
  const { issuer, attester, policyId, appraisal, session } = facts;
  return (
    session === undefined &&
    before.issuer === issuer &&
    before.attester === attester &&
    before.policyId === policyId &&
    before.authentic === appraisal.authentic &&
    before.instances === appraisal.instances &&
    before.boot === appraisal.boot?.resetCount
  );
}

function keepClaims(facts: EarFacts, text: string): void {
  if (facts.session !== undefined) return;
  // In canonical JSON these two are neighbours, and a string holds no quotation mark that could look like theirs.
  const [head, rest, ...again] = text.split(timesText(facts));
  const [middle, tail, ...more] = rest?.split(facts.appraisal.evidenceDigest) ?? [];
  const isOnce =
    again.length === 0 && more.length === 0 && head?.includes(facts.appraisal.evidenceDigest) === false;
  if (!isOnce || middle === undefined || tail === undefined) return;
  lastClaims.set(facts.appraisal.platform, {
    facts: lastingOf(facts),
    at: (later) => head + timesText(later) + middle + later.appraisal.evidenceDigest + tail,
  });
}

function timesText(facts: EarFacts): string {
  const { iat, exp } = timesOf(facts);
  return `"exp":${exp},"iat":${iat},`;
}

/** The claims as they are signed: with a sub-module for each instance, or for as many as there is room for. */
function withInstances(payload: EarPayload, input: EarFacts): string {
  const submodules = [...input.appraisal.instances].map(
    ([id, instance]) => [INSTANCE_PREFIX + id, instanceClaims(instance, input)] as const,
  );
  const textWith = (some: typeof submodules) =>
    canonicalize({ ...payload, submods: { ...payload.submods, ...Object.fromEntries(some) } }, written);
  const all = textWith(submodules);
  if (Buffer.byteLength(all) <= MAX_CLAIMS) return all;
  return textWith(asManyAsFit(submodules, Buffer.byteLength(textWith([]))));
}

/** VERIFIED ones first: an instance that a result does not name is not VERIFIED, so leaving a bad one out helps nobody. */
function asManyAsFit(submodules: (readonly [string, InstanceClaims])[], others: number) {
  const good = ([, claims]: readonly [string, InstanceClaims]) => claims[EXTENSION].state === 'VERIFIED';
  let room = MAX_CLAIMS - others;
  const ordered = [...submodules.filter(good), ...submodules.filter((one) => !good(one))];
  const end = ordered.findIndex(([name, claims]) => {
    room -= canonicalBytes({ [name]: claims }).length;
    return room < 0;
  });
  return end === -1 ? ordered : ordered.slice(0, end);
}

function platformClaims({ appraisal, policyId }: EarFacts): PlatformClaims {
  const { authentic, boot, evidenceDigest, platform } = appraisal;
  const vector = vectorOf(authentic ? affirmedOf(platform) : {}, platform.refusals);
  return {
    ear_status: statusOf(platform.state, vector),
    ear_trustworthiness_vector: vector,
    ear_appraisal_policy_ids: [policyId],
    [EXTENSION]: {
      state: platform.state,
      ...(platform.tier === undefined ? {} : { tier: platform.tier }),
      ...(boot === undefined ? {} : { boot: boot.resetCount }),
      evidence: evidenceDigest,
      reasons: reasonsOf(platform.refusals),
      limits: limitsOf(platform.limits),
    },
  };
}

const clippedLimits = new WeakMap<readonly string[], string[]>();

/** The sentences, clipped; the same array for the same. */
function limitsOf(limits: readonly string[]): string[] {
  let known = clippedLimits.get(limits);
  if (known === undefined) {
    known = limits.map((limit) => clipped(limit));
    clippedLimits.set(limits, known);
    texts.set(known, canonicalize(known));
  }
  return known;
}

/** What a tier lets a verifier affirm when nothing speaks against it. */
function affirmedOf({ tier, endorsement }: PlatformAppraisal): TrustVector {
  // A virtual TPM says nothing of the hardware below it.
  const hardware: TrustVector = endorsement === 'maker' ? { hardware: 2 } : {};
  switch (tier) {
    case 'A':
      return { 'instance-identity': 2, configuration: 2, executables: 2, 'file-system': 2, ...hardware };
    case 'B':
      return { 'instance-identity': 2, configuration: 2, executables: 2, ...hardware };
    default:
      // Which firmware and programs run is not shown: no claim is made of them.
      return { 'instance-identity': 2, configuration: 2 };
  }
}

interface Claimed {
  readonly policyId: string;
  readonly claims: InstanceClaims;
}

/** What was claimed last of an instance: as long as nothing happens on a machine, its appraisals share their instances. */
const claimed = new WeakMap<InstanceAppraisal, Claimed>();
/** Parts of claims in canonical form. */
const texts = new WeakMap<object, string>();

function instanceClaims(instance: InstanceAppraisal, facts: EarFacts): InstanceClaims {
  const before = claimed.get(instance);
  if (before?.policyId === facts.policyId) return before.claims;
  const claims = claimsOf(instance, facts);
  claimed.set(instance, { policyId: facts.policyId, claims });
  texts.set(claims, canonicalize(claims));
  return claims;
}

function written(part: object): string | undefined {
  return texts.get(part);
}

function claimsOf(instance: InstanceAppraisal, { policyId }: EarFacts): InstanceClaims {
  const vector = vectorOf({ executables: 2, 'file-system': 2 }, instance.refusals);
  return {
    ear_status: statusOf(instance.state, vector),
    ear_trustworthiness_vector: vector,
    ear_appraisal_policy_ids: [policyId],
    [EXTENSION]: {
      state: instance.state,
      container: instance.container,
      ...(instance.image === undefined ? {} : { image: instance.image }),
      reasons: reasonsOf(instance.refusals),
    },
  };
}

function buildEnvironment(session: SessionClaims, { appraisal, policyId }: EarFacts) {
  const vector = affirmedOf(appraisal.platform);
  return {
    ear_status: statusOf(appraisal.platform.state, vector),
    ear_trustworthiness_vector: vector,
    ear_appraisal_policy_ids: [policyId],
    [EXTENSION]: { session },
  };
}

function reasonsOf(refusals: readonly Refusal<AppraisalCode>[]) {
  return refusals.slice(0, MAX_REASONS).map(({ code, message, pointer }) => ({
    code,
    message: clipped(message),
    ...(pointer === undefined ? {} : { pointer: clipped(pointer) }),
  }));
}

/** At most so many code units, and never half a surrogate pair. */
function clipped(text: string): string {
  return text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT - 2).toWellFormed()}…`;
}
