import type { Refusal } from '@kallio/codec';
import type { Attestation, EvidenceMessage, OfferedPcrs, ShownIma } from '@kallio/evidence';
import {
  type AppraisalInput,
  bootOf,
  judgeShown,
  type PlatformAppraisal,
  verifiedQuote,
} from './appraise.ts';
import { type AppraisalCode, because, verdictOf } from './codes.ts';
import type { BootState } from './continuity.ts';
import { compilePolicy, type ReferenceSets } from './policy/compile.ts';
import type { AppraisalPolicy } from './policy/schema.ts';

/** A quote by itself, outside Kallio's evidence message: what somebody with files in hand has. */
export interface QuoteInput
  extends Partial<Pick<EvidenceMessage, 'eventLog' | 'instanceLog' | 'inventory'>>,
    Pick<AppraisalInput, 'images' | 'endorsement'> {
  readonly ima?: ShownIma | undefined;
  readonly quote: Attestation;
  readonly pcrs: readonly OfferedPcrs[];
  /** TPMT_PUBLIC of the AK. Whether it is an AK at all, and whose, is for the caller to know. */
  readonly akPublic: Uint8Array;
  /** What the quote must be bound to: the nonce itself. */
  readonly qualifyingData: Uint8Array;
  /** Left out, only what needs no reference values is judged, and the best state is UNKNOWN. */
  readonly policy?: AppraisalPolicy;
  /** The reference-set files that the policy names. */
  readonly sets?: ReferenceSets;
}

/** What a quote by itself came to. */
export interface QuoteAppraisal {
  /** True when the AK signed the quote, over this nonce and the PCRs shown. */
  readonly authentic: boolean;
  readonly platform: PlatformAppraisal;
  /** How much of the logs was replayed to the quote. */
  readonly replayed: { readonly events?: number; readonly imaEntries?: number };
  /** The boot that the quote was made in; absent when it was not authentic. */
  readonly boot?: BootState;
}

/** What stands for a missing reference value. Without a policy every value is missing: one reason says so for all. */
const REFERENCE_MISSING: ReadonlySet<AppraisalCode> = new Set([
  'PCR_NO_REFERENCE',
  'PCR_UNEXPLAINED',
  'IMA_NO_REFERENCE',
]);

/**
 * Judges a quote and the logs beside it by the same functions as {@link appraise} judges an evidence message. Pure, and
 * never throws for what its input holds. Nothing of an earlier boot is known here, so a roll-back can't be seen.
 */
export function appraiseQuote(input: QuoteInput): QuoteAppraisal {
  const { policy = emptyPolicy(input.pcrs) } = input;
  const compiled = compilePolicy(policy, input.sets);
  const quote = verifiedQuote(input, () => ({ ...input, bank: policy.bank, pcrs: compiled.pcrs }));
  if (!('pcrs' in quote)) {
    return { authentic: false, platform: { ...verdictOf([quote]), limits: [] }, replayed: {} };
  }
  const { platform, next } = judgeShown({ ...input, policy, shown: input }, compiled, quote, {});
  return {
    authentic: true,
    platform: input.policy === undefined ? withoutPolicy(platform) : platform,
    replayed: {
      ...(next.eventLog === undefined ? {} : { events: next.eventLog.events.length }),
      ...(next.ima === undefined ? {} : { imaEntries: next.ima.entries }),
    },
    boot: bootOf(quote),
  };
}

/** Asks for the PCRs that are offered, of the bank that logs are replayed in, and has a reference value for none. */
function emptyPolicy(offered: readonly OfferedPcrs[]): AppraisalPolicy {
  return {
    policy: 'kallio-policy-v1',
    id: 'none',
    bank: 'sha256',
    pcrs: Object.keys(offered[0]?.values ?? {}).map(Number),
    reference: { pcrs: {} },
    tiers: ['A', 'B', 'C'],
  };
}

/** An empty policy is never a pass: what holds without one leaves the machine UNKNOWN. */
function withoutPolicy({ refusals, ...platform }: PlatformAppraisal): PlatformAppraisal {
  const none: Refusal<AppraisalCode> = because(
    'POLICY_NONE',
    'There is no policy, so nothing says what this machine should have measured.',
    { hint: 'Give a policy: kallio policy --help says how one is made.' },
  );
  return {
    ...platform,
    ...verdictOf([...refusals.filter(({ code }) => !REFERENCE_MISSING.has(code)), none]),
  };
}
