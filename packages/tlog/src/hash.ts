import { borrowConcat, concat, sha256 } from '@kallio/codec';

/** Bytes of one tree hash (SHA-256). */
export const HASH_BYTES = 32;

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);
/** Where a node of two hashes is put together: to make memory for each would cost as much as to hash it. */
const node = concat(NODE, new Uint8Array(2 * HASH_BYTES));

/** SHA-256(0x00 || entry): RFC 6962 section 2.1. The prefix keeps a leaf from being passed off as a node. */
export function leafHash(entry: Uint8Array): Uint8Array {
  return sha256(borrowConcat(LEAF, entry));
}

/** SHA-256(0x01 || left || right): RFC 6962 section 2.1. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  if (left.length !== HASH_BYTES || right.length !== HASH_BYTES) return sha256(concat(NODE, left, right));
  node.set(left, 1);
  node.set(right, 1 + HASH_BYTES);
  return sha256(node);
}

/** Root of a tree with no entries: SHA-256 of nothing. */
export function emptyRoot(): Uint8Array {
  return sha256();
}
