import { sameBytes } from '@kallio/codec';
import { tlogError } from './error.ts';
import { emptyRoot, HASH_BYTES, nodeHash } from './hash.ts';

/** What is claimed: that the leaf stands at `index` in the tree of `size` leaves with this root. */
export interface InclusionClaim {
  readonly index: number;
  readonly size: number;
  readonly leafHash: Uint8Array;
  readonly hashes: readonly Uint8Array[];
  readonly root: Uint8Array;
}

/** What is claimed: that the tree of `to` leaves begins with the tree of `from` leaves. */
export interface ConsistencyClaim {
  readonly from: number;
  readonly to: number;
  readonly fromRoot: Uint8Array;
  readonly toRoot: Uint8Array;
  readonly hashes: readonly Uint8Array[];
}

/** Leaves `start` (included) to `end` (excluded) of a tree. */
export interface Subtree {
  readonly start: number;
  readonly end: number;
}

/**
 * Verifies an inclusion proof (RFC 9162 section 2.1.3.2). Throws `LOG_PROOF_MALFORMED` when the proof has not the
 * one length its index and size demand, `LOG_PROOF_MISMATCH` when it leads to another root.
 */
export function verifyInclusion(claim: InclusionClaim): void {
  verifySubtreeInclusion({ ...claim, start: 0, end: claim.size });
}

/** Verifies that a leaf is part of a sub-tree (draft-ietf-plants-merkle-tree-certs section 4.3). */
export function verifySubtreeInclusion(claim: Omit<InclusionClaim, 'size'> & Subtree): void {
  requireSubtree(claim);
  requireHashes([claim.leafHash, ...claim.hashes]);
  // An index past the end would let the last leaf's proof speak for entries that don't exist.
  if (!isCount(claim.index) || claim.index < claim.start || claim.index >= claim.end) {
    throw malformed(`Leaf ${claim.index} is not among leaves ${claim.start} to ${claim.end}`);
  }
  let at = claim.index - claim.start;
  let last = claim.end - claim.start - 1;
  let hash = claim.leafHash;
  for (const sibling of claim.hashes) {
    // A longer proof than the tree is high would hash its way to any root's pre-image.
    if (last === 0) throw malformed('The proof is longer than the tree is high');
    if (isOdd(at) || at === last) {
      hash = nodeHash(sibling, hash);
      while (!isOdd(at)) {
        at = half(at);
        last = half(last);
      }
    } else {
      hash = nodeHash(hash, sibling);
    }
    at = half(at);
    last = half(last);
  }
  if (last !== 0) throw malformed('The proof is shorter than the tree is high');
  requireEqual(hash, claim.root, 'The inclusion proof leads to another root.');
}

/**
 * Verifies a consistency proof (RFC 9162 section 2.1.4.2). Nothing is consistent with the empty tree in a way worth
 * proving, so `from` 0 is refused: a caller with no earlier head has nothing to compare.
 */
export function verifyConsistency(claim: ConsistencyClaim): void {
  if (claim.from === 0) throw malformed('A proof from the empty tree shows nothing');
  verifySubtreeConsistency({
    start: 0,
    end: claim.from,
    size: claim.to,
    subtreeHash: claim.fromRoot,
    root: claim.toRoot,
    hashes: claim.hashes,
  });
}

/** What is claimed: that a sub-tree with this hash is part of the tree of `size` leaves with this root. */
export interface SubtreeClaim extends Subtree {
  readonly size: number;
  readonly subtreeHash: Uint8Array;
  readonly root: Uint8Array;
  readonly hashes: readonly Uint8Array[];
}

/** Verifies that a sub-tree is part of a tree (draft-ietf-plants-merkle-tree-certs section 4.4). */
export function verifySubtreeConsistency(claim: SubtreeClaim): void {
  requireHashes(claim.hashes);
  if (!isCount(claim.size) || !isCount(claim.end) || claim.end > claim.size) {
    throw malformed(`A tree of ${claim.size} leaves has no sub-tree that ends at ${claim.end}`);
  }
  if (claim.start === claim.end && isCount(claim.start)) {
    if (claim.hashes.length !== 0) throw malformed('A proof for no leaves holds no hashes');
    requireEqual(claim.subtreeHash, emptyRoot(), 'An empty sub-tree has another hash.');
    return;
  }
  requireSubtree(claim);
  let first = claim.start;
  let last = claim.end - 1;
  let treeLast = claim.size - 1;
  // Climb to the largest complete sub-tree that ends where the sub-tree ends: the proof starts there.
  while (first !== last && (last === treeLast || isOdd(last))) {
    first = half(first);
    last = half(last);
    treeLast = half(treeLast);
  }
  const rest = [...claim.hashes];
  const seed = first === last ? claim.subtreeHash : rest.shift();
  if (seed === undefined) throw malformed('The proof is empty');
  let oldHash = seed;
  let newHash = seed;
  for (const sibling of rest) {
    if (treeLast === 0) throw malformed('The proof is longer than the tree is high');
    if (isOdd(last) || last === treeLast) {
      // Both trees have this left neighbour, unless the sub-tree begins right of it.
      if (first < last) oldHash = nodeHash(sibling, oldHash);
      newHash = nodeHash(sibling, newHash);
      while (!isOdd(last)) {
        first = half(first);
        last = half(last);
        treeLast = half(treeLast);
      }
    } else {
      newHash = nodeHash(newHash, sibling);
    }
    first = half(first);
    last = half(last);
    treeLast = half(treeLast);
  }
  if (treeLast !== 0) throw malformed('The proof is shorter than the tree is high');
  requireEqual(oldHash, claim.subtreeHash, 'The proof does not lead to the earlier head.');
  requireEqual(newHash, claim.root, 'The proof does not lead to the later head.');
}

/** A sub-tree begins at a multiple of the smallest power of two that holds it; otherwise it is no node's child. */
function requireSubtree({ start, end }: Subtree): void {
  if (isCount(start) && isCount(end) && start < end) {
    let span = 1;
    while (span < end - start) span *= 2;
    if (start % span === 0) return;
  }
  throw malformed(`Leaves ${start} to ${end} are not a sub-tree`);
}

function requireHashes(hashes: readonly Uint8Array[]): void {
  if (hashes.some((hash) => hash.length !== HASH_BYTES)) {
    throw malformed(`A hash in the proof is not ${HASH_BYTES} bytes long`);
  }
}

function requireEqual(actual: Uint8Array, expected: Uint8Array, message: string): void {
  if (!sameBytes(actual, expected)) throw tlogError('LOG_PROOF_MISMATCH', message);
}

function malformed(what: string) {
  return tlogError('LOG_PROOF_MALFORMED', `${what}.`);
}

// Sizes go past 2^32, where JavaScript's bit operators would silently cut them.
const isCount = (n: number) => Number.isSafeInteger(n) && n >= 0;
const isOdd = (n: number) => n % 2 === 1;
const half = (n: number) => Math.floor(n / 2);
