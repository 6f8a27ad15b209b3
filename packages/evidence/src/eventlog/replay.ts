import { hash } from 'node:crypto';
import { equalBytes } from '@kallio/codec';
import type { HashName } from '@kallio/tpm/structures';
import { evidenceError } from '../error.ts';
import { extend, zeroPcr } from '../pcr.ts';
import type { EventLog, FirmwareEvent } from './event.ts';

/**
 * The PCR values of a bank that the log leads to, by PCR; a PCR that no event extends is not in it, but PCR 0 is where
 * the log names a startup locality. A log without digests of the bank is `EVENTLOG_BANK`.
 */
export function replayEventLog(log: EventLog, bank: HashName): Map<number, Uint8Array> {
  if (!log.banks.includes(bank)) {
    throw evidenceError(
      'EVENTLOG_BANK',
      `This event log has digests of ${log.banks.join(', ')}, none of ${bank}.`,
    );
  }
  const values = new Map<number, Uint8Array>();
  if (log.startupLocality !== 0) values.set(0, startValue(bank, log.startupLocality));
  for (const { authenticated } of log.events) {
    const { pcr } = authenticated;
    values.set(pcr, extend(bank, values.get(pcr) ?? zeroPcr(bank), digestOfBank(authenticated, bank)));
  }
  return values;
}

/** The digest of an event in a bank that the log has. */
export function digestOfBank({ digests }: FirmwareEvent['authenticated'], bank: HashName): Uint8Array {
  const digest = digests.get(bank);
  if (digest === undefined) throw evidenceError('EVENTLOG_BANK', `An event has no ${bank} digest.`);
  return digest;
}

/**
 * True where the event's data is itself what was hashed, so that a replay proves the data too. For other events the
 * digest is of something that the log does not hold (an image, a table), and the data only describes it.
 */
export function eventDataIsMeasured(event: FirmwareEvent, bank: HashName): boolean {
  const { data } = event.unauthenticated;
  return equalBytes(hash(bank, data, 'buffer'), digestOfBank(event.authenticated, bank));
}

/** PCR 0 after a TPM2_Startup from a locality (TPM 2.0 Part 3, section 9.3: the locality is the last byte). */
function startValue(bank: HashName, locality: number): Uint8Array {
  const value = zeroPcr(bank);
  value[value.length - 1] = locality;
  return value;
}
