import { type Digest, digestOf, isDigest, KallioError, type Refusal } from '@kallio/codec';
import {
  type Attestation,
  authenticateQuote,
  type Binding,
  type CheckedSignature,
  type EvidenceMessage,
  IMA_PCR,
  INSTANCE_PCR,
  type OfferedPcrs,
  type PartDigests,
  partsOf,
  type QuoteExpectation,
  qualifyingData,
  quotedPcrs,
  type ShownIma,
  type VerifiedQuote,
  writeMessage,
} from '@kallio/evidence';
import { type BootVerdict, judgeBoot } from './boot.ts';
import { judgeBootLog } from './boot-log.ts';
import { type AppraisalCode, because, refusalOf, type State, type Tier, verdictOf } from './codes.ts';
import type { BootState, Continuity } from './continuity.ts';
import { judgeIma } from './ima/judge.ts';
import { judgeInstanceLog } from './instance-log.ts';
import { digestsOf, type ImageReference, type InstanceAppraisal, judgeInstances } from './instances.ts';
import { inventoryShown } from './inventory.ts';
import { judgePcrs } from './pcrs.ts';
import { type CompiledPolicy, compilePolicy, type ReferenceSets } from './policy/compile.ts';
import type { AppraisalPolicy } from './policy/schema.ts';
import { type Endorsement, hasVerifiedRoot, judgeTier, limitsOf, PRIVATE } from './tier.ts';
import { judgedBefore, keepJudgement } from './unchanged.ts';
import { type KeptUpdate, sentenceOf, type UpdateAppraisal, UpdateWindows } from './updates.ts';

/** What an appraisal judges, and by what. */
export interface AppraisalInput {
  /** From the attester: nothing in it is believed. Its shape has been checked. */
  readonly message: EvidenceMessage;
  /** The message's JCS, where the caller has written it: it is taken for that. */
  readonly written?: string | undefined;
  /** What the verifier knows of its own question. The binding is computed from this and the parts received. */
  readonly expected: Omit<Binding, 'parts'>;
  /** TPMT_PUBLIC of the enrolled AK. */
  readonly akPublic: Uint8Array;
  /** What became of the quote's signature, where it was verified ahead; otherwise it is verified here. */
  readonly checked?: CheckedSignature | undefined;
  /** Who vouches for the TPM, as the verifier knows. Left out, nobody who counts. */
  readonly endorsement?: Endorsement;
  /** What was kept of this attester's last authentic evidence. */
  readonly previous?: Continuity;
  readonly policy: AppraisalPolicy;
  /** The reference-set files that the policy names. Give the same map each time: the policy is compiled once for it. */
  readonly sets?: ReferenceSets;
  /** Reference values of an image, where they are known. */
  readonly images?: (digest: Digest) => ImageReference | undefined;
  readonly now: Date;
}

/** What the platform came to. */
export interface PlatformAppraisal {
  readonly state: State;
  /** Absent when the quote did not hold: then nothing is known of the machine. */
  readonly tier?: Tier;
  /** Who vouched for the TPM; absent with the tier. */
  readonly endorsement?: Endorsement['kind'];
  /** Worst first. */
  readonly refusals: readonly Refusal<AppraisalCode>[];
  /** What this evidence can't show, in sentences for a person. */
  readonly limits: readonly string[];
  /** Updates that the policy announces; absent when the quote did not hold. */
  readonly updates?: readonly UpdateAppraisal[];
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
  /** The message's JCS, to be kept. */
  readonly evidence: Uint8Array;
  /** SHA-256 of that. */
  readonly evidenceDigest: Digest;
  readonly appraisedAt: Date;
}

/**
 * Judges one evidence message. Pure, and never throws for what the message holds: every reason stands in the result.
 * The checks of {@link authenticate}, the boot and the logs are no policy and can't be switched off.
 */
