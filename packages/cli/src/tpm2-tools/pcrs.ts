import { KallioError, Reader, toHex } from '@kallio/codec';
import type { OfferedPcrs } from '@kallio/evidence';
import {
  type HashName,
  hashBytes,
  hashName,
  type PcrSelection,
  parseAttest,
  readPcrSelections,
  readSized,
} from '@kallio/tpm/structures';
import { cliError } from '../output/output.ts';

/** sizeof(TPML_PCR_SELECTION): a count, and 16 slots of { u16 hash; u8 size; u8 select[4]; one byte of padding }. */
const SELECTION_SLOTS = 16;
const SELECT_BYTES = 4;
const SELECTION_BYTES = 4 + SELECTION_SLOTS * 8;
/** sizeof(TPML_DIGEST): a count, and 8 slots of { u16 size; u8 digest[64] }. */
const DIGEST_SLOTS = 8;
const DIGEST_BYTES = 4 + DIGEST_SLOTS * 66;
const MAX_LISTS = 32;
const MAX_PCR = 23;

/**
 * Reads PCR values as `tpm2_quote -o` and `tpm2_pcrread -o` write them (tpm2-tools, lib/pcr.c): `serialized`, which is
 * C structures as they lie in memory, little-endian; `marshaled` (since 5.8), as a TPM marshals them; or `values`, the
 * digests alone, whose PCRs are those of the quote that lies beside them, `attest`. The first two say themselves whose
 * values they are. All of it is only a claim: whoever judges holds it against the signed selection. What is none of the
 * three is `CLI_PCRS_FORMAT`.
 */
export function readPcrFile(bytes: Uint8Array, attest: Uint8Array): OfferedPcrs[] {
  try {
    const lists = (bytes.length - SELECTION_BYTES - 4) / DIGEST_BYTES;
    if (Number.isInteger(lists) && lists >= 1) return offered(readSerialized(bytes, lists));
    const claimed = selectionOf(attest);
    const size = claimed.reduce((sum, { bank, pcrs }) => sum + pcrs.length * hashBytes(bank), 0);
    if (size > 0 && bytes.length === size)
      return offered({ selections: claimed, digests: split(bytes, claimed) });
    return offered(readMarshaled(bytes));
  } catch (cause) {
    if (!(cause instanceof KallioError) || cause.code === 'CLI_PCRS_FORMAT') throw cause;
    throw malformed(cause.message);
  }
}

interface PcrFile {
  readonly selections: readonly PcrSelection[];
  /** In the order of the selections. */
  readonly digests: readonly Uint8Array[];
}

function readSerialized(bytes: Uint8Array, lists: number): PcrFile {
  const reader = new Reader(bytes);
  const count = reader.u32le('The number of PCR selections');
  if (count > SELECTION_SLOTS)
    throw malformed(`it selects ${count} banks, and has room for ${SELECTION_SLOTS}.`);
  const selections: PcrSelection[] = [];
  // Slots that are not in use, and padding, are whatever lay in memory: nobody reads them.
  for (let slot = 0; slot < SELECTION_SLOTS; slot++) {
    const id = reader.u16le('A PCR bank');
    const size = reader.u8('The size of a PCR bit map');
    const bits = reader.bytes(SELECT_BYTES, 'A PCR bit map');
    reader.u8('Padding');
    if (slot >= count) continue;
    if (size > SELECT_BYTES) throw malformed(`a PCR bit map of ${size} bytes has no room in it.`);
    selections.push({ bank: hashName(id), pcrs: pcrsOf(bits.subarray(0, size)) });
  }
  if (reader.u32le('The number of digest lists') !== lists || lists > MAX_LISTS) {
    throw malformed('it has another number of digest lists than it says.');
  }
  const digests: Uint8Array[] = [];
  for (let list = 0; list < lists; list++) {
    const used = reader.u32le('The number of digests');
    if (used > DIGEST_SLOTS) throw malformed(`a list of ${used} digests has no room in it.`);
    for (let slot = 0; slot < DIGEST_SLOTS; slot++) {
      const size = reader.u16le('The size of a digest');
      const digest = reader.bytes(64, 'A digest');
      if (slot >= used) continue;
      if (size > digest.length) throw malformed(`a digest of ${size} bytes has no room in it.`);
      digests.push(digest.subarray(0, size));
    }
  }
  reader.end('The PCR file');
  return { selections, digests };
}

function readMarshaled(bytes: Uint8Array): PcrFile {
  const reader = new Reader(bytes);
  const selections = readPcrSelections(reader);
  const lists = reader.u32('The number of digest lists');
  if (lists > MAX_LISTS) throw malformed(`it says that it has ${lists} digest lists.`);
  const digests: Uint8Array[] = [];
  for (let list = 0; list < lists; list++) {
    const used = reader.u32('The number of digests');
    if (used > DIGEST_SLOTS) throw malformed(`a list has ${used} digests, and ${DIGEST_SLOTS} are the most.`);
    for (let slot = 0; slot < used; slot++) digests.push(readSized(reader, 64, 'A digest'));
  }
  reader.end('The PCR file');
  return { selections, digests };
}

/** The selection that an attestation claims; none where it is no quote. Its signature has not been looked at. */
function selectionOf(attest: Uint8Array): readonly PcrSelection[] {
  try {
    const parsed = parseAttest(attest);
    return parsed.type === 'quote' ? parsed.select : [];
  } catch (cause) {
    if (!(cause instanceof KallioError)) throw cause;
    return [];
  }
}

function split(bytes: Uint8Array, selections: readonly PcrSelection[]): Uint8Array[] {
  const reader = new Reader(bytes);
  return selections.flatMap(({ bank, pcrs }) => pcrs.map(() => reader.bytes(hashBytes(bank), 'A digest')));
}

function pcrsOf(bits: Uint8Array): number[] {
  const pcrs: number[] = [];
  for (let pcr = 0; pcr < bits.length * 8; pcr++) {
    if (((bits[pcr >> 3] ?? 0) & (1 << (pcr & 7))) !== 0) pcrs.push(pcr);
  }
  return pcrs;
}

/** Gives each value its PCR. Stops values from being counted off against other PCRs than those named. */
function offered({ selections, digests }: PcrFile): OfferedPcrs[] {
  const selected = selections.reduce((sum, { pcrs }) => sum + pcrs.length, 0);
  if (selected !== digests.length || selected === 0) {
    throw malformed(`it selects ${selected} PCRs and has ${digests.length} values.`);
  }
  let next = 0;
  return selections.map(({ bank, pcrs }) => ({
    bank,
    values: Object.fromEntries(pcrs.map((pcr) => [String(pcr), digestText(bank, pcr, digests[next++])])),
  }));
}

function digestText(bank: HashName, pcr: number, digest: Uint8Array | undefined): string {
  if (pcr > MAX_PCR) throw malformed(`there is no PCR ${pcr}.`);
  if (digest?.length !== hashBytes(bank)) throw malformed(`its value of PCR ${pcr} is no ${bank} digest.`);
  return toHex(digest);
}

function malformed(why: string): KallioError {
  return cliError(
    'CLI_PCRS_FORMAT',
    `The file of PCR values is not what tpm2_quote -o writes: ${why}`,
    'Formats serialized, marshaled and values are known (tpm2_quote --pcrs_format).',
  );
}
