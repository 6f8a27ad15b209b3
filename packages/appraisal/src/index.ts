export { type Appraisal, type AppraisalInput, appraise, type PlatformAppraisal } from './appraise.ts';
export type { AppraisalCode, State, Tier } from './codes.ts';
export { type BootState, type Continuity, continuityFromJson, continuityToJson } from './continuity.ts';
export { SessionClaims } from './ear/claims.ts';
export { type EarInput, issueEar } from './ear/issue.ts';
export { type EarClaims, type EarCode, type EarTrust, type SubjectClaims, verifyEar } from './ear/verify.ts';
export { type Held, heldOf } from './held.ts';
export type { ImageReference, InstanceAppraisal } from './instances.ts';
export { AppraisalPolicy, bareTpmPolicy } from './policy.ts';
