export { type Appraisal, type AppraisalInput, appraise, type PlatformAppraisal } from './appraise.ts';
export type { AppraisalCode, State, Tier } from './codes.ts';
export {
  type BootState,
  type Continuity,
  continuityFromJson,
  continuityToJson,
  keptEventLogFromJson,
  keptInventoryFromJson,
} from './continuity.ts';
export { continuityRoot } from './continuity-root.ts';
export { SessionClaims } from './ear/claims.ts';
export { dottedEar } from './ear/dotted.ts';
export { es256OfDer } from './ear/es256.ts';
export { type EarInput, earPayload, earToSign, issueEar, issueEarAside, signEar } from './ear/issue.ts';
export {
  type EarClaims,
  type EarCode,
  type EarTrust,
  earClaims,
  type SubjectClaims,
  verifyEar,
} from './ear/verify.ts';
export { type Held, heldOf } from './held.ts';
export type { ImageReference, InstanceAppraisal } from './instances.ts';
export { bareTpmPolicy } from './policy/bare.ts';
export { type PolicyCode, parsePolicy } from './policy/check.ts';
export { namedSets, type ReferenceSets } from './policy/compile.ts';
export { policyDigest } from './policy/digest.ts';
export { policySchema } from './policy/json-schema.ts';
export { PathClasses } from './policy/path-classes.ts';
export {
  AppraisalPolicy,
  type BootClass,
  type BootValue,
  type PathClass,
  type Reference,
} from './policy/schema.ts';
export { appraiseQuote, type QuoteAppraisal, type QuoteInput } from './quote.ts';
export type { ReferenceCode } from './reference-set/code.ts';
export {
  type DigestKind,
  parseReferenceSet,
  type ReferenceSet,
  referenceSetOf,
} from './reference-set/set.ts';
export type { Endorsement } from './tier.ts';
export type { UpdateAppraisal } from './updates.ts';
