import { KallioError, type RefusalDetail } from '@kallio/codec';

/** Codes of this package. */
export type TlogCode =
  // What a proof, a checkpoint or an entry is refused for.
  | 'LOG_PROOF_MALFORMED'
  | 'LOG_PROOF_MISMATCH'
  | 'LOG_TILE_PATH'
  | 'LOG_NOTE_MALFORMED'
  | 'LOG_CHECKPOINT_MALFORMED'
  | 'LOG_CHECKPOINT_SIGNATURE'
  | 'LOG_ORIGIN_MISMATCH'
  | 'LOG_HEAD_MISMATCH'
  | 'LOG_KEY_UNKNOWN'
  | 'LOG_KEY_UNSUITABLE'
  | 'LOG_INDEX_MISMATCH'
  | 'LOG_VERIFIER_KEY'
  | 'LOG_COSIGNATURE'
  | 'LOG_SET_INVALID'
  | 'LOG_SIGNATURE_ENCODING'
  // What the writer refuses.
  | 'LOG_ENTRY_SIZE'
  | 'LOG_ENTRY_UNKNOWN'
  | 'LOG_RANGE'
  | 'LOG_LOCKED'
  | 'LOG_BUSY'
  | 'LOG_CLOSED'
  | 'LOG_CORRUPT'
  | 'LOG_WRITE_FAILED'
  | 'LOG_STOPPED'
  // What a witness refuses to begin without.
  | 'WITNESS_MEMORY';

/** A refusal of this package. */
export function tlogError(
  code: TlogCode,
  message: string,
  detail: RefusalDetail = {},
): KallioError<TlogCode> {
  return new KallioError(code, message, detail);
}
