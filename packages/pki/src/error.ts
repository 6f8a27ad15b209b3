import { KallioError, type RefusalDetail } from '@kallio/codec';

/** Codes of this package. */
export type PkiCode =
  | 'PKI_CERTIFICATE_MALFORMED'
  | 'PKI_SAN_MALFORMED'
  | 'PKI_SPIFFE_ID'
  | 'PKI_EK_SELF_SIGNED'
  | 'PKI_EK_UNTRUSTED'
  | 'PKI_EK_VALIDITY'
  | 'PKI_EK_USAGE'
  | 'PKI_EK_IS_CA'
  | 'PKI_EK_WEAK'
  | 'PKI_ISSUER_NOT_CA'
  | 'PKI_ISSUER_KEY_USAGE'
  | 'PKI_PATH_LENGTH'
  | 'PKI_SIGNATURE'
  | 'PKI_SHA1'
  | 'PKI_CRITICAL_EXTENSION';

/** A refusal of this package. */
export function pkiError(code: PkiCode, message: string, detail: RefusalDetail = {}): KallioError<PkiCode> {
  return new KallioError(code, message, detail);
}
