import { KallioError, sameBytes } from '@kallio/codec';
import { type HashName, parseAttest, type QuoteAttest } from '@kallio/tpm/structures';
import { evidenceError } from './error.ts';
import type { KnownAk } from './known-ak.ts';
import type { Attestation } from './message.ts';
import { type CheckedSignature, sentenceOf, signedBytes } from './quote-signature.ts';

/** What a quote is held against. */
export interface QuoteExpectation {
  /** TPMT_PUBLIC of the enrolled AK. */
  readonly akPublic: Uint8Array;
  /** The qualifyingData that the verifier has computed itself. */
  readonly qualifyingData: Uint8Array;
  /** The one bank and the PCRs, ascending, that are to be judged. */
  readonly bank: HashName;
  readonly pcrs: readonly number[];
  /** What became of the signature, where it was verified before. Of another quote, or another AK, it counts for nothing. */
  readonly checked?: CheckedSignature | undefined;
}

/** A quote whose signature and binding hold. */
export interface AuthenticQuote {
  readonly attest: QuoteAttest;
  /** The hash of the signature, which is also that of the PCR digest (TPM 2.0 Part 3, TPM2_Quote). */
  readonly hash: HashName;
  /** The AK that made it. */
  readonly ak: KnownAk;
}

/**
 * The quote, if the enrolled AK signed it as an answer to this very question (TPM 2.0 Part 2 section 10.12, Part 3
 * section 18.4). Nothing is read from the TPMS_ATTEST before its signature holds.
 */
export function authenticateQuote(
  quote: Attestation,
  { akPublic, qualifyingData, checked }: Pick<QuoteExpectation, 'akPublic' | 'qualifyingData' | 'checked'>,
): AuthenticQuote {
  const { ak, bytes, signature } = signedBytes(quote, akPublic, checked);
  const attest = attestOf(bytes);
  // Stops other things the AK signs (a certification, a creation proof) from being shown as a quote.
  if (attest.type !== 'quote') {
    throw evidenceError('QUOTE_TYPE', `The AK signed a structure of type ${attest.type}, not a quote.`, {
      pointer: '/quote/attest',
    });
  }
  // Stops replay, relay, and parts of the message that were changed after the quote.
  if (!sameBytes(attest.extraData, qualifyingData)) {
    throw evidenceError(
      'QUOTE_BINDING',
      'The quote is bound to another question: another nonce, purpose, attester, session, subject, or other parts of the message.',
      { pointer: '/quote/attest', hint: 'Ask for a fresh nonce and show evidence again.' },
    );
  }
  return { attest, hash: signature.hash, ak };
}

function attestOf(bytes: Uint8Array) {
  try {
    return parseAttest(bytes);
  } catch (cause) {
    const code = cause instanceof KallioError ? cause.code : undefined;
    throw evidenceError(
      code === 'TPM_ATTEST_MAGIC'
        ? 'QUOTE_MAGIC'
        : code === 'TPM_ATTEST_TYPE'
          ? 'QUOTE_TYPE'
          : 'QUOTE_MALFORMED',
      `The quote can’t be read: ${sentenceOf(cause)}`,
      { pointer: '/quote/attest', cause },
    );
  }
}
