export {
  type Binding,
  type EvidenceParts,
  imaBytes,
  type PartDigests,
  partsOf,
  qualifyingData,
  type ShownIma,
} from './binding.ts';
export type { EvidenceCode } from './error.ts';
export { type CommandLine, commandLines } from './eventlog/command-line.ts';
export { decodeNote, type EventContent } from './eventlog/content.ts';
export type { Signature, SignatureList } from './eventlog/data/signature-list.ts';
export { type DecodedEvent, decodeEvent, type MeasuredPart, measuresText } from './eventlog/decode.ts';
export { type EventLog, eventTypeName, type FirmwareEvent, type FirmwareNote } from './eventlog/event.ts';
export { parseEventLog } from './eventlog/parse.ts';
export { digestOfBank, eventDataIsMeasured, replayEventLog } from './eventlog/replay.ts';
export { type SecureBootAuthority, type SecureBootState, secureBootState } from './eventlog/secure-boot.ts';
export { ImaTextReader, readImaText } from './ima/ascii.ts';
export { ImaLogReader, type ImaReadOptions, imaEntries, readImaLog } from './ima/binary.ts';
export {
  decodeImaEntry,
  type ImaDigest,
  type ImaEntry,
  type ImaMeasurement,
  usualDigestStart,
  usualName,
} from './ima/entry.ts';
export { ImaReplay, type ImaReplayState, imaStart, replayIma } from './ima/replay.ts';
export { writeImaLog } from './ima/write.ts';
export {
  type ContainerPhase,
  instanceCommitment,
  type LoggedContainer,
  replayInstanceLog,
  runningInstances,
} from './instance-log.ts';
export { type MeasureRecord, parseMeasureLog } from './measure-log/parse.ts';
export { type MeasureReplay, recordTextIsMeasured, replayMeasureLog } from './measure-log/replay.ts';
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
export { type AuthenticQuote, authenticateQuote, type QuoteExpectation } from './quote.ts';
export { CheckedSignature, type TakenToHold } from './quote-signature.ts';
export { type OfferedPcrs, quotedPcrs, type VerifiedQuote } from './quoted-pcrs.ts';
export { type SigningKeyBinding, signingKeyQualifyingData } from './signing-key.ts';
export { type WrittenMessage, writeMessage } from './written.ts';
