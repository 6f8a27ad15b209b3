import { hash } from 'node:crypto';
import { equalBytes, fromHex, KallioError, toHex } from '@kallio/codec';
import {
  type ClockInfo,
  type HashName,
  hashBytes,
  parseAttest,
  type QuoteAttest,
} from '@kallio/tpm/structures';
import { type EvidenceCode, evidenceError } from './error.ts';
import type { Attestation } from './message.ts';
import { type CheckedSignature, sentenceOf, signedBytes } from './quote-signature.ts';

/** What a quote proves once it has been verified. Nothing in here is taken from unsigned parts of a message. */
export interface VerifiedQuote {
  readonly bank: HashName;
  /** PCR values by number: exactly those that were quoted. */
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  /** The digest over those values that was signed. */
  readonly pcrDigest: Uint8Array;
  readonly clockInfo: ClockInfo;
  readonly firmwareVersion: bigint;
}

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

/** PCR values as somebody offers them, of any bank: hexadecimal, by PCR number. */
export interface OfferedPcrs {
  readonly bank: HashName;
  readonly values: Readonly<Record<string, string>>;
}

/** A quote whose signature and binding hold. */
export interface AuthenticQuote {
  readonly attest: QuoteAttest;
  /** The hash of the signature, which is also that of the PCR digest (TPM 2.0 Part 3, TPM2_Quote). */
  readonly hash: HashName;
  /** TPMT_PUBLIC of the AK: the very array that was given. */
  readonly akPublic: Uint8Array;
}

/**
 * The quote, if the enrolled AK signed it as an answer to this very question (TPM 2.0 Part 2 section 10.12, Part 3
 * section 18.4). Nothing is read from the TPMS_ATTEST before its signature holds.
 */
export function authenticateQuote(
  quote: Attestation,
  { akPublic, qualifyingData, checked }: Pick<QuoteExpectation, 'akPublic' | 'qualifyingData' | 'checked'>,
): AuthenticQuote {
  const { bytes, signature } = signedBytes(quote, akPublic, checked);
  const attest = attestOf(bytes);
  // Stops other things the AK signs (a certification, a creation proof) from being shown as a quote.
  if (attest.type !== 'quote') {
    throw evidenceError('QUOTE_TYPE', `The AK signed a structure of type ${attest.type}, not a quote.`, {
      pointer: '/quote/attest',
    });
  }
  // Stops replay, relay, and parts of the message that were changed after the quote.
  if (!equalBytes(attest.extraData, qualifyingData)) {
    throw evidenceError(
      'QUOTE_BINDING',
      'The quote is bound to another question: another nonce, purpose, attester, session, subject, or other parts of the message.',
      { pointer: '/quote/attest', hint: 'Ask for a fresh nonce and show evidence again.' },
    );
  }
  return { attest, hash: signature.hash, akPublic };
}

/**
 * The quoted PCR values. The *signed* selection must be exactly the bank and PCRs to be judged, and the values offered
 * exactly those selected: tools that trusted the unsigned selection took forged values (CVE-2024-29039).
 */
export function quotedPcrs(
  { attest, hash: digestHash, akPublic }: AuthenticQuote,
  offered: readonly OfferedPcrs[],
  { bank, pcrs }: Pick<QuoteExpectation, 'bank' | 'pcrs'>,
): VerifiedQuote {
  const [selection, ...more] = attest.select;
  // Stops a quote over PCRs of another bank, or fewer PCRs, or none, from standing for those that are judged.
  if (
    selection === undefined ||
    more.length > 0 ||
    selection.bank !== bank ||
    selection.pcrs.length !== pcrs.length ||
    !selection.pcrs.every((pcr, index) => pcr === pcrs[index])
  ) {
    throw evidenceError(
      'QUOTE_SELECTION',
      `The quote covers ${attest.select.map((s) => `${s.bank}:${s.pcrs.join(',')}`).join(' ') || 'no PCR'}, but ${bank}:${pcrs.join(',')} is judged.`,
      { pointer: '/quote/attest' },
    );
  }
  const text = offeredValues(offered, bank, pcrs);
  const before = lastQuoted.get(akPublic);
  const asBefore =
    before?.pcrs === pcrs &&
    before.bank === bank &&
    before.digestHash === digestHash &&
    before.text === text &&
    equalBytes(before.digest, attest.digest);
  const values = asBefore ? before.values : valuesOf(fromHex(text), bank, pcrs, attest.digest, digestHash);
  if (!asBefore) lastQuoted.set(akPublic, { pcrs, bank, digestHash, text, digest: attest.digest, values });
  return {
    bank,
    pcrs: values,
    pcrDigest: attest.digest,
    clockInfo: attest.clockInfo,
    firmwareVersion: attest.firmwareVersion,
  };
}

