import type { Digest } from '@kallio/codec';
import { parseDigest } from '@kallio/codec';
import type { Continuity } from './continuity.ts';
import { policyDigest } from './policy/digest.ts';
import type { AppraisalPolicy } from './policy/schema.ts';

/** What a verifier holds of an attester, and evidence need not show again in this boot. */
export interface Held {
  /** resetCount; absent while nothing is held. In another boot everything begins anew. */
  readonly boot?: number;
  /** Entries of the IMA log. */
  readonly ima: number;
  /** Entries of the instance log. */
  readonly instanceLog: number;
  /** SHA-256 of the firmware's event log. */
  readonly eventLog?: Digest;
  /** SHA-256 of the last inventory (JCS). */
  readonly inventory?: Digest;
}

/** What is held of an attester whose next evidence is judged by this policy. */
export function heldOf(continuity: Continuity | undefined, policy: AppraisalPolicy | undefined): Held {
  if (continuity === undefined) return { ima: 0, instanceLog: 0 };
  const { boot, ima, instanceLog, eventLog, inventory } = continuity;
  // Entries that another policy let pass are judged again, from the first one.
  const judged = ima !== undefined && policy !== undefined && ima.policy === policyDigest(policy);
  return {
    boot: boot.resetCount,
    ima: judged ? ima.entries : 0,
    instanceLog: instanceLog.entries,
    ...(eventLog === undefined ? {} : { eventLog: parseDigest(eventLog.digest) }),
    ...(inventory === undefined ? {} : { inventory: inventory.digest }),
  };
}
