import { canonicalBytes, type Digest, digestOf, KallioError, type Refusal } from '@kallio/codec';
import {
  authenticateQuote,
  type Binding,
  type EvidenceMessage,
  partsOf,
  qualifyingData,
  quotedPcrs,
  type VerifiedQuote,
} from '@kallio/evidence';
import { type BootVerdict, judgeBoot } from './boot.ts';
import { type AppraisalCode, because, refusalOf, type State, type Tier, verdictOf } from './codes.ts';
import type { BootState, Continuity } from './continuity.ts';
import { judgeInstanceLog } from './instance-log.ts';
import { type ImageReference, type InstanceAppraisal, judgeInstances } from './instances.ts';
import { judgePcrs } from './pcrs.ts';
import { type AppraisalPolicy, type CompiledPolicy, compilePolicy } from './policy.ts';
import { judgeTier, limitsOf } from './tier.ts';

/** What an appraisal judges, and by what. */
export interface AppraisalInput {
  /** From the attester: nothing in it is believed. Its shape has been checked. */
  readonly message: EvidenceMessage;
  /** What the verifier knows of its own question. The binding is computed from this and the parts received. */
  readonly expected: Omit<Binding, 'parts'>;
  /** TPMT_PUBLIC of the enrolled AK. */
  readonly akPublic: Uint8Array;
  /** Whether the TPM's EK certificate leads to a maker's public root. Left out, it is taken to lead to none. */
  readonly endorsement?: 'public' | 'private';
  /** What was kept of this attester's last authentic evidence. */
  readonly previous?: Continuity;
  readonly policy: AppraisalPolicy;
  /** Reference values of an image, where they are known. */
  readonly images?: (digest: Digest) => ImageReference | undefined;
  readonly now: Date;
}

/** What the platform came to. */
export interface PlatformAppraisal {
  readonly state: State;
  /** Absent when the quote did not hold: then nothing is known of the machine. */
  readonly tier?: Tier;
  /** Worst first. */
  readonly refusals: readonly Refusal<AppraisalCode>[];
  /** What this evidence can't show, in sentences for a person. */
  readonly limits: readonly string[];
}

/** The result of an appraisal. */
export interface Appraisal {
  /** True when the enrolled AK signed the quote, for this question, over the PCRs shown. */
  readonly authentic: boolean;
  readonly platform: PlatformAppraisal;
  /** By instance name, or container id for what stands in no log. */
  readonly instances: ReadonlyMap<string, InstanceAppraisal>;
  /** To be kept for the next appraisal; what was given, the very object, when the evidence was not authentic. */
  readonly next: Continuity | undefined;
  /** The boot that the quote was made in; absent when it was not authentic. */
  readonly boot?: BootState;
  /** SHA-256 over the message's JCS. */
  readonly evidenceDigest: Digest;
  readonly appraisedAt: Date;
}

/**
 * Judges one evidence message. Pure, and never throws for what the message holds: every reason stands in the result.
 * The checks of {@link authenticate}, the boot and the logs are no policy and can't be switched off.
 */
export function appraise(input: AppraisalInput): Appraisal {
  const { message, previous } = input;
  const evidenceDigest = digestOf(canonicalBytes(message));
  const policy = compilePolicy(input.policy);
  const quote = authenticate(input, policy);
  if (!('pcrs' in quote)) return unauthentic(input, quote, evidenceDigest);

  const boot: BootState = { ...quote.clockInfo, firmwareVersion: quote.firmwareVersion };
  const verdict = judgeBoot(boot, previous);
  if (verdict.kind === 'refused') {
    return {
      authentic: true,
      platform: { ...verdictOf([verdict.refusal]), tier: 'C', limits: [] },
      instances: new Map(),
      // The counters that were seen stay: a roll-back must not become the new normal.
      next: previous === undefined ? undefined : { ...previous },
      boot,
      evidenceDigest,
      appraisedAt: input.now,
    };
  }
  return { ...judgeAuthentic(input, policy, quote, boot, verdict), evidenceDigest };
}

