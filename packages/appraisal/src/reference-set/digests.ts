import { fromHex } from '@kallio/codec';
import { type DigestKind, type ReferenceSet, referenceSetOf } from './set.ts';

/** Several reference sets, asked as one. */
export class DigestIndex {
  readonly #sets: readonly ReferenceSet[];

  constructor(sets: readonly ReferenceSet[]) {
    this.#sets = sets;
  }

  has(kind: DigestKind, digest: Uint8Array): boolean {
    for (const set of this.#sets) if (set.kind === kind && set.has(digest)) return true;
    return false;
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
