import { createHmac, randomBytes } from 'node:crypto';
import { equalBytes, fromBase64, KallioError, sha256, toBase64, toHex } from '@kallio/codec';
import { verifyEkChain } from '@kallio/pki';
import type { EnrolChallenge, EnrolRequest, ProtocolCode } from '@kallio/protocol';
import { enrolmentTranscript } from '@kallio/protocol';
import { newId } from '@kallio/protocol/serve';
import {
  checkAk,
  checkEk,
  fingerprintOf,
  makeCredential,
  nameOf,
  parsePublic,
  publicKeyOf,
} from '@kallio/tpm/structures';
import type { ServerCode } from '../codes.ts';
import { hashToken } from '../secrets.ts';
import type { ServerConfig } from '../setup/config.ts';
import type { ProvenClaim } from '../store/claims.ts';
import type { Store } from '../store/store.ts';
import { isoTime } from '../time.ts';

/** What enrolment works with. */
export interface Enrolment {
  readonly store: Store;
  readonly config: ServerConfig;
  /** DER of the roots that EK certificates may chain to. */
  readonly ekRoots: readonly Uint8Array[];
}

/**
 * First half of enrolment: checks what can be checked of the claim without the TPM, and makes a challenge that only
 * a TPM with this EK *and* this AK can answer (TPM 2.0 Part 1, "Credential Protection"). `source` is the address it
 * came from. Nothing about the attester is believed or stored as its own before the answer.
 */
export async function beginEnrolment(
  { store, config, ekRoots }: Enrolment,
  request: EnrolRequest,
  source: string,
  now: Date,
): Promise<EnrolChallenge> {
  const time = now.getTime();
  limitOutstanding(store, config, source, time);
  const joinToken = request.joinToken === undefined ? undefined : hashToken(request.joinToken);
  if (joinToken !== undefined && !store.joinTokens.admits(joinToken, request.kind, request.attester, time)) {
    throw new KallioError(
      'ENROL_JOIN_TOKEN_INVALID' satisfies ServerCode,
      'This join token does not admit this attester.',
      {
        hint: 'It may be used up, past its time, or made for another name or kind. Ask the operator for a new one.',
      },
    );
  }
  const claimed = checkClaim(request, ekRoots, now);
  const challenge = newId();
  const expiresAt = time + config.enrolment.challengeSeconds * 1000;
  const secret = new Uint8Array(randomBytes(32));
  const ek = parsePublic(claimed.ekPublic);
  const credential = makeCredential(ek, nameOf(claimed.akPublic), secret);
  store.transaction(() => {
    // Checked again where it counts: other requests may have got theirs since.
    limitOutstanding(store, config, source, time);
    store.challenges.insert(
      {
        challenge,
        answer: answerHash(secret, claimed, challenge),
        claimed,
        ...(joinToken === undefined ? {} : { joinToken }),
        expiresAt,
      },
      source,
    );
  });
  return {
    challenge,
    credentialBlob: toBase64(credential.credentialBlob),
    encryptedSecret: toBase64(credential.encryptedSecret),
    expiresAt: isoTime(expiresAt),
  };
}

/** Keeps a flood of half-made enrolments from filling the store, or from shutting others out. */
function limitOutstanding(store: Store, config: ServerConfig, source: string, now: number): void {
  const { all, fromSource } = store.challenges.outstanding(source, now);
  const { maxChallenges, maxChallengesPerSource } = config.enrolment;
  if (all < maxChallenges && fromSource < maxChallengesPerSource) return;
  throw new KallioError('RATE_LIMITED' satisfies ProtocolCode, 'Too many enrolments wait for their answer.', {
    hint: `Try again in ${config.enrolment.challengeSeconds} seconds.`,
  });
}

function checkClaim(request: EnrolRequest, ekRoots: readonly Uint8Array[], now: Date): ProvenClaim {
  if (ekRoots.length === 0) {
    throw new KallioError('ENROL_NO_ROOTS' satisfies ServerCode, 'This server trusts no TPM maker yet.', {
      hint: 'The operator puts the makers’ root certificates (PEM) into the data folder’s ek-roots.',
    });
  }
  const ekCertificate = fromBase64(request.ekCertificate);
  const ekPublic = fromBase64(request.ekPublic);
  const akPublic = fromBase64(request.akPublic);
  // Stops a key that no TPM maker vouches for.
  const endorsement = verifyEkChain({
    certificate: ekCertificate,
    intermediates: request.intermediates.map(fromBase64),
    roots: [...ekRoots],
    now,
  });
  const ek = parsePublic(ekPublic);
  // Stops a genuine certificate shown beside a key that software holds.
  const spki = new Uint8Array(publicKeyOf(ek).export({ format: 'der', type: 'spki' }));
  if (!equalBytes(spki, endorsement.spki)) {
    throw new KallioError(
      'ENROL_EK_MISMATCH' satisfies ServerCode,
      'The EK that was shown is not the one in the EK certificate.',
      { pointer: '/ekPublic' },
    );
  }
  // Stops an EK whose use the owner of the machine could widen.
  checkEk(ek);
  // Stops an AK that would sign what its holder made up; each property has its reason there.
  const ak = parsePublic(akPublic);
  checkAk(ak);
  return {
    attester: request.attester,
    kind: request.kind,
    ek: toHex(fingerprintOf(ek)),
    ekPublic,
    ekCertificate,
    ekRoot: endorsement.rootFingerprint,
    ak: toHex(nameOf(ak)),
    akPublic,
  };
}

/** SHA-256 of the MAC over the transcript: enough to recognise the answer, and of no use to make one. */
function answerHash(secret: Uint8Array, claimed: ProvenClaim, challenge: string): Uint8Array {
  const { attester, kind, ek, ak } = claimed;
  const mac = createHmac('sha256', secret).update(enrolmentTranscript({ attester, kind, challenge, ek, ak }));
  return sha256(mac.digest());
}
