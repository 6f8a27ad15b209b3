import type { Inventory } from '@kallio/evidence';
import type { Tier } from './codes.ts';
import type { CompiledPolicy } from './policy.ts';

/** What decides how much a platform's evidence can show. */
export interface TierFacts {
  readonly endorsement: 'public' | 'private';
}

/** The strength of the evidence. A TPM whose maker is not a public root may be a program: never better than C. */
export function judgeTier(_: TierFacts): Tier {
  return 'C';
}

/** What evidence of this kind can't show, for a person. */
export function limitsOf({
  endorsement,
  compiled,
  inventory,
}: {
  readonly tier: Tier;
  readonly endorsement: 'public' | 'private';
  readonly compiled: CompiledPolicy;
  readonly inventory: Inventory;
}): string[] {
  const limits: string[] = [];
  if (endorsement === 'private') {
    limits.push(
      'Tier C: the TPM’s maker is not a public root, so nothing shows that it is a chip of its own; whoever has root beside a software TPM can make it say anything.',
    );
  }
  limits.push(
    'Tier C: this evidence can’t show which firmware, kernel and host programs run; it shows the TPM’s identity, its boots, and the instance log.',
  );
  for (const [pcr, reason] of compiled.excluded) limits.push(`PCR ${pcr} is not judged: ${reason}`);
  if (inventory.scope !== 'machine') limits.push(`Only containers under ${inventory.scope} were looked at.`);
  return limits;
}
