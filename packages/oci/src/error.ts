import { KallioError, type RefusalDetail } from '@kallio/codec';

/** Codes of this package. */
export type OciCode =
  | 'OCI_REFERENCE'
  | 'OCI_NOT_FOUND'
  | 'OCI_REGISTRY'
  | 'OCI_UNREACHABLE'
  | 'OCI_PROXY'
  | 'OCI_DENIED'
  | 'OCI_CREDENTIALS'
  | 'OCI_DIGEST_MISMATCH'
  | 'OCI_SIZE_MISMATCH'
  | 'OCI_TOO_LARGE'
  | 'OCI_MEDIA_TYPE'
  | 'OCI_MANIFEST'
  | 'OCI_CONFIG'
  | 'OCI_PLATFORM'
  | 'OCI_DIFF_ID_MISMATCH'
  | 'OCI_LAYER'
  | 'OCI_LAYER_LIMIT'
  | 'OCI_LAYER_PATH'
  | 'OCI_LAYOUT'
  | 'OCI_REFERRERS'
  | 'FILE_MANIFEST_SHAPE';

/** A refusal of this package. */
export function ociError(code: OciCode, message: string, detail: RefusalDetail = {}): KallioError<OciCode> {
  return new KallioError(code, message, detail);
}
