import { KallioError } from './error.ts';

/**
 * Reads a byte string front to back. Every read is bounded: past the end is `CODEC_TRUNCATED` with the offset,
 * never zeros. Call {@link Reader.end} when done, so that trailing bytes are refused.
 */
export class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
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
    return this.#view.getUint8(this.#take(1, what));
  }

  u16(what = 'A 16-bit field'): number {
    return this.#view.getUint16(this.#take(2, what), false);
  }

  u32(what = 'A 32-bit field'): number {
    return this.#view.getUint32(this.#take(4, what), false);
  }

  u64(what = 'A 64-bit field'): bigint {
    return this.#view.getBigUint64(this.#take(8, what), false);
  }

  u16le(what = 'A 16-bit field'): number {
    return this.#view.getUint16(this.#take(2, what), true);
  }

  u32le(what = 'A 32-bit field'): number {
    return this.#view.getUint32(this.#take(4, what), true);
  }

  u64le(what = 'A 64-bit field'): bigint {
    return this.#view.getBigUint64(this.#take(8, what), true);
  }

  /** A view (not a copy) of the next `count` bytes. */
  bytes(count: number, what = 'A field'): Uint8Array {
    const at = this.#take(count, what);
    return this.#bytes.subarray(at, at + count);
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
