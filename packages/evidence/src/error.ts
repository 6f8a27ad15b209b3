import { KallioError, type RefusalDetail } from '@kallio/codec';

/** Codes of this package: what is wrong with a piece of evidence, before anybody compares it with reference values. */
export type EvidenceCode =
  | 'QUOTE_MALFORMED'
  | 'QUOTE_MAGIC'
  | 'QUOTE_TYPE'
  | 'QUOTE_SIGNATURE'
  | 'QUOTE_BINDING'
  | 'QUOTE_SELECTION'
  | 'PCR_BANK_NOT_QUOTED'
  | 'PCR_NOT_QUOTED'
  | 'PCR_MISSING'
  | 'PCR_DIGEST'
  | 'INSTANCE_LOG_GAP'
  | 'EVENTLOG_MALFORMED'
  | 'EVENTLOG_TOO_LARGE'
  | 'EVENTLOG_ALGORITHM'
  | 'EVENTLOG_BANK'
  | 'EVENTLOG_LOCALITY'
  | 'EVENTLOG_DATA'
  | 'EVENTLOG_SIGNATURES'
  | 'EVENTLOG_SECURE_BOOT'
  | 'MEASURELOG_MALFORMED'
  | 'MEASURELOG_TOO_LARGE'
  | 'MEASURELOG_BANK'
  | 'IMA_MALFORMED'
  | 'IMA_TOO_LARGE'
  | 'IMA_TEMPLATE'
  | 'IMA_PCR'
  | 'IMA_DIGEST';

/** An error of this package. */
export function evidenceError(code: EvidenceCode, message: string, detail?: RefusalDetail) {
  return new KallioError<EvidenceCode>(code, message, detail);
}
