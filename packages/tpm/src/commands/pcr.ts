import { Writer } from '@kallio/codec';
import { type Protection, protect } from '../authorization.ts';
import { type HashName, hashBytes, hashId, hashName } from '../structures/algorithms.ts';
import { type PcrSelection, readPcrSelections, writePcrSelections } from '../structures/pcr-selection.ts';
import { copySized, writeSized } from '../structures/sized.ts';
import type { Tpm } from '../tpm.ts';

/** TPM2_PCR_Extend (Part 3 section 22.2). */
export async function pcrExtend(
  tpm: Tpm,
  pcr: number,
  digests: readonly (readonly [HashName, Uint8Array])[],
  protection: Protection = {},
): Promise<void> {
  const parameters = new Writer().u32(digests.length);
  for (const [hash, digest] of digests) parameters.u16(hashId(hash)).bytes(digest);
  const response = await tpm.execute({
    name: 'TPM2_PCR_Extend',
    code: 0x182,
    handles: [pcr],
    ...protect(protection, 1),
    parameters: parameters.finish(),
  });
  response.parameters.end('TPM2_PCR_Extend');
}

/** As many banks as a TPM may have (HASH_COUNT). */
const MAX_BANKS = 16;

/** TPM2_PCR_Event (Part 3 section 22.3): the TPM hashes the data itself; gives what each bank was extended with. */
export async function pcrEvent(
  tpm: Tpm,
  pcr: number,
  data: Uint8Array,
  protection: Protection = {},
): Promise<Map<HashName, Uint8Array>> {
  const { parameters } = await tpm.execute({
    name: 'TPM2_PCR_Event',
    code: 0x13c,
    handles: [pcr],
    ...protect(protection, 1),
    parameters: writeSized(new Writer(), data).finish(),
  });
  const count = Math.min(parameters.u32('The number of digests'), MAX_BANKS);
  const digests = new Map<HashName, Uint8Array>();
  for (let i = 0; i < count; i++) {
    const bank = hashName(parameters.u16('A PCR bank'));
    digests.set(bank, parameters.bytes(hashBytes(bank), 'A digest').slice());
  }
  parameters.end('TPM2_PCR_Event');
  return digests;
}

/** What TPM2_PCR_Read gave at once: at most eight digests, in the order of the selection. */
export interface PcrReadResponse {
  /** Grows with every extend of any PCR: the same number twice means nothing moved. */
  readonly updateCounter: number;
  readonly selections: readonly PcrSelection[];
  readonly digests: readonly Uint8Array[];
}

/** TPM2_PCR_Read (Part 3 section 22.4). */
export async function pcrRead(
  tpm: Tpm,
  selections: readonly PcrSelection[],
  protection: Protection = {},
): Promise<PcrReadResponse> {
  const response = await tpm.execute({
    name: 'TPM2_PCR_Read',
    code: 0x17e,
    ...protect(protection, 0),
    parameters: writePcrSelections(new Writer(), selections).finish(),
  });
  const reader = response.parameters;
  const updateCounter = reader.u32('The update counter');
  const given = readPcrSelections(reader);
  const count = Math.min(reader.u32('The number of digests'), 8);
  const digests = Array.from({ length: count }, () => copySized(reader, 64, 'A PCR value'));
  reader.end('TPM2_PCR_Read');
  return { updateCounter, selections: given, digests };
}

/** How often PCRs are read again because one moved in between. */
const MAX_ROUNDS = 64;

/**
 * The values of PCRs of one bank, read in as many commands as it takes; again where a PCR moved in between. Where they
 * never keep still, what was read last: a quote says whether it is of one moment.
 */
export async function readPcrs(
  tpm: Tpm,
  bank: HashName,
  pcrs: readonly number[],
): Promise<Map<number, Uint8Array>> {
  for (let round = 1; ; round++) {
    const values = new Map<number, Uint8Array>();
    const counters = new Set<number>();
    let left = [...pcrs].sort((a, b) => a - b);
    while (left.length > 0) {
      const part = await pcrRead(tpm, [{ bank, pcrs: left }]);
      const read = part.selections.flatMap((selection) => selection.pcrs);
      counters.add(part.updateCounter);
      read.forEach((pcr, index) => {
        const value = part.digests[index];
        if (value !== undefined) values.set(pcr, value);
      });
      const next = left.filter((pcr) => !values.has(pcr));
      // A bank that is not allocated gives nothing: the caller sees what is missing.
      if (next.length === left.length) return values;
      left = next;
    }
    if (counters.size <= 1 || round === MAX_ROUNDS) return values;
  }
}
