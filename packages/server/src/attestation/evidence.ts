import { createPublicKey, X509Certificate } from 'node:crypto';
import { heldOf } from '@kallio/appraisal';
import { type Digest, digestOf, fromBase64, KallioError } from '@kallio/codec';
import type { EvidenceMessage, Purpose } from '@kallio/evidence';
import { issueAttesterCertificate } from '@kallio/pki';
import type { EvidenceReply, Held } from '@kallio/protocol';
import type { ServerCode } from '../codes.ts';
import { failSessionsOf } from '../sessions/end.ts';
import type { Claim } from '../store/claims.ts';
import type { StoredResult } from '../store/results.ts';
import type { Store } from '../store/store.ts';
import { isoTime } from '../time.ts';
import {
  type Judged,
  judge,
  judgeAside,
  judgeSupposing,
  resultToSign,
  signResult,
  signResultAside,
} from './appraise.ts';
import { InStep } from './in-step.ts';
import { recordResult, showsNothingNew, steadyRecord } from './record.ts';
import type { Verifier } from './verifier.ts';

/** The admitted claim on a name; `ATTESTER_NOT_ADMITTED`. */
export function admittedClaim(store: Store, attester: string): Claim {
  const claim = store.claims.admittedAs(attester);
  if (claim !== undefined) return claim;
  throw notAdmitted(attester);
}

function notAdmitted(attester: string) {
  return new KallioError('ATTESTER_NOT_ADMITTED' satisfies ServerCode, `${attester} is not admitted here.`, {
    hint: 'Enrol it, or let the operator decide on its claim.',
  });
}

/** What a nonce is asked for. */
interface NonceQuestion {
  readonly attester: string;
  readonly purpose: Purpose;
  readonly session?: string | undefined;
}

/** A nonce for evidence, and where the attester's logs are to go on from. */
export function nonceFor(verifier: Verifier, asked: NonceQuestion, now: Date) {
  const held = heldOfClaim(verifier, admittedClaim(verifier.store, asked.attester));
  return { ...issued(verifier, asked, now), from: held };
}

/** The same for who shows no certificate. What is held is told to who was admitted by this enrolment, and no one else. */
export function nonceForStranger(
  verifier: Verifier,
  asked: NonceQuestion & { readonly enrolment?: string | undefined },
  now: Date,
) {
  const { attester, purpose, enrolment } = asked;
  // Attack: an outsider counts a machine's boots and starts, or tries out names. A nonce alone says nothing.
  if (enrolment === undefined) {
    return { ...issued(verifier, { attester, purpose }, now), from: { ima: 0, instanceLog: 0 } };
  }
  const claim = verifier.store.challenges.get(enrolment)?.claim;
  if (claim === undefined || verifier.store.claims.admittedAs(attester)?.claim !== claim)
    throw notAdmitted(attester);
  return nonceFor(verifier, { attester, purpose }, now);
}

function issued({ nonces }: Verifier, { attester, purpose, session }: NonceQuestion, now: Date) {
  const { nonce, expiresAt } = nonces.issue({ attester, purpose, session }, now);
  return { nonce, expiresAt: isoTime(expiresAt) };
}

/** What this server holds of a claim, and its evidence need not show again. */
export function heldOfClaim({ store, policies }: Verifier, claim: Claim): Held {
  return { ...heldOf(store.continuity.get(claim.claim)?.value, policies.get(claim.kind)) };
}

/**
 * Appraises evidence of purpose `attest`, signs the result and answers with what it came to.
 * COMMIT POINT: spent nonce, evidence, result and continuity are on disk, in one commit with those of whoever came at
 * the same time, before the answer goes out. Killed before that commit, the server has seen nothing, and the same
 * evidence may come again; killed after it, that evidence is `NONCE_SPENT`, and its result is there.
 */
export function submitEvidence(
  verifier: Verifier,
  attester: string,
  message: EvidenceMessage,
  now: Date,
): Promise<EvidenceReply> {
  const { turns, nonces, config, policies } = verifier;
  return turns.take(attester, async () => {
    const { judged, digest, record } =
      (await recordSteadily(verifier, attester, message, now)) ??
      (await recordAnything(verifier, attester, message, now));
    const { nextNonceSeconds } = config.attestation;
    const { nonce } = nonces.issue({ attester, purpose: 'attest' }, now, nextNonceSeconds);
    return {
      result: digest,
      platform: record.platform,
      instances: record.instances,
      acknowledged: { ...heldOf(judged.appraisal.next, policies.get(judged.claim.kind)) },
      next: { nonce, seconds: nextNonceSeconds },
    };
  });
}

/** Evidence that was judged, and its result, which is on disk. */
interface Recorded extends Pick<StoredResult, 'digest' | 'record'> {
  readonly judged: Judged;
}

/**
 * Records steady evidence by one question to another thread. Undefined, and nothing written, for any other: for what shows
 * something new, or comes to anything but a machine that is as well as before; where the quote's signature, which is taken to
 * hold until then, does not; and where things have changed while it was judged. {@link recordAnything} finds out which.
 * Throws where the thread ended: it may be on disk then, as it may be for whoever asks a server that was killed.
 * COMMIT POINT: once a result is returned it is on disk.
 */
