export { type Credential, makeCredential } from '../software/credential.ts';
export { ecdsaDer } from '../software/der.ts';
export { kdfa, kdfe } from '../software/kdf.ts';
export { checkAk, checkEk, checkSigningKey } from '../software/key-properties.ts';
export { PolicyCalculator } from '../software/policy.ts';
export { fingerprintOf, publicKeyOf } from '../software/public-key.ts';
export {
  approvalMessage,
  checkGoverned,
  governingPolicy,
  type PcrValues,
  pcrPolicy,
  SIGNING_POLICY_REF,
  signingAuthority,
  signingPolicy,
  signingPolicyOf,
} from '../software/signing-policy.ts';
export {
  type VerifyAside,
  type VerifyQuestion,
  verifyQuestion,
  verifySignature,
  verifySignatureAside,
} from '../software/verify.ts';
export { type CurveName, type HashName, hashBytes, hashId, hashName } from './algorithms.ts';
export {
  type CertifyAttest,
  type ClockInfo,
  type CreationAttest,
  type NvAttest,
  parseAttest,
  type QuoteAttest,
  type TpmsAttest,
} from './attest.ts';
export { decodeAttributes, encodeAttributes, type ObjectAttributes } from './attributes.ts';
export { marshalContext, parseContext, type SavedContext } from './context.ts';
export type { TpmCode } from './error.ts';
export { marshalNvPublic, NV_ATTRIBUTE, type NvPublic, nvName, parseNvPublic } from './nv-public.ts';
export { type PcrSelection, readPcrSelections, writePcrSelections } from './pcr-selection.ts';
export {
  type EccPublic,
  type KeyedHashPublic,
  marshalPublic,
  nameOf,
  parsePublic,
  type RsaPublic,
  type SigningScheme,
  type SymmetricDefinition,
  type TpmtPublic,
} from './public.ts';
export { marshalSignature, parseSignature, readSignature, type TpmtSignature } from './signature.ts';
export { readSized, writeSized } from './sized.ts';
export { readTicket, type Ticket, writeTicket } from './ticket.ts';
