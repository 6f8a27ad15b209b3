import { tlogError } from './error.ts';
import { emptyRoot, nodeHash } from './hash.ts';

/**
 * The hash over the complete sub-tree of 2^level leaves that begins at leaf `index * 2^level`. Every root and every
 * proof is made of these, so whoever can answer this question (tiles, memory) has a tree.
 */
export type NodeReader = (level: number, index: number) => Uint8Array;

/** Root of the tree of the first `size` leaves (RFC 6962 section 2.1). */
export function rootOf(size: number, nodeAt: NodeReader): Uint8Array {
  requireRange(0, size, size);
  return size === 0 ? emptyRoot() : hashOfRange(0, size, nodeAt);
}

/** Hashes that lead from leaf `index` to the root of the first `size` leaves (RFC 6962 section 2.1.1). */
export function inclusionProof(index: number, size: number, nodeAt: NodeReader): Uint8Array[] {
  requireRange(index, index + 1, size);
  const path: Uint8Array[] = [];
  let start = 0;
  let end = size;
  while (end - start > 1) {
    const middle = start + splitOf(end - start);
    if (index < middle) {
      path.push(hashOfRange(middle, end, nodeAt));
      end = middle;
    } else {
      path.push(hashOfRange(start, middle, nodeAt));
      start = middle;
    }
  }
  return path.reverse();
}

/** Hashes that show that the tree of `to` leaves extends the tree of `from` leaves (RFC 6962 section 2.1.2). */
export function consistencyProof(from: number, to: number, nodeAt: NodeReader): Uint8Array[] {
  requireRange(0, from, to);
  // Every tree extends the empty one, and itself: there is nothing to show.
  if (from === 0 || from === to) return [];
  const path: Uint8Array[] = [];
  let start = 0;
  let end = to;
  let wholeOld = true;
  while (end !== from) {
    const middle = start + splitOf(end - start);
    if (from <= middle) {
      path.push(hashOfRange(middle, end, nodeAt));
      end = middle;
    } else {
      path.push(hashOfRange(start, middle, nodeAt));
      start = middle;
      wholeOld = false;
    }
  }
  // The old root itself is known to the verifier; a part of it is not.
  if (!wholeOld) path.push(hashOfRange(start, end, nodeAt));
  return path.reverse();
}

/** Merkle tree hash of D[start:end], where `start` is aligned to the split that led to it. */
function hashOfRange(start: number, end: number, nodeAt: NodeReader): Uint8Array {
  const width = end - start;
  let level = 0;
  while (2 ** level < width) level++;
  if (2 ** level === width) return nodeAt(level, start / width);
  const middle = start + splitOf(width);
  return nodeHash(hashOfRange(start, middle, nodeAt), hashOfRange(middle, end, nodeAt));
}

/** The largest power of two smaller than `width` (at least 2). */
function splitOf(width: number): number {
  let split = 1;
  while (split * 2 < width) split *= 2;
  return split;
}

function requireRange(start: number, end: number, size: number): void {
  const safe = Number.isSafeInteger(start) && Number.isSafeInteger(end) && Number.isSafeInteger(size);
  if (!safe || start < 0 || start > end || end > size) {
    throw tlogError('LOG_RANGE', `The tree of ${size} entries has no range ${start} to ${end}.`);
  }
}