export function appraise(input: AppraisalInput): Appraisal {
  const { message, previous } = input;
  const { bytes, digests } = writeMessage(message, input.akPublic, input.written);
  const evidence = { evidence: bytes, evidenceDigest: digestOf(bytes) };
  const policy = compilePolicy(input.policy, input.sets);
  const quote = authenticate(input, policy, digests);
  if (!('pcrs' in quote)) return { ...unauthentic(input, quote), ...evidence };

  const boot = bootOf(quote);
  const verdict = judgeBoot(boot, previous);
  if (verdict.kind === 'refused') {
    return {
      authentic: true,
      platform: {
        ...verdictOf([verdict.refusal]),
        tier: 'C',
        endorsement: (input.endorsement ?? PRIVATE).kind,
        limits: [],
      },
      instances: new Map(),
      // The counters that were seen stay: a roll-back must not become the new normal.
      next: previous === undefined ? undefined : { ...previous },
      boot,
      ...evidence,
      appraisedAt: input.now,
    };
  }
  const kept = { previous: sameBoot(verdict, input), updates: previous?.updates ?? [] };
  const { platform, instances, next } = judgeShown({ ...input, shown: message }, policy, quote, kept);
  return {
    authentic: true,
    platform,
    instances,
    next,
    boot,
    evidence: bytes,
    evidenceDigest: evidence.evidenceDigest,
    appraisedAt: input.now,
  };
}

/** What is judged once a quote is known to be authentic. */
export interface ShownInput extends Pick<AppraisalInput, 'policy' | 'endorsement' | 'images'> {
  /** What was shown beside the quote. Somebody with files in hand has no instance log and no inventory. */
  readonly shown: Partial<Pick<EvidenceMessage, 'eventLog' | 'instanceLog' | 'inventory'>> & {
    readonly ima?: ShownIma | undefined;
  };
}

/** What was kept: of this boot, if there is anything, and of boots before it. */
interface KeptForBoot {
  readonly previous?: Continuity | undefined;
  readonly updates?: readonly KeptUpdate[];
}

type Judged = Pick<Appraisal, 'platform' | 'instances'> & { readonly next: Continuity };

/** Judges what was shown with an authentic quote, from where `previous` left off in the same boot. */
export function judgeShown(
  { shown, policy, endorsement = PRIVATE, images = () => undefined }: ShownInput,
  compiled: CompiledPolicy,
  quote: VerifiedQuote,
  { previous, updates = [] }: KeptForBoot,
): Judged {
  const input = { shown, policy, endorsement, images };
  const before = judgedBefore(input, compiled, quote, previous);
  if (before !== undefined && previous !== undefined) {
    const { platform, instances } = before;
    return { platform, instances, next: { ...previous, boot: bootOf(quote) } };
  }
  const asked = new Map<Digest, ImageReference | undefined>();
  const judged = judgeAnew(
    {
      ...input,
      images: (digest) => {
        if (!asked.has(digest)) asked.set(digest, images(digest));
        return asked.get(digest);
      },
    },
    compiled,
    quote,
    { previous, updates },
  );
  if (previous !== undefined) {
    const { firmwareVersion, pcrDigest } = quote;
    const facts = { compiled, endorsement, firmwareVersion, pcrDigest, images: asked };
    keepJudgement({ ...judged, ...facts, kept: judged.next }, input, previous);
  }
  return judged;
}

