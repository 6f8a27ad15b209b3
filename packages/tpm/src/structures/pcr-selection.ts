import { KallioError, type Reader, type Writer } from '@kallio/codec';
import { type HashName, hashId, hashName } from './algorithms.ts';
import type { TpmCode } from './error.ts';

/** PCRs of one bank, ascending (TPMS_PCR_SELECTION, Part 2 section 10.6.2). */
export interface PcrSelection {
  readonly bank: HashName;
  readonly pcrs: readonly number[];
}

/** A TPM has 24 PCRs; the bit map of a selection is so many bytes long at the most (PCR_SELECT_MAX). */
const MAX_SELECT_BYTES = 4;
const MAX_BANKS = 16;

/** Reads a TPML_PCR_SELECTION (Part 2 section 10.9.7). */
export function readPcrSelections(reader: Reader): PcrSelection[] {
  const count = reader.u32('The number of PCR selections');
  if (count > MAX_BANKS) throw malformed(`${count} PCR banks are selected, but ${MAX_BANKS} are the most.`);
  const selections: PcrSelection[] = [];
  while (selections.length < count) selections.push(readPcrSelection(reader));
  return selections;
}

function readPcrSelection(reader: Reader): PcrSelection {
  const bank = hashName(reader.u16('A PCR bank'));
  const size = reader.u8('The size of a PCR bit map');
  if (size > MAX_SELECT_BYTES) throw malformed(`A PCR bit map of ${size} bytes is longer than any TPM's.`);
  const pcrs: number[] = [];
  for (let first = 0; first < size * 8; first += 8) {
    const byte = reader.u8('A PCR bit map');
    for (let bit = 0; bit < 8; bit++) if ((byte & (1 << bit)) !== 0) pcrs.push(first + bit);
  }
  return { bank, pcrs };
}

/** Writes a TPML_PCR_SELECTION. */
export function writePcrSelections(writer: Writer, selections: readonly PcrSelection[]): Writer {
  writer.u32(selections.length);
  for (const { bank, pcrs } of selections) {
    const bits = new Uint8Array(3);
    for (const pcr of pcrs) {
      const byte = bits[pcr >> 3];
      if (byte === undefined) throw malformed(`There is no PCR ${pcr}.`);
      bits[pcr >> 3] = byte | (1 << (pcr & 7));
    }
    writer.u16(hashId(bank)).u8(bits.length).bytes(bits);
  }
  return writer;
}

function malformed(message: string): KallioError {
  return new KallioError<TpmCode>('TPM_STRUCTURE', message);
}
