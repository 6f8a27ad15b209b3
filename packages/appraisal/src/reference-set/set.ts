import { concat, equalBytes, KallioError, Reader, utf8, Writer } from '@kallio/codec';
import type { ReferenceCode } from './code.ts';

/** What the digests of a set are of: the bytes of a file or buffer, or the fs-verity tree over a file. */
export type DigestKind = 'file' | 'verity';

const MAGIC = utf8('KALLIORS');
const VERSION = 1;
const HEADER_BYTES = 16;
const KINDS: readonly DigestKind[] = ['file', 'verity'];
/** SHA-256, SHA-384, SHA-512. Shorter digests name no file any more. */
const LENGTHS: ReadonlySet<number> = new Set([32, 48, 64]);
/** Digests that one bucket of the index holds on average. */
const PER_BUCKET = 2;
/** So many neighbours are looked at one after the other. */
const FEW = 8;

/** A digest where it stands. */
export interface DigestSlice {
  readonly data: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/**
 * A set of digests: one byte array, sorted, and an index of where each leading bit pattern begins. A lookup takes one
 * step into the index and a search among a few neighbours, however many digests there are, and allocates nothing.
 */
export class ReferenceSet {
  readonly kind: DigestKind;
  /** Bytes of each digest. */
  readonly length: number;
  readonly count: number;
  readonly #digests: Uint8Array;
  /** First digest whose leading bits are the index or more; one more at the end. */
  readonly #buckets: Uint32Array;
  readonly #shift: number;
  /** The first four bytes of each digest: most of a search looks at these alone, sixteen to a cache line. */
  readonly #words: Uint32Array;