async function recordSteadily(
  verifier: Verifier,
  attester: string,
  message: EvidenceMessage,
  now: Date,
): Promise<Recorded | undefined> {
  // Logs are judged once.
  if (!showsNothingNew(message)) return undefined;
  await inStep.begin();
  const claim = admittedClaim(verifier.store, attester);
  const supposed = judgeSupposing(verifier, claim, message, { purpose: 'attest' }, now);
  if (supposed === undefined) return undefined;
  const { judged, question } = supposed;
  await inStep.next();
  const steady = steadyRecord(verifier, judged, now);
  if (steady === undefined) return undefined;
  const { record, writes } = steady;
  await inStep.next();
  const signed = resultToSign(verifier, judged, now);
  await inStep.next();
  let digest: Digest | undefined;
  try {
    digest = await verifier.commits.record({ verify: question, ...signed, writes });
  } catch (cause) {
    // Stops the attester's next evidence from being judged from where it was before.
    verifier.store.continuity.forget(claim.claim);
    throw cause;
  }
  if (digest === undefined) return undefined;
  verifier.presence.heard(attester);
  return { judged, digest, record };
}

/** Records evidence of any kind. Its nonce is spent, whatever comes of it. */
async function recordAnything(
  verifier: Verifier,
  attester: string,
  message: EvidenceMessage,
  now: Date,
): Promise<Recorded> {
  const { store, nonces } = verifier;
  const claim = admittedClaim(store, attester);
  const judged = await judgeAside(verifier, claim, message, { purpose: 'attest' }, now);
  const ear = await signResultAside(verifier, judged, now);
  const result = await store.group(() =>
    store.transaction(() => {
      nonces.spend(judged.nonce);
      // Stops evidence of an attester that was refused, or whose TPM was replaced, while it was judged.
      if (admittedClaim(store, attester).claim !== judged.claim.claim) throw notAdmitted(attester);
      return recordOutsideSessions(verifier, judged, ear, now);
    }),
  );
  return { judged, ...result };
}

const inStep = new InStep();

/** What issues client certificates. */
export interface CertificateIssuer {
  readonly verifier: Verifier;
  readonly authority: { readonly certificate: string; readonly key: string };
}

/**
 * A short-lived client certificate for a TLS key whose hash stands in fresh evidence: so the machine that holds the
 * TLS key is the one whose TPM was quoted, and a stolen state folder or a relayed quote is of no use elsewhere.
 */
export function issueCertificate(
  { verifier, authority }: CertificateIssuer,
  message: EvidenceMessage,
  tlsKey: string,
  now: Date,
): Promise<{ certificate: string; notAfter: string }> {
  const { store, config, turns } = verifier;
  const spki = p256Spki(tlsKey);
  return turns.take(message.attester, async () => {
    const claim = admittedClaim(store, message.attester);
    const judged = judge(verifier, claim, message, { purpose: 'transport-key', tlsKey: digestOf(spki) }, now);
    const { platform } = judged.appraisal;
    // Anybody may call this: a message without an authentic quote must leave no trace in the attester's record.
    if (!judged.appraisal.authentic || platform.state === 'VIOLATED') {
      if (judged.appraisal.authentic) {
        const ear = signResult(verifier, judged, now);
        store.transaction(() => recordOutsideSessions(verifier, judged, ear, now));
      }
      const why = platform.refusals[0];
      throw new KallioError(
        'PLATFORM_REFUSED' satisfies ServerCode,
        `The evidence does not earn a certificate${why === undefined ? '.' : `: ${why.message} (${why.code})`}`,
        { pointer: why?.pointer },
      );
    }
    const { certificateSeconds } = config.attestation;
    const certificate = await issueAttesterCertificate(authority, {
      spki,
      trustDomain: config.trustDomain,
      attester: claim.attester,
      now,
      seconds: certificateSeconds,
    });
    const notAfter = now.getTime() + certificateSeconds * 1000;
    const ear = signResult(verifier, judged, now);
    store.transaction(() => {
      store.certificates.insert(new X509Certificate(certificate).fingerprint256, claim.claim, notAfter);
      recordOutsideSessions(verifier, judged, ear, now);
    });
    return { certificate, notAfter: isoTime(notAfter) };
  });
}

/** Records evidence that no session asked for; a violation in it ends the sessions under way. Call inside a transaction. */
function recordOutsideSessions(verifier: Verifier, judged: Judged, ear: string, now: Date): StoredResult {
  const result = recordResult(verifier, judged, ear, undefined, now);
  failSessionsOf(verifier.store, judged, now);
  return result;
}

/** The key's SPKI in the one encoding that has one digest. */
function p256Spki(tlsKey: string): Uint8Array {
  const given = fromBase64(tlsKey);
  try {
    const key = createPublicKey({ key: Buffer.from(given), format: 'der', type: 'spki' });
    const spki = new Uint8Array(key.export({ format: 'der', type: 'spki' }));
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1' && Buffer.compare(spki, given) === 0)
      return spki;
  } catch {
    // Not a key at all: refused below like any other that is not fit.
  }
  throw new KallioError(
    'TLS_KEY_UNSUPPORTED' satisfies ServerCode,
    'The TLS key must be a P-256 public key as SubjectPublicKeyInfo, DER.',
    { pointer: '/tlsKey' },
  );
}