interface Quoted {
  readonly pcrs: readonly number[];
  readonly bank: HashName;
  readonly digestHash: HashName;
  readonly text: string;
  readonly digest: Uint8Array;
  readonly values: ReadonlyMap<number, Uint8Array>;
}

/** What each AK quoted last: most machines quote the same PCR values for hours, and then their digest is the same, too. */
const lastQuoted = new WeakMap<Uint8Array, Quoted>();

function valuesOf(
  bytes: Uint8Array,
  bank: HashName,
  pcrs: readonly number[],
  digest: Uint8Array,
  digestHash: HashName,
): Map<number, Uint8Array> {
  // Stops PCR values that are not the TPM's.
  if (hash(digestHash, bytes, 'hex') !== toHex(digest)) {
    throw evidenceError('PCR_DIGEST', 'The PCR values offered are not those that the TPM quoted.', {
      pointer: '/pcrs',
    });
  }
  const size = hashBytes(bank);
  const values = new Map<number, Uint8Array>();
  for (const pcr of pcrs) values.set(pcr, bytes.subarray(values.size * size, (values.size + 1) * size));
  return values;
}

/** The values offered, one after the other in the order of the selection, hexadecimal: of them the TPM hashed the bytes. */
function offeredValues(offered: readonly OfferedPcrs[], bank: HashName, pcrs: readonly number[]): string {
  const foreign = offered.findIndex((one, index) => one.bank !== bank || index > 0);
  // Stops values that nobody signed from being offered beside those that were, for a careless reader to find.
  if (foreign !== -1) {
    throw evidenceError('PCR_BANK_NOT_QUOTED', 'PCR values of a bank are offered that is not quoted.', {
      pointer: `/pcrs/${foreign}`,
    });
  }
  const given = offered[0]?.values ?? {};
  const named = Object.keys(given).length;
  let values = '';
  for (const pcr of pcrs) {
    const value = offeredValue(given, pcr);
    if (named !== pcrs.length || value?.length !== hashBytes(bank) * 2) throw notAsQuoted(given, bank, pcrs);
    values += value;
  }
  return values;
}

function offeredValue(given: OfferedPcrs['values'], pcr: number): string | undefined {
  return Object.hasOwn(given, pcr) ? given[pcr] : undefined;
}

/** What is wrong with the values offered: something that was not quoted, or else that something quoted is missing. */
function notAsQuoted(
  given: OfferedPcrs['values'],
  bank: HashName,
  pcrs: readonly number[],
): KallioError<EvidenceCode> {
  const quoted = new Set(pcrs.map(String));
  // Names are compared as they are written: `07` is a number of a quoted PCR, and nobody has signed its value.
  const more = Object.keys(given).find((pcr) => !quoted.has(pcr));
  if (more !== undefined) {
    return evidenceError('PCR_NOT_QUOTED', `A value of PCR ${more} is offered, which is not quoted.`, {
      pointer: `pcr:${more}`,
    });
  }
  const missing = pcrs.find((pcr) => offeredValue(given, pcr)?.length !== hashBytes(bank) * 2);
  return evidenceError('PCR_MISSING', `PCR ${missing} is quoted, but its value is not offered.`, {
    pointer: `pcr:${missing}`,
  });
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