function judgeAuthentic(
  { message, previous, policy, endorsement = 'private', images, now }: AppraisalInput,
  compiled: CompiledPolicy,
  quote: VerifiedQuote,
  boot: BootState,
  bootVerdict: Exclude<BootVerdict, { kind: 'refused' }>,
): Omit<Appraisal, 'evidenceDigest'> {
  const log = judgeInstanceLog(message.instanceLog, quote.pcrs, bootVerdict, previous);
  const explained = new Set<number>(log.explained ? [14] : []);
  const { inventory } = message;
  const instances = judgeInstances({
    containers: log.containers,
    inventory,
    images: images ?? (() => undefined),
  });
  const tier = judgeTier({ endorsement });
  const refusals = [
    ...log.refusals,
    ...judgePcrs(quote.pcrs, compiled, explained),
    ...judgeUnlogged(instances),
    ...(policy.tiers.includes(tier)
      ? []
      : [
          because(
            'TIER_NOT_ALLOWED',
            `The evidence is of tier ${tier}; the policy allows ${policy.tiers.join(', ')}.`,
          ),
        ]),
  ];
  return {
    authentic: true,
    platform: { ...verdictOf(refusals), tier, limits: limitsOf({ tier, endorsement, compiled, inventory }) },
    instances,
    next: { boot, instanceLog: log.state },
    boot,
    appraisedAt: now,
  };
}

/** The verified quote, or why it is none. None of these checks is policy. */
function authenticate(
  { message, expected, akPublic, policy }: AppraisalInput,
  { pcrs }: CompiledPolicy,
): VerifiedQuote | Refusal<AppraisalCode> {
  // The quote is bound to these three as well; asking for them first only gives the refusal its right name.
  if (message.purpose !== expected.purpose) {
    return because(
      'EVIDENCE_PURPOSE',
      `Evidence for ${expected.purpose} is wanted, this is for ${message.purpose}.`,
      {
        pointer: '/purpose',
      },
    );
  }
  if (message.attester !== expected.attester) {
    return because(
      'EVIDENCE_ATTESTER',
      `This evidence is ${message.attester}’s, not ${expected.attester}’s.`,
      {
        pointer: '/attester',
      },
    );
  }
  if (message.nonce !== expected.nonce) {
    return because('EVIDENCE_NONCE', 'This evidence answers another nonce.', {
      pointer: '/nonce',
      hint: 'Ask for a fresh nonce and show evidence again.',
    });
  }
  try {
    const binding: Binding = { ...expected, parts: partsOf(message) };
    const quote = authenticateQuote(message.quote, { akPublic, qualifyingData: qualifyingData(binding) });
    return quotedPcrs(quote, message.pcrs, { bank: policy.bank, pcrs });
  } catch (cause) {
    if (!(cause instanceof KallioError)) throw cause;
    return refusalOf(cause, 'EVIDENCE_MALFORMED');
  }
}

function unauthentic(
  { previous, now }: AppraisalInput,
  refusal: Refusal<AppraisalCode>,
  evidenceDigest: Digest,
): Appraisal {
  return {
    authentic: false,
    platform: { ...verdictOf([refusal]), limits: [] },
    instances: new Map(),
    next: previous,
    evidenceDigest,
    appraisedAt: now,
  };
}

/** A machine on which something runs that nobody logged is not what it says, whatever else is well. */
function judgeUnlogged(instances: ReadonlyMap<string, InstanceAppraisal>): Refusal<AppraisalCode>[] {
  const unlogged = [...instances.values()].filter(({ refusals }) =>
    refusals.some(({ code }) => code === 'INSTANCE_UNLOGGED'),
  );
  if (unlogged.length === 0) return [];
  const names = unlogged.slice(0, 4).map(({ container }) => container.slice(0, 64));
  const more = unlogged.length > names.length ? ', …' : '';
  return [
    because(
      'PLATFORM_RUNS_UNLOGGED',
      `${unlogged.length} container(s) run that stand in no instance log: ${names.join(', ')}${more}.`,
      { pointer: `container:${unlogged[0]?.container}` },
    ),
  ];
}