  /** Takes digests that {@link parseReferenceSet} or {@link referenceSetOf} has found strictly ascending. */
  constructor(kind: DigestKind, length: number, digests: Uint8Array) {
    this.kind = kind;
    this.length = length;
    this.count = digests.length / length;
    this.#digests = digests;
    const bits = Math.max(0, Math.ceil(Math.log2(Math.max(1, this.count / PER_BUCKET))));
    this.#shift = 32 - bits;
    this.#buckets = new Uint32Array(2 ** bits + 1);
    this.#words = new Uint32Array(this.count);
    for (let i = 0; i < this.count; i++) this.#take(i);
    for (let bucket = 1; bucket < this.#buckets.length; bucket++) {
      this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + (this.#buckets[bucket - 1] ?? 0);
    }
  }

  #take(index: number): void {
    const word = leading(this.#digests, index * this.length);
    this.#words[index] = word;
    const next = this.#bucketOf(word) + 1;
    this.#buckets[next] = (this.#buckets[next] ?? 0) + 1;
  }

  /** True for a digest of the set: all of `bytes`, or what stands there from `start` to `end`. */
  has(bytes: Uint8Array, start = 0, end = bytes.length): boolean {
    if (end - start !== this.length) return false;
    const word = leading(bytes, start);
    const bucket = this.#bucketOf(word);
    let low = this.#buckets[bucket] ?? 0;
    let high = this.#buckets[bucket + 1] ?? 0;
    // Digests are spread evenly, and a bucket holds a few. One of a set that somebody has chosen otherwise is halved first.
    while (high - low > FEW) {
      const middle = (low + high) >>> 1;
      if (this.#order(middle, word, bytes, start) < 0) low = middle + 1;
      else high = middle + 1;
    }
    for (let i = low; i < high; i++) {
      if (this.#words[i] === word && this.#order(i, word, bytes, start) === 0) return true;
    }
    return false;
  }

  /**
   * As {@link ReferenceSet.has}, for several at a time: `found[i]` is 1 where the set has `digests[i]`, and otherwise left
   * as it is. A large set lies in none of the processor's caches: here it waits for all of them at once.
   */
  hasEach(digests: readonly DigestSlice[], found: Uint8Array): void {
    const places = new Int32Array(digests.length);
    let touched = 0;
    for (let i = 0; i < digests.length; i++) {
      const digest = digests[i];
      if (digest === undefined || digest.end - digest.start !== this.length) continue;
      // One more than the place, so that zero is none.
      const place = this.#firstAlike(leading(digest.data, digest.start));
      places[i] = place + 1;
      touched |= this.#digests[place * this.length] ?? 0;
    }
    // What was touched decides nothing, but must not be optimized away.
    if (touched > 0xff) return;
    for (let i = 0; i < digests.length; i++) {
      const digest = digests[i];
      const place = (places[i] ?? 0) - 1;
      if (digest === undefined || place === -1) continue;
      const { data, start, end } = digest;
      if (this.#isAt(place, data, start) || this.has(data, start, end)) found[i] = 1;
    }
  }

  #isAt(index: number, bytes: Uint8Array, start: number): boolean {
    const digests = this.#digests;
    const at = index * this.length;
    for (let i = 0; i < this.length; i++) if (digests[at + i] !== bytes[start + i]) return false;
    return true;
  }

  /** The first of a bucket whose leading bytes are these, or of a crowded one just the first; -1 for none. */
  #firstAlike(word: number): number {
    const bucket = this.#bucketOf(word);
    const low = this.#buckets[bucket] ?? 0;
    const high = this.#buckets[bucket + 1] ?? 0;
    if (high - low > FEW) return low;
    for (let i = low; i < high; i++) if (this.#words[i] === word) return i;
    return -1;
  }

  /** Negative where the digest at `index` stands before the one at `start` of these bytes. */
  #order(index: number, word: number, bytes: Uint8Array, start: number): number {
    return (
      (this.#words[index] ?? 0) - word ||
      compareAt(this.#digests, index * this.length, bytes, start, this.length)
    );
  }

  #bucketOf(word: number): number {
    // A shift by 32 is a shift by none.
    return this.#shift === 32 ? 0 : word >>> this.#shift;
  }

  /** As a file: see docs/formats.md. */
  toBytes(): Uint8Array {
    return concat(headerOf(this.kind, this.length, this.count), this.#digests);
  }
}

/**
 * Reads a reference-set file. Strict: digests strictly ascending, nothing after them. `REFERENCE_SET_…` with the offset
 * of what is wrong. The set keeps `bytes`.
 */
export function parseReferenceSet(bytes: Uint8Array): ReferenceSet {
  if (bytes.length < HEADER_BYTES || !equalBytes(bytes.subarray(0, MAGIC.length), MAGIC)) {
    throw referenceError('REFERENCE_SET_MALFORMED', 'This is no reference-set file.', 0);
  }
  const reader = new Reader(bytes.subarray(MAGIC.length, HEADER_BYTES));
  const version = reader.u8();
  if (version !== VERSION) {
    throw referenceError(
      'REFERENCE_SET_VERSION',
      `Version ${version} of reference sets is not known here.`,
      8,
    );
  }
  const kind = KINDS[reader.u8()];
  const length = reader.u16();
  const count = reader.u32();
  if (kind === undefined || !LENGTHS.has(length)) {
    throw referenceError(
      'REFERENCE_SET_MALFORMED',
      'This reference set is of no digest that is known here.',
      9,
    );
  }
  // Stops a count that promises more, or less, than there is: both would hide digests.
  if (bytes.length !== HEADER_BYTES + count * length) {
    const promised = `${count} digests of ${length} bytes`;
    throw referenceError(
      'REFERENCE_SET_MALFORMED',
      `A file of ${bytes.length} bytes does not hold ${promised}.`,
      12,
    );
  }
  const digests = bytes.subarray(HEADER_BYTES);
  for (let at = length; at < digests.length; at += length) {
    // Stops digests that a search passes over because they stand where it does not look.
    if (compareAt(digests, at - length, digests, at, length) >= 0) {
      throw referenceError(
        'REFERENCE_SET_ORDER',
        'The digests are not strictly ascending.',
        HEADER_BYTES + at,
      );
    }
  }
  return new ReferenceSet(kind, length, digests);
}

/** A set of digests in any order; those that stand twice are taken once. Each must have `length` bytes. */
export function referenceSetOf(
  kind: DigestKind,
  length: number,
  digests: Iterable<Uint8Array>,
): ReferenceSet {
  if (!LENGTHS.has(length)) throw new RangeError(`No digest has ${length} bytes`);
  const all = [...digests];
  if (all.some((digest) => digest.length !== length))
    throw new RangeError(`A digest has not ${length} bytes`);
  all.sort((a, b) => compareAt(a, 0, b, 0, length));
  const unique = all.filter((digest, i) => {
    const before = all[i - 1];
    return before === undefined || compareAt(before, 0, digest, 0, length) !== 0;
  });
  const bytes = new Uint8Array(unique.length * length);
  for (const [i, digest] of unique.entries()) bytes.set(digest, i * length);
  return new ReferenceSet(kind, length, bytes);
}

function headerOf(kind: DigestKind, length: number, count: number): Uint8Array {
  return new Writer().bytes(MAGIC).u8(VERSION).u8(KINDS.indexOf(kind)).u16(length).u32(count).finish();
}

/** The first four bytes, as a number that sorts as they do. */
function leading(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] ?? 0) << 24) |
      ((bytes[at + 1] ?? 0) << 16) |
      ((bytes[at + 2] ?? 0) << 8) |
      (bytes[at + 3] ?? 0)) >>>
    0
  );
}

function compareAt(a: Uint8Array, atA: number, b: Uint8Array, atB: number, length: number): number {
  for (let i = 0; i < length; i++) {
    const order = (a[atA + i] ?? 0) - (b[atB + i] ?? 0);
    if (order !== 0) return order;
  }
  return 0;
}

function referenceError(code: ReferenceCode, message: string, offset: number): KallioError<ReferenceCode> {
  return new KallioError(code, message, {
    pointer: `offset ${offset}`,
    hint: 'Make the file anew with: kallio reference scan',
  });
}
