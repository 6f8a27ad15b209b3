import {
  type AppraisalPolicy,
  appraiseQuote,
  type QuoteAppraisal,
  type ReferenceSets,
} from '@kallio/appraisal';
import { fromBase64 } from '@kallio/codec';
import { partsOf, qualifyingData } from '@kallio/evidence';
import type { AttesterMeasurements } from '@kallio/protocol';

/**
 * Judges evidence with the logs of its boot anew: that it is the AK’s answer to its nonce, that the logs lead to it, and
 * what a policy says of it. What the server has found is not asked.
 */
export function judgeMeasurements(
  { evidence, akPublic, eventLog, ima, instanceLog, imageFiles }: AttesterMeasurements,
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
