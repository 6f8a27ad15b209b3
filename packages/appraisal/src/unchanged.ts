import { type Digest, sameBytes } from '@kallio/codec';
import type { VerifiedQuote } from '@kallio/evidence';
import type { Appraisal, ShownInput } from './appraise.ts';
import type { Continuity } from './continuity.ts';
import type { ImageReference } from './instances.ts';
import type { CompiledPolicy } from './policy/compile.ts';
import type { Endorsement } from './tier.ts';

/** What a machine came to, and all that went into it beside the time of its quote. */
interface Judgement {
  readonly kept: Parts;
  readonly compiled: CompiledPolicy;
  readonly endorsement: Endorsement;
  readonly firmwareVersion: bigint;
  /** Of the PCRs that the policy names, no others. */
  readonly pcrDigest: Uint8Array;
  /** Each image that was asked for, with what was known of it. */
  readonly images: ReadonlyMap<Digest, ImageReference | undefined>;
  readonly platform: Appraisal['platform'];
  readonly instances: Appraisal['instances'];
}

type Parts = Omit<Continuity, 'boot' | 'updates'>;

/** The last judgement that left everything as it was, by the instance log's state that it was made with. */
const judgements = new WeakMap<Continuity['instanceLog'], Judgement>();

/**
 * The judgement of a machine on which nothing has happened since the last one: the same PCRs quoted, no entry more of any
 * log, the same inventory, policy and reference values. Judging is a function of these alone, so it need not be done
 * again. The quote is none of it: whoever calls this has verified that it is of now.
 */
export function judgedBefore(
  { shown, images, endorsement }: Required<ShownInput>,
  compiled: CompiledPolicy,
  quote: VerifiedQuote,
  previous: Continuity | undefined,
): Pick<Appraisal, 'platform' | 'instances'> | undefined {
  if (previous?.updates !== undefined || previous === undefined) return undefined;
  if (!showsNothingNew(shown, previous)) return undefined;
  const known = judgements.get(previous.instanceLog);
  if (
    known === undefined ||
    known.compiled !== compiled ||
    !sameParts(known.kept, previous) ||
    !sameEndorsement(known.endorsement, endorsement) ||
    known.firmwareVersion !== quote.firmwareVersion ||
    !sameBytes(known.pcrDigest, quote.pcrDigest)
  ) {
    return undefined;
  }
  for (const [digest, reference] of known.images) if (images(digest) !== reference) return undefined;
  return known;
}

/** Keeps a judgement that changed nothing of what was kept, for {@link judgedBefore}. */
export function keepJudgement(judgement: Judgement, { shown }: ShownInput, previous: Continuity): void {
  // Windows count boots and uses: what an announced update means is asked each time.
  if (judgement.compiled.updates.length > 0) return;
  if (showsNothingNew(shown, previous) && sameParts(judgement.kept, previous)) {
    judgements.set(previous.instanceLog, judgement);
  }
}

function showsNothingNew(
  { eventLog, ima, instanceLog, inventory }: ShownInput['shown'],
  previous: Continuity,
): boolean {
  return (
    eventLog === undefined &&
    ima === undefined &&
    instanceLog?.from === previous.instanceLog.entries &&
    instanceLog.entries.length === 0 &&
    instanceLog.more === undefined &&
    inventory !== undefined &&
    'unchanged' in inventory &&
    inventory.unchanged === previous.inventory?.digest
  );
}

/** Parts that did not change are the same objects from one evidence to the next. */
function sameParts(a: Parts, b: Parts): boolean {
  return (
    a.instanceLog === b.instanceLog &&
    a.eventLog === b.eventLog &&
    a.ima === b.ima &&
    a.inventory === b.inventory
  );
}

function sameEndorsement(a: Endorsement, b: Endorsement): boolean {
  return a.kind === b.kind && (a.kind !== 'hypervisor' || b.kind !== 'hypervisor' || a.reason === b.reason);
}
