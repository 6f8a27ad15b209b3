/** Codes of an attester's identity. */
export type IdentityCode =
  | 'IDENTITY_OTHER_TPM'
  | 'IDENTITY_NO_EK_CERTIFICATE'
  | 'IDENTITY_EK_MISMATCH'
  | 'IDENTITY_STATE';
