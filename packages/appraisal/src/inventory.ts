import { canonicalBytes, digestOf, type Refusal } from '@kallio/codec';
import type { EvidenceMessage, Inventory } from '@kallio/evidence';
import { type AppraisalCode, because } from './codes.ts';
import type { Continuity } from './continuity.ts';

/** Largest inventory (JCS) that is kept; a larger one is sent each time. */
const MAX_KEPT_BYTES = 64 * 1024;

/** What runs by this evidence. */
export interface ShownInventory {
  /** Absent when none is shown, or one is named that is not kept here: then nothing is known of any instance. */
  readonly value?: Inventory;
  readonly kept?: NonNullable<Continuity['inventory']>;
  readonly refusals: readonly Refusal<AppraisalCode>[];
}

/** The inventory that is shown, or the one of this boot that was shown before and is said to be the same. */
export function inventoryShown(
  shown: EvidenceMessage['inventory'] | undefined,
  previous: Continuity['inventory'],
): ShownInventory {
  if (shown === undefined) return { refusals: [] };
  if ('unchanged' in shown) {
    if (previous?.digest === shown.unchanged) return { value: previous.value, kept: previous, refusals: [] };
    // Stops an inventory that nobody has seen, or one of an earlier boot, from standing for what runs now.
    const refusal = because('LOG_POSITION', 'The inventory is said to be one that is not kept here.', {
      pointer: '/inventory/unchanged',
      hint: 'Ask for a nonce: its answer says which one is kept.',
    });
    return { ...(previous === undefined ? {} : { kept: previous }), refusals: [refusal] };
  }
  const bytes = canonicalBytes(shown);
  const kept = bytes.length <= MAX_KEPT_BYTES ? { digest: digestOf(bytes), value: shown } : undefined;
  return { value: shown, ...(kept === undefined ? {} : { kept }), refusals: [] };
}
