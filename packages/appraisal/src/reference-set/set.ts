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

/** So many are looked up at once. What each step of that comes to is kept here until the next. */
const AT_ONCE = 64;
const WORDS = new Uint32Array(AT_ONCE);
const LOWS = new Uint32Array(AT_ONCE);
const HIGHS = new Uint32Array(AT_ONCE);

/** Digests of one length, where they stand. */
export interface DigestPlaces {
  readonly view: DataView;
  /** Where each begins in the view. */
  readonly starts: Uint32Array;
  /** How many of `starts` there are. */
  readonly count: number;
  /** Bytes of each. */
  readonly length: number;
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
  readonly #view: DataView;
  /** First digest whose leading bits are the index or more; one more at the end. */
  readonly #buckets: Uint32Array;
  readonly #shift: number;

  /** Takes digests that {@link parseReferenceSet} or {@link referenceSetOf} has found strictly ascending. */
  constructor(kind: DigestKind, length: number, digests: Uint8Array) {
    this.kind = kind;
    this.length = length;
    this.count = digests.length / length;
    this.#digests = digests;
    this.#view = new DataView(digests.buffer, digests.byteOffset, digests.length);
    const bits = Math.max(0, Math.ceil(Math.log2(Math.max(1, this.count / PER_BUCKET))));
    this.#shift = 32 - bits;
    this.#buckets = new Uint32Array(2 ** bits + 1);
    for (let i = 0; i < this.count; i++) {
      const next = this.#bucketOf(this.#leading(i)) + 1;
      this.#buckets[next] = (this.#buckets[next] ?? 0) + 1;
    }
    for (let bucket = 1; bucket < this.#buckets.length; bucket++) {
      this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + (this.#buckets[bucket - 1] ?? 0);
    }
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
      if (this.#leading(i) === word && this.#order(i, word, bytes, start) === 0) return true;
    }
    return false;
  }

  /**
   * As {@link ReferenceSet.has}, for several at a time: `found[i]` is 1 where the set has the digest at `starts[i]`, and
   * otherwise left as it is.
   */
  hasEach({ view, starts, count, length }: DigestPlaces, found: Uint8Array): void {
    if (length !== this.length || this.count === 0) return;
    for (let from = 0; from < count; from += AT_ONCE) {
      this.#hasSome(view, starts, from, Math.min(count - from, AT_ONCE), found);
    }
  }

  /**
   * In steps, each of which reads one thing for all digests: a large set lies in none of the processor's caches, and what
   * depends on nothing that is still being read is waited for together.
   */
  #hasSome(view: DataView, starts: Uint32Array, from: number, count: number, found: Uint8Array): void {
    for (let i = 0; i < count; i++) {
      const word = view.getUint32(starts[from + i] ?? 0);
      const bucket = this.#bucketOf(word);
      WORDS[i] = word;
      LOWS[i] = this.#buckets[bucket] ?? 0;
      HIGHS[i] = this.#buckets[bucket + 1] ?? 0;
    }
    let touched = 0;
    for (let i = 0; i < count; i++) {
      // A bucket may be empty and begin behind the last digest.
      const low = Math.min(LOWS[i] ?? 0, this.count - 1);
      touched |=
        (this.#digests[low * this.length] ?? 0) | (this.#digests[(HIGHS[i] ?? 0) * this.length - 1] ?? 0);
    }
    // What was touched decides nothing, but must not be optimized away.
    if (touched > 0xff) return;
    for (let i = 0; i < count; i++) {
      const start = starts[from + i] ?? 0;
      if (this.#isAmong(LOWS[i] ?? 0, HIGHS[i] ?? 0, WORDS[i] ?? 0, view, start)) found[from + i] = 1;
    }
  }

  /** True for the digest at `start` where it is one of these of the set. */
  #isAmong(low: number, high: number, word: number, view: DataView, start: number): boolean {
    if (high - low > FEW) return this.has(new Uint8Array(view.buffer, view.byteOffset + start, this.length));
    for (let i = low; i < high; i++) if (this.#leading(i) === word && this.#isAt(i, view, start)) return true;
    return false;
  }

  /** Four bytes at a time: every length is a multiple of that. */
  #isAt(index: number, view: DataView, start: number): boolean {
    const at = index * this.length;
    for (let i = 0; i < this.length; i += 4) {
      if (this.#view.getUint32(at + i) !== view.getUint32(start + i)) return false;
    }
    return true;
  }

  /** The first four bytes of a digest of the set. */
  #leading(index: number): number {
    return this.#view.getUint32(index * this.length);
  }

  /** Negative where the digest at `index` stands before the one at `start` of these bytes. */
  #order(index: number, word: number, bytes: Uint8Array, start: number): number {
    return (
      this.#leading(index) - word || compareAt(this.#digests, index * this.length, bytes, start, this.length)
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
