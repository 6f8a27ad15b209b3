import { hash } from 'node:crypto';
import { canonicalize, fromHex, type KallioError, sameBytes, toHex } from '@kallio/codec';
import { type ClockInfo, type HashName, hashBytes, type QuoteAttest } from '@kallio/tpm/structures';
import { type EvidenceCode, evidenceError } from './error.ts';
import type { AuthenticQuote, QuoteExpectation } from './quote.ts';

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

/** PCR values as somebody offers them, of any bank: hexadecimal, by PCR number. */
export interface OfferedPcrs {
  readonly bank: HashName;
  readonly values: Readonly<Record<string, string>>;
}

/**
 * The quoted PCR values. The *signed* selection must be exactly the bank and PCRs to be judged, and the values offered
 * exactly those selected: tools that trusted the unsigned selection took forged values (CVE-2024-29039).
 */
export function quotedPcrs(
  { attest, hash: digestHash, ak }: AuthenticQuote,
  offered: readonly OfferedPcrs[],
  { bank, pcrs }: Pick<QuoteExpectation, 'bank' | 'pcrs'>,
): VerifiedQuote {
  // Stops a quote over PCRs of another bank, or fewer PCRs, or none, from standing for those that are judged.
  if (!selects(attest, bank, pcrs)) {
    throw evidenceError(
      'QUOTE_SELECTION',
      `The quote covers ${attest.select.map((s) => `${s.bank}:${s.pcrs.join(',')}`).join(' ') || 'no PCR'}, but ${bank}:${pcrs.join(',')} is judged.`,
      { pointer: '/quote/attest' },
    );
  }
  let quoted = ak.quoted;
  // The values that this AK quoted under the same digest are those it has quoted now; whether they are offered is asked.
  if (
    quoted?.pcrs !== pcrs ||
    quoted.bank !== bank ||
    quoted.digestHash !== digestHash ||
    !sameBytes(quoted.digest, attest.digest) ||
    !areOffered(quoted, offered)
  ) {
    const given = offeredValues(offered, bank, pcrs);
    const values = valuesOf(fromHex(given.join('')), bank, pcrs, attest.digest, digestHash);
    quoted = { pcrs, bank, digestHash, offered: given, digest: attest.digest, values };
    ak.quoted = quoted;
  }
  return {
    bank,
    pcrs: quoted.values,
    pcrDigest: attest.digest,
    clockInfo: attest.clockInfo,
    firmwareVersion: attest.firmwareVersion,
  };
}

function selects({ select }: QuoteAttest, bank: HashName, pcrs: readonly number[]): boolean {
  const [selection] = select;
  if (selection === undefined || select.length > 1 || selection.bank !== bank) return false;
  if (selection.pcrs.length !== pcrs.length) return false;
  for (let i = 0; i < pcrs.length; i++) if (selection.pcrs[i] !== pcrs[i]) return false;
  return true;
}

/** PCR values that an AK has quoted, as they were offered. */
export interface QuotedValues {
  readonly bank: HashName;
  readonly pcrs: readonly number[];
  /** In the order of the PCRs, hexadecimal. */
  readonly offered: readonly string[];
  /** What was offered, in canonical JSON, once that was asked for. */
  written?: string;
  readonly values: ReadonlyMap<number, Uint8Array>;
  /** The digest over them that was signed, and its hash. */
  readonly digest: Uint8Array;
  readonly digestHash: HashName;
}

/** PCR values as they are offered, in canonical JSON, written once for as long as the AK quotes them. */
export function writeOffered(offered: readonly OfferedPcrs[], quoted: QuotedValues | undefined): string {
  if (quoted === undefined || !areOffered(quoted, offered)) return canonicalize(offered);
  quoted.written ??= canonicalize(offered);
  return quoted.written;
}

/** True when these values are offered, and nothing else. */
function areOffered({ bank, pcrs, offered: values }: QuotedValues, offered: readonly OfferedPcrs[]): boolean {
  const [first] = offered;
  if (first === undefined || offered.length > 1 || first.bank !== bank) return false;
  // By its values, as many as its keys: a PCR's number would have to be made a text to be a key.
  if (Object.keys(first).length !== 2 || Object.values(first.values).length !== pcrs.length) return false;
  for (let i = 0; i < pcrs.length; i++) {
    if (offeredValue(first.values, pcrs[i] ?? -1) !== values[i]) return false;
  }
  return true;
}

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
function offeredValues(offered: readonly OfferedPcrs[], bank: HashName, pcrs: readonly number[]): string[] {
  const foreign = offered.findIndex((one, index) => one.bank !== bank || index > 0);
  // Stops values that nobody signed from being offered beside those that were, for a careless reader to find.
  if (foreign !== -1) {
    throw evidenceError('PCR_BANK_NOT_QUOTED', 'PCR values of a bank are offered that is not quoted.', {
      pointer: `/pcrs/${foreign}`,
    });
  }
  const given = offered[0]?.values ?? {};
  const named = Object.keys(given).length;
  const values: string[] = [];
  for (const pcr of pcrs) {
    const value = offeredValue(given, pcr);
    if (named !== pcrs.length || value?.length !== hashBytes(bank) * 2) throw notAsQuoted(given, bank, pcrs);
    values.push(value);
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
