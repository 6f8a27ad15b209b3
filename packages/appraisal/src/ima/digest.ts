import { toHex } from '@kallio/codec';
import type { ImaDigest } from '@kallio/evidence';
import type { DigestIndex } from '../reference-set/digests.ts';
import type { DigestKind } from '../reference-set/set.ts';

/** Digest algorithms that a reference value may be of. */
const STRONG: ReadonlySet<string> = new Set(['sha256', 'sha384', 'sha512']);
const VERITY = 'verity:';

/** What stands for the digest of an entry that the kernel could not vouch for. */
export const VIOLATION = 'violation';

/** True for a digest that names a file: a SHA-1 digest names none any more. */
export function isStrong({ algorithm }: ImaDigest): boolean {
  return STRONG.has(algorithm);
}

/** A digest as reference values are written; the name of a weak algorithm and `:` before its digests. */
export function referenceOf(digest: ImaDigest): string {
  const { algorithm, type, bytes } = digest;
  const value = toHex(bytes);
  if (!isStrong(digest)) return `${algorithm}:${value.slice(0, 128)}`;
  return type === 'verity' ? VERITY + value : value;
}

/** True where a digest, as {@link referenceOf} writes it, is among those of a class. */
export function hasReference(index: DigestIndex | undefined, reference: string): boolean {
  if (index === undefined) return false;
  const kind: DigestKind = reference.startsWith(VERITY) ? 'verity' : 'file';
  const hex = kind === 'verity' ? reference.slice(VERITY.length) : reference;
  return index.has(kind, Buffer.from(hex, 'hex'));
}
