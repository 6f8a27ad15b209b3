import { KallioError } from './error.ts';

/** Writes a byte string front to back, growing as needed. Values out of a field's range are `CODEC_RANGE`. */
export class Writer {
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#at;
  }

  #room(count: number): number {
    const at = this.#at;
    const need = at + count;
    if (need > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(need, this.#bytes.length * 2));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    this.#at = need;
    return at;
  }

  static #check(value: number, limit: number): number {
    if (!Number.isInteger(value) || value < 0 || value > limit) {
      throw new KallioError('CODEC_RANGE', `${value} does not fit a field of 0 to ${limit}.`);
    }
    return value;
  }

  u8(value: number): this {
    this.#view.setUint8(this.#room(1), Writer.#check(value, 0xff));
    return this;
  }

  u16(value: number): this {
    this.#view.setUint16(this.#room(2), Writer.#check(value, 0xffff), false);
    return this;
  }

  u32(value: number): this {
    this.#view.setUint32(this.#room(4), Writer.#check(value, 0xffff_ffff), false);
    return this;
  }

  u64(value: bigint): this {
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn) {
      throw new KallioError('CODEC_RANGE', `${value} does not fit an unsigned 64-bit field.`);
    }
    this.#view.setBigUint64(this.#room(8), value, false);
    return this;
  }

  bytes(value: Uint8Array): this {
    this.#bytes.set(value, this.#room(value.length));
    return this;
  }

  /** What was written, as an array of its own. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#at);
  }
}
