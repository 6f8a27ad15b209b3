export { type Binding, type EvidenceParts, partsOf, qualifyingData } from './binding.ts';
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
