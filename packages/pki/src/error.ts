import { KallioError, type RefusalDetail } from '@kallio/codec';

/** Codes of this package. */
export type PkiCode =
  | 'PKI_CERTIFICATE_MALFORMED'
  | 'PKI_TRAILING_BYTES'
  | 'PKI_EXTENSION_TWICE'
  | 'PKI_SAN_MALFORMED'
  | 'PKI_SPIFFE_ID'
  | 'PKI_EK_SELF_SIGNED'
  | 'PKI_EK_UNTRUSTED'
  | 'PKI_EK_MISMATCH'
  | 'PKI_EK_USAGE'
  | 'PKI_EK_IS_CA'
  | 'PKI_EK_WEAK'
  | 'PKI_EXPIRED'
  | 'PKI_NOT_YET_VALID'
  | 'PKI_KEY_ALGORITHM'
  | 'PKI_ISSUER_UNCONSTRAINED'
  | 'PKI_ISSUER_NOT_CA'
  | 'PKI_ISSUER_KEY_USAGE'
  | 'PKI_ISSUER_USAGE'
  | 'PKI_ISSUER_WEAK'
  | 'PKI_PATH_LENGTH'
  | 'PKI_SIGNATURE'
  | 'PKI_SIGNATURE_ALGORITHM'
  | 'PKI_SHA1'
  | 'PKI_CRITICAL_EXTENSION'
  | 'PKI_CHAIN_LOOP'
  | 'PKI_CHAIN_TOO_LONG'
  | 'PKI_CHAIN_TOO_COMPLEX'
  | 'PKI_TOO_MANY_CERTIFICATES';

/** A refusal of this package. */
export function pkiError(code: PkiCode, message: string, detail: RefusalDetail = {}): KallioError<PkiCode> {
  return new KallioError(code, message, detail);
}

/** Was this refused here, rather than broken? */
export function isPkiError(error: unknown): error is KallioError<PkiCode> {
  return error instanceof KallioError && error.code.startsWith('PKI_');
}
