import type { Refusal } from '@kallio/codec';
import type { Inventory } from '@kallio/evidence';
import { type BootLogVerdict, knownMeasurement } from './boot-log.ts';
import type { AppraisalCode, Tier } from './codes.ts';
import type { CompiledPolicy } from './policy/compile.ts';
import type { UpdateWindows } from './updates.ts';

/** PCRs of the firmware: each is extended, with a separator at least, wherever a boot is measured. */
const FIRMWARE_PCRS = [0, 1, 2, 3, 4, 5, 6, 7];

/** Who vouches for a TPM. An operator says so of each root; none is believed by its name. */
export type Endorsement =
  /** A maker whose root certifies chips only. */
  | { readonly kind: 'maker' }
  /** Whoever runs the hypervisors whose virtual TPMs this root certifies, and why the operator believes them. */
  | { readonly kind: 'hypervisor'; readonly reason: string }
  /** Nobody who counts: the TPM may be a program that whoever has root on the machine controls. */
  | { readonly kind: 'private' };

export const PRIVATE: Endorsement = { kind: 'private' };

/** What decides how much a platform's evidence can show. */
export interface TierFacts {
  readonly endorsement: Endorsement;
  readonly quoted: ReadonlyMap<number, Uint8Array>;
  /** What was found against the boot log and PCRs. */
  readonly refusals: readonly Refusal<AppraisalCode>[];
  readonly excluded: ReadonlyMap<number, string>;
  /** True when an IMA log was replayed and the policy has reference values for it. */
  readonly ima: boolean;
  readonly verifiedRoot: boolean;
}

/** The strength of the evidence. A TPM that nobody vouches for may be a program on the machine itself: never better than C. */
export function judgeTier(facts: TierFacts): Tier {
  if (facts.endorsement.kind === 'private' || !isMeasuredBoot(facts)) return 'C';
  if (facts.verifiedRoot) return 'A';
  return facts.ima ? 'B' : 'C';
}

/** A boot is measured when every firmware PCR was quoted, was extended, and was judged without a reason against it. */
function isMeasuredBoot({ quoted, refusals, excluded }: TierFacts): boolean {
  const extended = FIRMWARE_PCRS.every((pcr) => quoted.get(pcr)?.some((byte) => byte !== 0) === true);
  // PCRs that a policy excludes are not judged, but PCRs 0, 4 and 7 are what a measured boot is.
  const judged = [0, 4, 7].every((pcr) => !excluded.has(pcr));
  return extended && judged && refusals.length === 0;
}

/** True where the boot log, replayed to the quote, holds the event that only a verified root leads to. */
export function hasVerifiedRoot(
  { kept, judged }: Pick<BootLogVerdict, 'kept' | 'judged'>,
  policy: CompiledPolicy,
  windows: UpdateWindows,
): boolean {
  return (
    kept?.events.some(
      (event) =>
        judged.has(event.pcr) && knownMeasurement(event, policy, windows)?.known.verifiedRoot === true,
    ) ?? false
  );
}

/** What evidence of this kind can't show, for a person. */
export function limitsOf({
  tier,
  endorsement,
  compiled,
  inventory,
}: {
  readonly tier: Tier;
  readonly endorsement: Endorsement;
  readonly compiled: CompiledPolicy;
  readonly inventory: Inventory | undefined;
}): string[] {
  const limits = tier === 'C' ? [tierC(endorsement)] : [];
  if (endorsement.kind === 'hypervisor') {
    limits.push(
      `The TPM is virtual: whoever runs the hypervisor holds its keys and can make it say anything. The operator believes them: ${endorsement.reason}`,
    );
  }
  if (tier === 'B') {
    limits.push(
      'Tier B: files are measured when they are used; nothing keeps others from lying on the disk.',
    );
  }
  for (const [pcr, reason] of compiled.excluded) limits.push(`PCR ${pcr} is not judged: ${reason}`);
  if (inventory === undefined) {
    limits.push('No instance log and no inventory are shown: containers were not looked at.');
  } else if (inventory.scope !== 'machine') {
    limits.push(
      inventory.scope === 'none'
        ? 'No containers were looked at: this machine’s agent starts none.'
        : `Only containers under ${inventory.scope.slice(0, 256).toWellFormed()} were looked at.`,
    );
  }
  return limits;
}

function tierC({ kind }: Endorsement): string {
  return kind === 'private'
    ? 'Tier C: no TPM maker that this verifier names as one vouches for the TPM, so nothing shows that it is a chip of its own. Whoever has root beside a software TPM can make it say anything about firmware, kernel and host programs.'
    : 'Tier C: this evidence does not show which firmware, kernel and host programs run, only the TPM’s identity, its boots, and the instance log.';
}
