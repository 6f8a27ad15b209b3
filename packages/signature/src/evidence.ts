import { canonicalBytes, decodeShape, digestOf, fromBase64, parseJson, toHex } from '@kallio/codec';
import {
  authenticateQuote,
  EvidenceMessage,
  partsOf,
  QUOTED_PCRS,
  qualifyingData,
  quotedPcrs,
  type VerifiedQuote,
} from '@kallio/evidence';
import { checkAk, governingPolicy, parsePublic, type TpmtPublic } from '@kallio/tpm/structures';
import { Type } from 'typebox';
import { signatureError } from './error.ts';
import { MAX_EVIDENCE } from './evidence-type.ts';
import { certifiedKey } from './signing-key.ts';
import type { AcceptedImage } from './verdict.ts';

const Messages = Type.Array(EvidenceMessage, { minItems: 2, maxItems: 64 });

/** What the raw evidence shows by itself. */
export interface ShownEvidence {
  /** Evidence messages, opening first. */
  readonly messages: number;
  /** The boot that all of them are of, and the TPM's milliseconds between first and last. */
  readonly boot: number;
  readonly milliseconds: number;
}

/**
 * Verifies the raw evidence behind an accepted signature, without asking the attestation server anything: the messages
 * are the ones that the session's result names; one AK quoted them for this session, the last one for this image, these
 * claims and this signing key; in one boot, in this order; and that AK certified the signing key as its own TPM's. What
 * the PCRs and logs mean is for an appraisal policy to say, and whose TPM it is for the server that enrolled it.
 */
export function verifyBuildEvidence(bytes: Uint8Array, image: AcceptedImage): ShownEvidence {
  const messages = decodeShape(
    Messages,
    parseJson(bytes, { maxBytes: MAX_EVIDENCE }),
    'BUILD_EVIDENCE_SHAPE',
    'The raw evidence',
  );
  // Stops other evidence, or less of it, than the result rests on.
  const digests = messages.map((message) => digestOf(canonicalBytes(message)));
  if (digests.length !== image.evidence.length || digests.some((digest, i) => digest !== image.evidence[i])) {
    throw signatureError(
      'BUILD_EVIDENCE_DIGEST',
      'This is not the evidence that the session’s result names.',
    );
  }
  const { akCertification } = image.environment;
  const akPublic = fromBase64(akCertification.ak);
  // Stops a key that signs anything it is given, a made-up quote among it.
  checkAk(parsePublic(akPublic));
  const keyPublic = fromBase64(akCertification.key);
  const quotes = messages.map((message, index) => verifyQuote(message, index, messages.length));
  const shown = { public: akCertification.key, certification: akCertification.certification };
  const { key, spkiDigest } = certifiedKey(
    shown,
    { session: image.session, nonce: lastNonce(messages) },
    akPublic,
  );
  // Stops the certification of one key from being shown with the signature of another.
  if (spkiDigest !== image.signingKey) {
    throw signatureError(
      'SIGNING_KEY_NOT_CERTIFIED',
      'The AK certified another key than the one that signed.',
      {
        pointer: '/predicate/buildEnvironment/akCertification/key',
      },
    );
  }
  // Stops a result that says of a key which opens in any state that an operator governs it.
  if (image.signingPolicy !== undefined && image.signingPolicy !== policyOf(key)) {
    throw signatureError(
      'SIGNING_KEY_NOT_CERTIFIED',
      'The AK certified a key under another policy than the session’s result says.',
      { pointer: '/predicate/buildEnvironment/akCertification/key' },
    );
  }
  return requireOneBoot(quotes);

  function verifyQuote(message: EvidenceMessage, index: number, count: number): VerifiedQuote {
    const { nonce, purpose } = message;
    const attester = image.builder;
    const parts = partsOf(message);
    const last = index === count - 1;
    const asked = index === 0 ? 'session-open' : last ? 'session-close' : 'session-attest';
    // Stops a quote that was made for something else, in the place of one for this session.
    if (purpose !== asked) {
      throw signatureError(
        'BUILD_EVIDENCE_PURPOSE',
        `Evidence for ${asked} is wanted here, not ${purpose}.`,
        {
          pointer: `/${index}/purpose`,
        },
      );
    }
    const { session } = image;
    const closing = {
      subject: image.claims.subject.digest,
      statement: image.statement,
      signingKey: digestOf(keyPublic),
    };
    const binding = { purpose, attester, nonce, parts, session, ...(last ? closing : {}) };
    const quote = authenticateQuote(message.quote, { akPublic, qualifyingData: qualifyingData(binding) });
    return quotedPcrs(quote, message.pcrs, { bank: 'sha256', pcrs: QUOTED_PCRS });
  }
}

function policyOf(key: TpmtPublic): string | undefined {
  const policy = governingPolicy(key);
  return policy === undefined ? undefined : toHex(policy);
}

function lastNonce(messages: readonly EvidenceMessage[]): string {
  return messages.at(-1)?.nonce ?? '';
}

function requireOneBoot(quotes: readonly VerifiedQuote[]): ShownEvidence {
  const clocks = quotes.map(({ clockInfo }) => clockInfo);
  const [first] = clocks;
  if (first === undefined) throw new Error('evidence has at least two messages');
  let before = first;
  for (const [index, now] of clocks.entries()) {
    // Stops quotes of two boots, or the opening quote in the closing one's place.
    if (
      now.resetCount !== first.resetCount ||
      now.restartCount !== first.restartCount ||
      now.clock < before.clock
    ) {
      throw signatureError('BUILD_EVIDENCE_BOOT', 'The quotes are not of one boot, in this order.', {
        pointer: `/${index}/quote`,
      });
    }
    before = now;
  }
  return {
    messages: quotes.length,
    boot: first.resetCount,
    milliseconds: Number(before.clock - first.clock),
  };
}