function judgeAnew(
  { shown, policy, endorsement, images }: Required<ShownInput>,
  compiled: CompiledPolicy,
  quote: VerifiedQuote,
  { previous, updates }: Required<KeptForBoot>,
): Judged {
  const inventory = inventoryShown(shown.inventory, previous?.inventory);
  const windows = new UpdateWindows(compiled.updates, updates, quote.clockInfo.resetCount);
  const bootLog = judgeBootLog(shown.eventLog, previous?.eventLog, quote.pcrs, compiled, windows);
  const bootValue = bootLog.values.get(INSTANCE_PCR);
  const log = judgeInstanceLog(shown.instanceLog, quote.pcrs, previous?.instanceLog, bootValue);
  const files = log.state.images.flatMap((image) => {
    const reference = isDigest(image) ? images(image) : undefined;
    return reference === undefined ? [] : [digestsOf(reference)];
  });
  const ima = judgeIma({
    shown: shown.ima,
    previous: previous?.ima,
    quoted: quote.pcrs,
    policy: compiled,
    windows,
    inImage: (digest) => files.some((known) => known.has(digest)),
  });
  const judged = new Set(bootLog.judged);
  if (ima.explained) judged.add(IMA_PCR);
  if (log.explained && bootValue === undefined) judged.add(INSTANCE_PCR);
  if (!log.explained) judged.delete(INSTANCE_PCR);
  const pcrRefusals = judgePcrs(quote.pcrs, compiled, judged, windows);
  // While log or inventory is not known, neither is any instance: none is called missing, or unlogged.
  const instances =
    log.incomplete || inventory.value === undefined
      ? new Map<string, InstanceAppraisal>()
      : judgeInstances({ containers: log.containers, inventory: inventory.value, images });
  const tier = judgeTier({
    endorsement,
    quoted: quote.pcrs,
    refusals: [...bootLog.refusals, ...pcrRefusals],
    excluded: compiled.excluded,
    ima: ima.explained && compiled.ima !== undefined,
    verifiedRoot: hasVerifiedRoot(bootLog, compiled, windows),
  });
  const refusals = [
    ...bootLog.refusals,
    ...ima.refusals,
    ...log.refusals,
    ...inventory.refusals,
    ...pcrRefusals,
    ...judgeUnlogged(instances),
    ...(policy.tiers.includes(tier) ? [] : [tierNotAllowed(tier, policy)]),
  ];
  return {
    platform: {
      ...verdictOf(refusals),
      tier,
      endorsement: endorsement.kind,
      limits: [
        ...limitsOf({ tier, endorsement, compiled, inventory: inventory.value }),
        ...windows.appraisals().map(sentenceOf),
      ],
      updates: windows.appraisals(),
    },
    instances,
    next: {
      boot: bootOf(quote),
      instanceLog: log.state,
      ...(bootLog.kept === undefined ? {} : { eventLog: bootLog.kept }),
      ...(ima.kept === undefined ? {} : { ima: ima.kept }),
      ...(inventory.kept === undefined ? {} : { inventory: inventory.kept }),
      ...(compiled.updates.length === 0 ? {} : { updates: windows.kept() }),
    },
  };
}

/** The boot that a quote was made in. */
export function bootOf({ clockInfo, firmwareVersion }: VerifiedQuote): BootState {
  return { ...clockInfo, firmwareVersion };
}

/**
 * What was kept, where this evidence goes on from it. TPM Restart (from hibernation) resets PCRs and TPM Resume does
 * not, and both count up restartCount: the attester's logs say which it was, and their replay whether that is true.
 */
function sameBoot(
  verdict: Exclude<BootVerdict, { kind: 'refused' }>,
  { message, previous }: AppraisalInput,
): Continuity | undefined {
  if (verdict.kind === 'fresh' || previous === undefined) return undefined;
  const anew = verdict.resumed && message.instanceLog.from === 0 && previous.instanceLog.entries > 0;
  return anew ? undefined : previous;
}

function tierNotAllowed(tier: Tier, policy: AppraisalPolicy): Refusal<AppraisalCode> {
  return because(
    'TIER_NOT_ALLOWED',
    `The evidence is of tier ${tier}; the policy allows ${policy.tiers.join(', ')}.`,
  );
}

/** The verified quote, or why it is none. None of these checks is policy. */
function authenticate(
  { message, expected, akPublic, policy, checked }: AppraisalInput,
  { pcrs }: CompiledPolicy,
  digests: PartDigests,
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
  return verifiedQuote(message, () => {
    const binding: Binding = { ...expected, parts: partsOf(message, digests) };
    return { akPublic, checked, qualifyingData: qualifyingData(binding), bank: policy.bank, pcrs };
  });
}

/** What a quote proves, if it is the answer to the question that `expected` gives; otherwise why not. */
export function verifiedQuote(
  { quote, pcrs }: { readonly quote: Attestation; readonly pcrs: readonly OfferedPcrs[] },
  expected: () => QuoteExpectation,
): VerifiedQuote | Refusal<AppraisalCode> {
  try {
    const expectation = expected();
    return quotedPcrs(authenticateQuote(quote, expectation), pcrs, expectation);
  } catch (cause) {
    if (!(cause instanceof KallioError)) throw cause;
    return refusalOf(cause, 'EVIDENCE_MALFORMED');
  }
}

function unauthentic(
  { previous, now }: AppraisalInput,
  refusal: Refusal<AppraisalCode>,
): Omit<Appraisal, 'evidence' | 'evidenceDigest'> {
  return {
    authentic: false,
    platform: { ...verdictOf([refusal]), limits: [] },
    instances: new Map(),
    next: previous,
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
