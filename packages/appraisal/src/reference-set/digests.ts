import { fromHex } from '@kallio/codec';
import { type DigestKind, type DigestPlaces, type ReferenceSet, referenceSetOf } from './set.ts';

/** Several reference sets, asked as one. */
export class DigestIndex {
  readonly #sets: readonly ReferenceSet[];

  constructor(sets: readonly ReferenceSet[]) {
    this.#sets = sets;
  }

  /** True for a digest of one of the sets: all of `bytes`, or what stands there from `start` to `end`. */
  has(kind: DigestKind, bytes: Uint8Array, start = 0, end = bytes.length): boolean {
    for (const set of this.#sets) if (set.kind === kind && set.has(bytes, start, end)) return true;
    return false;
  }

  /** As {@link DigestIndex.has}, for several at a time: 1 for each that a set has. */
  hasEach(kind: DigestKind, places: DigestPlaces): Uint8Array {
    const found = new Uint8Array(places.count);
    for (const set of this.#sets) if (set.kind === kind) set.hasEach(places, found);
    return found;
  }
}

/** Digests as a policy writes them, as a set for each kind and length. */
export function setsOfDigests(digests: readonly string[]): ReferenceSet[] {
  const kinds = Map.groupBy(digests, (digest) => `${kindOf(digest)}:${hexOf(digest).length / 2}`);
  return [...kinds.values()].map((those) => {
    const [first = ''] = those;
    const bytes = those.map((digest) => fromHex(hexOf(digest)));
    return referenceSetOf(kindOf(first), hexOf(first).length / 2, bytes);
  });
}

const VERITY = 'verity:';

function kindOf(digest: string): DigestKind {
  return digest.startsWith(VERITY) ? 'verity' : 'file';
}

function hexOf(digest: string): string {
  return digest.startsWith(VERITY) ? digest.slice(VERITY.length) : digest;
}
