import { equalBytes, type Refusal, toHex } from '@kallio/codec';
import { zeroPcr } from '@kallio/evidence';
import { type AppraisalCode, because } from './codes.ts';
import type { CompiledPolicy } from './policy/compile.ts';
import type { UpdateWindows } from './updates.ts';

const ZERO = zeroPcr('sha256');

/**
 * Judges each quoted PCR that no log explains: against its reference values, or not at all where the policy excludes it
 * with a reason. `explained` are those that a log was replayed to and whose entries are judged by themselves.
 */
export function judgePcrs(
  pcrs: ReadonlyMap<number, Uint8Array>,
  policy: CompiledPolicy,
  explained: ReadonlySet<number>,
  windows: UpdateWindows,
): Refusal<AppraisalCode>[] {
  const refusals: Refusal<AppraisalCode>[] = [];
  for (const [pcr, value] of pcrs) {
    const pointer = `pcr:${pcr}`;
    const allowed = policy.reference.get(pcr);
    // A reference value that is there decides, whatever else would explain the PCR.
    if (allowed !== undefined) {
      const hex = toHex(value);
      const update = allowed.has(hex)
        ? undefined
        : windows.valid.find(({ reference }) => reference.get(pcr)?.has(hex));
      if (update !== undefined) windows.use(update.id, pointer);
      else if (!allowed.has(hex)) {
        refusals.push(
          because('PCR_MISMATCH', `PCR ${pcr} is ${hex}, which is none of its reference values.`, {
            pointer,
          }),
        );
      }
      continue;
    }
    if (explained.has(pcr) || policy.excluded.has(pcr)) continue;
    // Stops something that was measured from being passed over because nobody showed its log.
    if (!equalBytes(value, ZERO)) {
      refusals.push(
        because(
          'PCR_UNEXPLAINED',
          `PCR ${pcr} was extended, but no log shown explains it and the policy has no reference value for it.`,
          { pointer, hint: `Add a reference value for PCR ${pcr}, or exclude it with a reason.` },
        ),
      );
      continue;
    }
    refusals.push(
      because('PCR_NO_REFERENCE', `The policy has no reference value for PCR ${pcr}.`, {
        pointer,
        hint: `Add a reference value for PCR ${pcr}, or exclude it with a reason.`,
      }),
    );
  }
  return refusals;
}
