import { borrowBase64, KallioError, sameBytes } from '@kallio/codec';
import {
  parseSignature,
  type TpmtSignature,
  type VerifyAside,
  type VerifyQuestion,
  verifyQuestion,
  verifySignature,
  verifySignatureAside,
} from '@kallio/tpm/structures';
import { evidenceError } from './error.ts';
import { type KnownAk, knownAk } from './known-ak.ts';
import type { Attestation } from './message.ts';

/** What became of verifying one signature of one AK over one quote. */
export class CheckedSignature {
  readonly #quote: Attestation;
  readonly #akPublic: Uint8Array;
  readonly #why: unknown;

  private constructor(quote: Attestation, akPublic: Uint8Array, why: unknown) {
    this.#quote = { attest: quote.attest, signature: quote.signature };
    this.#akPublic = akPublic;
    this.#why = why;
  }

  /**
   * Verifies a quote's signature on another thread; `undefined` for a quote that can't be read, about which there is nothing
   * to find out. It judges nothing: `authenticateQuote` does.
   */
  static async of(
    quote: Attestation,
    akPublic: Uint8Array,
    verifyAside: VerifyAside,
  ): Promise<CheckedSignature | undefined> {
    let read: SignedBytes;
    try {
      read = readQuote(quote);
    } catch (cause) {
      sentenceOf(cause);
      return undefined;
    }
    // The caller's array may be written to meanwhile.
    const copy = akPublic.slice();
    try {
      await verifySignatureAside(knownAk(akPublic).area, read.bytes, read.signature, verifyAside);
      return new CheckedSignature(quote, copy, undefined);
    } catch (cause) {
      sentenceOf(cause);
      return new CheckedSignature(quote, copy, cause);
    }
  }

  /**
   * Takes a quote's signature to hold, and asks what has to be answered for that to be true: until then nothing that was judged
   * with it may be told or kept. `undefined` where it can't hold, whatever the answer: for what is no quote, or of no scheme
   * that counts.
   */
  static takenToHold(quote: Attestation, akPublic: Uint8Array): TakenToHold | undefined {
    try {
      const read = readQuote(quote);
      const question = verifyQuestion(knownAk(akPublic).area, read.bytes, read.signature);
      return { checked: new CheckedSignature(quote, akPublic.slice(), undefined), question };
    } catch (cause) {
      sentenceOf(cause);
      return undefined;
    }
  }

  /** Throws what was found out about this very quote and AK; false where it was about others. */
  tells(quote: Attestation, akPublic: Uint8Array): boolean {
    // Stops what was found out about one quote from standing for another.
    if (quote.attest !== this.#quote.attest || quote.signature !== this.#quote.signature) return false;
    if (!sameBytes(akPublic, this.#akPublic)) return false;
    if (this.#why !== undefined) throw this.#why;
    return true;
  }
}

/** A signature that is taken to hold, and the question of `crypto.verify` that says whether it does. */
export interface TakenToHold {
  readonly checked: CheckedSignature;
  readonly question: VerifyQuestion;
}

/** What an AK signed, and how. */
interface SignedBytes {
  readonly bytes: Uint8Array;
  readonly signature: TpmtSignature;
}

/** The TPMS_ATTEST of a quote, if the AK signed it; it is not parsed here. */
export function signedBytes(
  quote: Attestation,
  akPublic: Uint8Array,
  checked: CheckedSignature | undefined,
): SignedBytes & { readonly ak: KnownAk } {
  const read = readQuote(quote);
  let ak: KnownAk;
  // Stops evidence of any TPM but the enrolled one, and any change to what it signed.
  try {
    ak = knownAk(akPublic);
    if (checked?.tells(quote, akPublic) !== true) verifySignature(ak.area, read.bytes, read.signature);
  } catch (cause) {
    throw evidenceError(
      'QUOTE_SIGNATURE',
      `The quote is not signed by the attester’s AK: ${sentenceOf(cause)}`,
      { pointer: '/quote/signature', cause },
    );
  }
  return { ...read, ak };
}

function readQuote(quote: Attestation): SignedBytes {
  return {
    bytes: decoded(quote.attest, '/quote/attest'),
    signature: signatureOf(decoded(quote.signature, '/quote/signature')),
  };
}

function decoded(text: string, pointer: string): Uint8Array {
  try {
    return borrowBase64(text);
  } catch (cause) {
    throw evidenceError('QUOTE_MALFORMED', 'A part of the quote is not canonical base64.', {
      pointer,
      cause,
    });
  }
}

function signatureOf(bytes: Uint8Array): TpmtSignature {
  try {
    return parseSignature(bytes);
  } catch (cause) {
    throw evidenceError('QUOTE_MALFORMED', `The signature can’t be read: ${sentenceOf(cause)}`, {
      pointer: '/quote/signature',
      cause,
    });
  }
}

/** A refusal's sentence. Anything that is not a refusal is a fault of this program and goes on up. */
export function sentenceOf(cause: unknown): string {
  if (cause instanceof KallioError) return cause.message;
  throw cause;
}
