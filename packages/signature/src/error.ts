import { KallioError, type RefusalDetail } from '@kallio/codec';

/** Codes of this package. Steps may also refuse with codes of the packages below (`LOG_…`, `EAR_…`, `JSON_…`). */
export type SignatureCode =
  // The image has no signature at all; it has too many candidates to look at.
  | 'IMAGE_UNSIGNED'
  | 'IMAGE_TOO_MANY_SIGNATURES'
  | 'IMAGE_FILE_MANIFEST'
  // The bundle as a document.
  | 'BUNDLE_TOO_LARGE'
  | 'BUNDLE_MEDIA_TYPE'
  | 'BUNDLE_KEYLESS'
  | 'BUNDLE_SHAPE'
  | 'BUNDLE_PAYLOAD_TYPE'
  | 'BUNDLE_SIGNATURE_COUNT'
  | 'BUNDLE_LOG_ENTRY_COUNT'
  | 'BUNDLE_LOG_ENTRY_KIND'
  | 'BUNDLE_TRUSTED_ROOT'
  | 'BUNDLE_LOG_UNTRUSTED'
  // The signed statement.
  | 'STATEMENT_TYPE'
  | 'STATEMENT_PREDICATE_TYPE'
  | 'STATEMENT_SUBJECT_COUNT'
  | 'STATEMENT_SUBJECT_DIGEST'
  | 'STATEMENT_SHAPE'
  | 'STATEMENT_NOT_CANONICAL'
  | 'BUILD_CLAIMS'
  // What the steps find.
  | 'SIGNATURE_SUBJECT_MISMATCH'
  | 'SIGNATURE_KEY_UNSUITABLE'
  | 'SIGNATURE_KEY_HINT'
  | 'SIGNATURE_ENCODING'
  | 'SIGNATURE_INVALID'
  | 'SIGNATURE_LOG_LEAF'
  | 'SIGNATURE_IMAGE_CONFIG'
  | 'SIGNATURE_PLATFORM'
  | 'SIGNATURE_RESULT_KIND'
  | 'SIGNATURE_RESULT_SUBJECT'
  | 'SIGNATURE_RESULT_STATEMENT'
  | 'SIGNATURE_RESULT_KEY'
  | 'SIGNATURE_RESULT_MISMATCH'
  // The TPM's certification of the signing key, and the raw evidence.
  | 'SIGNING_KEY_NOT_CERTIFIED'
  | 'BUILD_EVIDENCE_MISSING'
  | 'BUILD_EVIDENCE_SHAPE'
  | 'BUILD_EVIDENCE_DIGEST'
  | 'BUILD_EVIDENCE_PURPOSE'
  | 'BUILD_EVIDENCE_BOOT'
  // What the policy says.
  | 'IMAGE_POLICY_INVALID'
  | 'POLICY_BUILDER'
  | 'POLICY_TIER'
  | 'POLICY_SIGNING_KEY'
  | 'POLICY_APPRAISAL'
  | 'POLICY_AGE'
  | 'POLICY_RESULT_AGE'
  // What the policy wants the claims to say.
  | 'CLAIM_NAME'
  | 'CLAIM_LABEL'
  | 'CLAIM_BASE'
  | 'CLAIM_USER'
  | 'CLAIM_FILE_MANIFEST'
  | 'CLAIM_SECURE_BOOT'
  | 'CLAIM_SIGNING_AUTHORITY'
  | 'CLAIM_EVIDENCE'
  // What the policy has revoked.
  | 'REVOKED_BUILDER'
  | 'REVOKED_SIGNING_KEY'
  | 'REVOKED_IMAGE'
  | 'REVOKED_LAYER'
  | 'REVOKED_STATEMENT'
  | 'REVOKED_SESSION'
  | 'REVOKED_EVIDENCE'
  // Whom the policy wants to have seen the log.
  | 'WITNESS_PROOF_MISSING'
  | 'WITNESS_PROOF_SHAPE'
  | 'WITNESS_QUORUM';

/** A refusal of this package. */
export function signatureError(
  code: SignatureCode,
  message: string,
  detail: RefusalDetail = {},
): KallioError<SignatureCode> {
  return new KallioError(code, message, detail);
}
