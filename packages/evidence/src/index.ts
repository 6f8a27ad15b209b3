export { type Binding, type EvidenceParts, partsOf, qualifyingData } from './binding.ts';
export type { EvidenceCode } from './error.ts';
export {
  type ContainerPhase,
  instanceCommitment,
  type LoggedContainer,
  replayInstanceLog,
  runningInstances,
} from './instance-log.ts';
export {
  Attestation,
  AttesterId,
  EvidenceMessage,
  InstanceEntry,
  InstanceEvent,
  InstanceVerb,
  Inventory,
  PcrBank,
  Purpose,
} from './message.ts';
export { extend, IMA_PCR, INSTANCE_PCR, QUOTED_PCRS, zeroPcr } from './pcr.ts';
export {
  type AuthenticQuote,
  authenticateQuote,
  type QuoteExpectation,
  quotedPcrs,
  type VerifiedQuote,
} from './quote.ts';
