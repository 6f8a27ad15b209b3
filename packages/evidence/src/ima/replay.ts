import { hash } from 'node:crypto';
import type { HashName } from '@kallio/tpm/structures';
import { extend, zeroPcr } from '../pcr.ts';
import type { ImaEntry } from './entry.ts';

/** Where a replay of an IMA log stands. */
export interface ImaReplayState {
  /** Entries replayed in this boot. */
  readonly entries: number;
  /** PCR 10 after them. */
  readonly pcr: Uint8Array;
}

/** The start of a boot. */
export function imaStart(bank: HashName): ImaReplayState {
  return { entries: 0, pcr: zeroPcr(bank) };
}

/**
 * What an entry extends a bank with: the hash of its template data in the bank's algorithm, computed here and not taken
 * from the log (kernels from 5.8 on do so for every bank); all ones for a violation.
 */
export function imaTemplateDigest(entry: ImaEntry, bank: HashName): Uint8Array {
  return entry.violation ? zeroPcr(bank).fill(0xff) : hash(bank, entry.data, 'buffer');
}

/** PCR 10 after one more entry. */
export function extendIma(pcr: Uint8Array, entry: ImaEntry, bank: HashName): Uint8Array {
  return extend(bank, pcr, imaTemplateDigest(entry, bank));
}

/** Replays entries from a state. */
export function replayIma(
  start: ImaReplayState,
  entries: Iterable<ImaEntry>,
  bank: HashName,
): ImaReplayState {
  let { entries: count, pcr } = start;
  for (const entry of entries) {
    pcr = extendIma(pcr, entry, bank);
    count++;
  }
  return { entries: count, pcr };
}
