export { type Authorization, NO_PASSWORD } from './authorization.ts';
export { type Attested, certify, quote } from './commands/attestation.ts';
export { readClock } from './commands/clock.ts';
export { type NvPublic, nvRead, nvReadPublic } from './commands/nv.ts';
export {
  activateCredential,
  type Created,
  create,
  createPrimary,
  flushContext,
  type Loaded,
  load,
  readPublicArea,
} from './commands/objects.ts';
export { pcrExtend, pcrRead, readPcrs } from './commands/pcr.ts';
export { getRandom } from './commands/random.ts';
export { policySecret, startPolicySession } from './commands/sessions.ts';
export { sign } from './commands/signing.ts';
export { selfTest, shutdown, startup } from './commands/startup.ts';
export { EK_NV, HANDLE } from './handles.ts';
export { decodeResponseCode, type ResponseCode } from './response-code.ts';
export { akTemplate, type EkKind, ekTemplate, signingKeyTemplate, storageTemplate } from './templates.ts';
export { type Command, type Response, Tpm, TpmResponseError } from './tpm.ts';
export { openTransport } from './transports/open.ts';
export type { Transport } from './transports/transport.ts';
