import type { Refusal } from '@kallio/codec';
import { type AppraisalCode, because } from './codes.ts';
import type { BootState, Continuity } from './continuity.ts';

/** How a quote stands to what was seen before. */
export type BootVerdict =
  /** Nothing was kept, or the machine was started anew: its logs begin at zero. */
  | { readonly kind: 'fresh' }
  /** The same boot: logs go on. After a suspend (`resumed`) they may also begin anew. */
  | { readonly kind: 'same'; readonly resumed: boolean }
  /** Nothing can be judged from here. */
  | { readonly kind: 'refused'; readonly refusal: Refusal<AppraisalCode> };

/**
 * Compares boot and clock with what was seen before (TPM 2.0 Part 1, section 36: resetCount grows at every TPM Reset,
 * restartCount at every Restart or Resume, Clock only goes forward in a boot).
 */
export function judgeBoot(now: BootState, previous: Continuity | undefined): BootVerdict {
  if (previous === undefined) return { kind: 'fresh' };
  const before = previous.boot;
  const refused = (code: AppraisalCode, message: string): BootVerdict => ({
    kind: 'refused',
    refusal: because(code, message, { pointer: '/quote/attest' }),
  });

  // Stops a TPM whose state was copied and put back (a software TPM in a virtual machine's snapshot). TPM2_Clear also
  // zeroes the counter, but the AK does not survive it.
  if (now.resetCount < before.resetCount) {
    return refused(
      'RESET_COUNT_WENT_BACK',
      `The TPM’s resetCount went back from ${before.resetCount} to ${now.resetCount}: its state was rolled back.`,
    );
  }
  if (now.resetCount > before.resetCount) {
    // After a power cut the clock may go back, and the TPM says so (safe = no): no attack by itself. A TPM that vouches
    // for its clock, and shows less than it showed before, was rolled back.
    if (now.safe && now.clock < before.clock) {
      return refused(
        'CLOCK_ROLLED_BACK',
        `The TPM’s clock went back from ${before.clock} to ${now.clock} ms although it vouches for it.`,
      );
    }
    return { kind: 'fresh' };
  }
  if (now.restartCount < before.restartCount) {
    return refused(
      'RESTART_COUNT_WENT_BACK',
      `Within boot ${now.resetCount} the TPM’s restartCount went back from ${before.restartCount} to ${now.restartCount}.`,
    );
  }
  // Stops another TPM firmware from answering under the same key in mid-boot.
  if (now.firmwareVersion !== before.firmwareVersion) {
    return refused('FIRMWARE_VERSION_CHANGED', 'The TPM’s firmware version changed within one boot.');
  }
  const resumed = now.restartCount > before.restartCount;
  // Stops evidence that was kept back: judging it would undo what newer evidence showed. Evidence that two requests
  // raced with looks the same, so this says nothing against the machine.
  if (!resumed && now.clock < before.clock) {
    return refused(
      'CLOCK_WENT_BACK',
      'This evidence is older than evidence of this boot that was judged already.',
    );
  }
  return { kind: 'same', resumed };
}
