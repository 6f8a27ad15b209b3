import {
  type AppraisalPolicy,
  appraiseQuote,
  type QuoteAppraisal,
  type ReferenceSets,
} from '@kallio/appraisal';
import { fromBase64, toBase64 } from '@kallio/codec';
import { type EvidenceMessage, partsOf, qualifyingData } from '@kallio/evidence';
import type { AttesterMeasurements } from '@kallio/protocol';
import { cliError } from '../output/output.ts';

/** What is needed to judge evidence anew. */
export type Judgeable = Pick<
  AttesterMeasurements,
  'attester' | 'akPublic' | 'evidence' | 'eventLog' | 'ima' | 'instanceLog' | 'imageFiles'
>;

/**
 * An evidence message by itself, with the AK that must have signed it. Only one that has its logs from their beginning
 * can be judged so (`CLI_EVIDENCE`): later ones go on from where the server stands.
 */
export function measurementsOf(evidence: EvidenceMessage, akPublic: Uint8Array): Judgeable {
  const { attester, eventLog, ima, instanceLog } = evidence;
  if (instanceLog.from !== 0 || (ima?.from ?? 0) !== 0) {
    throw cliError(
      'CLI_EVIDENCE',
      'This message goes on from evidence before it: its logs do not begin at their beginning.',
      'Take it with its logs from the server: name the attester, or the digest of the result.',
    );
  }
  return {
    attester,
    akPublic: toBase64(akPublic),
    evidence,
    ...(eventLog === undefined ? {} : { eventLog }),
    ...(ima === undefined ? {} : { ima: ima.entries }),
    instanceLog,
    imageFiles: [],
  };
}

/**
 * Judges evidence with the logs of its boot anew: that it is the AK’s answer to its nonce, that the logs lead to it, and
 * what a policy says of it. What the server has found is not asked.
 */
export function judgeMeasurements(
  { evidence, akPublic, eventLog, ima, instanceLog, imageFiles }: Judgeable,
  policy?: AppraisalPolicy,
  sets?: ReferenceSets,
): QuoteAppraisal {
  const { purpose, attester, nonce, quote, pcrs, inventory } = evidence;
  const files = new Map(imageFiles.map((digest) => [digest, digest]));
  return appraiseQuote({
    quote,
    pcrs,
    akPublic: fromBase64(akPublic),
    qualifyingData: qualifyingData({ purpose, attester, nonce, parts: partsOf(evidence) }),
    ...(eventLog === undefined ? {} : { eventLog }),
    ...(ima === undefined ? {} : { ima: { from: 0, entries: ima } }),
    instanceLog,
    inventory,
    images: () => ({ files }),
    ...(policy === undefined ? {} : { policy }),
    ...(sets === undefined ? {} : { sets }),
  });
}
