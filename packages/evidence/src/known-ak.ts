import { sameBytes } from '@kallio/codec';
import { parsePublic, type TpmtPublic } from '@kallio/tpm/structures';
import type { QuotedValues } from './quoted-pcrs.ts';
import type { WrittenParts } from './written.ts';

/** What is known of an AK for as long as the caller keeps its bytes, so that it need not be worked out for each quote. */
export interface KnownAk {
  /** Its public area. The key is imported once for this object. */
  readonly area: TpmtPublic;
  /** TPMT_PUBLIC, as it was read. */
  readonly bytes: Uint8Array;
  /** What it quoted last: most machines quote the same PCR values for hours, and then their digest is the same, too. */
  quoted?: QuotedValues;
  /** Parts of what was shown last beside a quote of it. */
  shown?: WrittenParts;
}

const known = new WeakMap<Uint8Array, KnownAk>();

/** The AK of these bytes; what is wrong with a public area is thrown as `parsePublic` does. */
export function knownAk(akPublic: Uint8Array): KnownAk {
  const before = known.get(akPublic);
  // Arrays can be written to. Stops one key from answering for another that has taken its place.
  if (before !== undefined && sameBytes(before.bytes, akPublic)) return before;
  const bytes = akPublic.slice();
  const ak = { area: parsePublic(bytes), bytes };
  known.set(akPublic, ak);
  return ak;
}

/** The AK that these bytes were last, if {@link knownAk} has read them. Decides nothing about a quote. */
export function lastAk(akPublic: Uint8Array): KnownAk | undefined {
  return known.get(akPublic);
}
