import { hash } from 'node:crypto';
import { equalBytes, utf8 } from '@kallio/codec';
import type { HashName } from '@kallio/tpm/structures';
import { evidenceError } from '../error.ts';
import { extend, zeroPcr } from '../pcr.ts';
import type { MeasureRecord } from './parse.ts';

/** What a measurement log leads to, in one bank. */
export interface MeasureReplay {
  /** By number: those it started from, extended. */
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  /** NV indexes that are extended like PCRs, by handle; each starts from zeros. */
  readonly nvIndexes: ReadonlyMap<number, Uint8Array>;
}

/**
 * Replays user space’s records on top of what the firmware’s log leads to (`start`; a PCR that is not in it starts from
 * zeros). A record without a digest of the bank is `MEASURELOG_BANK`.
 */
export function replayMeasureLog(
  records: readonly MeasureRecord[],
  bank: HashName,
  start: ReadonlyMap<number, Uint8Array> = new Map(),
): MeasureReplay {
  const pcrs = new Map(start);
  const nvIndexes = new Map<number, Uint8Array>();
  for (const record of records) {
    const { target } = record.authenticated;
    const [values, key] =
      'pcr' in target ? ([pcrs, target.pcr] as const) : ([nvIndexes, target.nvIndex] as const);
    values.set(key, extend(bank, values.get(key) ?? zeroPcr(bank), digestOf(record, bank)));
  }
  return { pcrs, nvIndexes };
}

/** True where a record’s text is itself what was hashed, so that a replay proves it. A volume key’s, for one, is not. */
export function recordTextIsMeasured(record: MeasureRecord, bank: HashName): boolean {
  const { text } = record.unauthenticated;
  return text !== undefined && equalBytes(hash(bank, utf8(text), 'buffer'), digestOf(record, bank));
}

function digestOf({ index, authenticated }: MeasureRecord, bank: HashName): Uint8Array {
  const digest = authenticated.digests.get(bank);
  if (digest === undefined) {
    throw evidenceError('MEASURELOG_BANK', `Record ${index} of the measurement log has no ${bank} digest.`, {
      pointer: `record:${index}`,
    });
  }
  return digest;
}
