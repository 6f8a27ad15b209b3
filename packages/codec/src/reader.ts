import { KallioError } from './error.ts';

/** Where eight bytes become a number: a view of each array that is read would cost more than reading it. */
const WORD = new DataView(new ArrayBuffer(8));

/**
 * Reads a byte string front to back. Every read is bounded: past the end is `CODEC_TRUNCATED` with the offset,
 * never zeros. Call {@link Reader.end} when done, so that trailing bytes are refused.
 */
export class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.#at;
  }

  /** Bytes not yet read. */
  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  #take(count: number, what: string): number {
    if (!Number.isSafeInteger(count) || count < 0 || count > this.remaining) {
      throw new KallioError(
        'CODEC_TRUNCATED',
        `${what} needs ${count} bytes at offset ${this.#at}, but ${this.remaining} are left.`,
        { pointer: `offset ${this.#at}` },
      );
    }
    const at = this.#at;
    this.#at += count;
    return at;
  }

  u8(what = 'A byte'): number {
    return this.#bytes[this.#take(1, what)] ?? 0;
  }

  u16(what = 'A 16-bit field'): number {
    const at = this.#take(2, what);
    return (this.#byte(at) << 8) | this.#byte(at + 1);
  }

  u32(what = 'A 32-bit field'): number {
    return this.#u32(this.#take(4, what));
  }

  u64(what = 'A 64-bit field'): bigint {
    const at = this.#take(8, what);
    WORD.setUint32(0, this.#u32(at));
    WORD.setUint32(4, this.#u32(at + 4));
    return WORD.getBigUint64(0);
  }

  u16le(what = 'A 16-bit field'): number {
    const at = this.#take(2, what);
    return this.#byte(at) | (this.#byte(at + 1) << 8);
  }

  u32le(what = 'A 32-bit field'): number {
    return this.#u32le(this.#take(4, what));
  }

  u64le(what = 'A 64-bit field'): bigint {
    const at = this.#take(8, what);
    WORD.setUint32(0, this.#u32le(at + 4));
    WORD.setUint32(4, this.#u32le(at));
    return WORD.getBigUint64(0);
  }

  /** A byte that {@link Reader.#take} has found to be there. */
  #byte(at: number): number {
    return this.#bytes[at] ?? 0;
  }

  #u32(at: number): number {
    return (
      ((this.#byte(at) << 24) |
        (this.#byte(at + 1) << 16) |
        (this.#byte(at + 2) << 8) |
        this.#byte(at + 3)) >>>
      0
    );
  }

  #u32le(at: number): number {
    return (
      ((this.#byte(at + 3) << 24) |
        (this.#byte(at + 2) << 16) |
        (this.#byte(at + 1) << 8) |
        this.#byte(at)) >>>
      0
    );
  }

  /** A view (not a copy) of the next `count` bytes. */
  bytes(count: number, what = 'A field'): Uint8Array {
    const at = this.#take(count, what);
    return this.#bytes.subarray(at, at + count);
  }

  /** A copy of the next `count` bytes. */
  copy(count: number, what = 'A field'): Uint8Array {
    const at = this.#take(count, what);
    // By the array's own method: a Buffer's gives a view.
    return Uint8Array.prototype.slice.call(this.#bytes, at, at + count);
  }

  /** Everything not yet read. */
  rest(): Uint8Array {
    return this.bytes(this.remaining);
  }

  /** Refuses trailing bytes. */
  end(what = 'This structure'): void {
    if (this.remaining !== 0) {
      throw new KallioError(
        'CODEC_TRAILING',
        `${what} ends at offset ${this.#at}, but ${this.remaining} more bytes follow.`,
        { pointer: `offset ${this.#at}` },
      );
    }
  }
}
