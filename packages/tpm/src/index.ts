export { type Authorization, NO_PASSWORD, type Protection, type SessionUse } from './authorization.ts';
export { type Attested, certify, certifyCreation, nvCertify, quote } from './commands/attestation.ts';
export { type Capability, type CapabilityName, getCapability } from './commands/capability.ts';
export { readClock } from './commands/clock.ts';
export { contextLoad, contextSave, evictControl, flushContext } from './commands/context.ts';
export { activateCredential, makeCredentialInTpm } from './commands/credential.ts';
export { clear, hierarchyChangeAuth } from './commands/hierarchy.ts';
export {
  type NvProtection,
  nvDefineSpace,
  nvExtend,
  nvRead,
  nvReadPublic,
  nvReference,
  nvUndefineSpace,
  nvWrite,
} from './commands/nv.ts';
export {
  type Created,
  type Creation,
  create,
  createPrimary,
  type Loaded,
  load,
  loadExternal,
  readPublicArea,
  type Sensitive,
  unseal,
} from './commands/objects.ts';
export { pcrEvent, pcrExtend, pcrRead, readPcrs } from './commands/pcr.ts';
export {
  type ApprovedPolicy,
  policyAuthorize,
  policyAuthValue,
  policyCommandCode,
  policyGetDigest,
  policyOr,
  policyPcr,
  policySecret,
} from './commands/policy.ts';
export { getRandom } from './commands/random.ts';
export { type SessionOptions, startPolicySession, startSession } from './commands/sessions.ts';
export { sign, verifySignatureInTpm } from './commands/signing.ts';
export { shutdown, startup } from './commands/startup.ts';
export { getTestResult, selfTest, type TestResult } from './commands/testing.ts';
export { HANDLE } from './handles.ts';
export type { Reference } from './reference.ts';
export { decodeResponseCode, type ResponseCode } from './response-code.ts';
export type { Session } from './sessions/session.ts';
export type { NvPublic } from './structures/nv-public.ts';
export {
  akTemplate,
  EK_CHAIN,
  EK_PROFILES,
  type EkKind,
  type EkProfile,
  ekTemplate,
  sealedTemplate,
  signingKeyTemplate,
  storageTemplate,
} from './templates.ts';
export { type Command, type Response, Tpm, TpmResponseError } from './tpm.ts';
export { openTransport } from './transports/open.ts';
export type { Transport } from './transports/transport.ts';
