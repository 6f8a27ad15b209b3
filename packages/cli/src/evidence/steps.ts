import type { AppraisalCode } from '@kallio/appraisal';
import type { Refusal } from '@kallio/codec';

/** What is checked of evidence in files, in the order in which it is. */
export const STEPS = [
  'AK',
  'signature',
  'message',
  'nonce',
  'selection',
  'PCR values',
  'event log',
  'IMA log',
  'policy',
] as const;
export type StepName = (typeof STEPS)[number];

/** One line of the account. */
export interface Step {
  readonly step: StepName;
  /** `skipped`: an earlier step failed, or there was nothing to look at. */
  readonly status: 'ok' | 'refused' | 'skipped';
  readonly code?: string;
  /** A sentence. */
  readonly message: string;
  readonly pointer?: string;
}

/** What is wrong with a quote itself, by the step that finds it. */
const OF_QUOTE: ReadonlyMap<string, StepName> = new Map([
  ['QUOTE_SIGNATURE', 'signature'],
  ['QUOTE_MAGIC', 'message'],
  ['QUOTE_TYPE', 'message'],
  ['QUOTE_BINDING', 'nonce'],
  ['QUOTE_SELECTION', 'selection'],
  ['PCR_BANK_NOT_QUOTED', 'PCR values'],
  ['PCR_NOT_QUOTED', 'PCR values'],
  ['PCR_MISSING', 'PCR values'],
  ['PCR_DIGEST', 'PCR values'],
]);

/** What only a policy says. Everything else of the kind is wrong whatever the policy. */
const OF_POLICY: ReadonlySet<string> = new Set<AppraisalCode>([
  'EVENT_UNKNOWN',
  'EVENT_MISSING',
  'IMA_MISSING',
  'IMA_NO_REFERENCE',
  'IMA_FILE_UNKNOWN',
  'IMA_FILE_MISPLACED',
  'IMA_VIOLATION',
]);

/** The step that a refusal belongs to. */
export function stepOf({ code, pointer }: Refusal): StepName {
  if (code === 'QUOTE_MALFORMED') return pointer === '/quote/signature' ? 'signature' : 'message';
  const ofQuote = OF_QUOTE.get(code);
  if (ofQuote !== undefined) return ofQuote;
  if (OF_POLICY.has(code)) return 'policy';
  if (code.startsWith('EVENTLOG_') || code === 'EVENT_SEPARATOR') return 'event log';
  if (code.startsWith('IMA_') || (code === 'LOG_WITHOUT_QUOTE' && pointer === 'pcr:10')) return 'IMA log';
  return 'policy';
}

/** A refusal as a line. */
export function refusedStep({ code, message, pointer }: Refusal, step: StepName): Step {
  return { step, status: 'refused', code, message, ...(pointer === undefined ? {} : { pointer }) };
}
